"""The memory that a scheme is about: its access pattern, and its filters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from attrs import field, frozen

from pydamon._model.errors import UsageError
from pydamon._model.plain import shown
from pydamon._model.rates import Rate
from pydamon._model.schemes.fields import (
    count,
    flag,
    naming,
    one_of,
    optional_count,
    optional_size,
    optional_text,
    size,
)
from pydamon._model.units import format_duration, parse_duration_ns

__all__ = [
    "CORE_FILTERS",
    "FILTERS",
    "UNBOUNDED",
    "AccessPattern",
    "Age",
    "Bounds",
    "Filter",
    "age",
    "rate",
]

UNBOUNDED = 2**63 - 1
"""The upper bound where there is none."""


@dataclass(frozen=True, slots=True)
class Age:
    """How long an access rate has held.

    Parameters
    ----------
    value
        A whole number of 0 or more.
    unit
        `"aggregations"` or `"ns"`.

    Raises
    ------
    UsageError
        For an unknown unit or a value that is no whole number of 0 or more.

    Examples
    --------
    >>> import pydamon
    >>> pydamon.AccessPattern(min_age="2min").min_age
    Age(value=120000000000, unit='ns')
    """

    value: int
    unit: str = "aggregations"

    def __post_init__(self) -> None:
        one_of(self.unit, ("aggregations", "ns"))
        count(self.value)

    @classmethod
    def of(cls, value: Age | str | timedelta | int) -> Age:
        """An age from a number of aggregations, or from a time such as "2min"."""
        if isinstance(value, Age):
            return value
        if isinstance(value, int):
            return cls(count(value))
        if isinstance(value, float):
            raise UsageError(
                f"not an age: {shown(value)}", hint='write it like 3 (aggregations), "2min"'
            )
        return cls(parse_duration_ns(value), "ns")

    def __str__(self) -> str:
        return format_duration(self.value) if self.unit == "ns" else str(self.value)

    def aggregations(self, aggregation_ns: int) -> float:
        """The age as a number of aggregations of such a length."""
        return self.value / aggregation_ns if self.unit == "ns" else self.value


def rate(value: Rate | str | int) -> Rate:
    """The converter of a field that holds an access rate."""
    return Rate.of(value)


def _optional_rate(value: Rate | str | int | None) -> Rate | None:
    return None if value is None else Rate.of(value)


def age(value: Age | str | timedelta | int) -> Age:
    """The converter of a field that holds an age."""
    return Age.of(value)


def _optional_age(value: Age | str | timedelta | int | None) -> Age | None:
    return None if value is None else Age.of(value)


@dataclass(frozen=True, slots=True)
class Bounds:
    """An access pattern in DAMON's units, as closed intervals: bytes, samples, aggregations.

    The kernel takes these. Rates are also here as people gave them, to be compared with rates that
    are no whole numbers of samples. An age that people gave as a time is also here in nanoseconds,
    which is exact; otherwise `min_age_ns` and `max_age_ns` are `None`.
    """

    min_size: int
    max_size: int
    min_nr_accesses: int
    max_nr_accesses: int
    min_age: int
    max_age: int
    min_rate: Rate
    max_rate: Rate | None
    min_age_ns: int | None = None
    max_age_ns: int | None = None

    def least_age_ns(self, aggregation_ns: int) -> int:
        """The minimum age as a time."""
        return self.min_age * aggregation_ns if self.min_age_ns is None else self.min_age_ns


@frozen(kw_only=True, field_transformer=naming)
class AccessPattern:
    """Match regions by size, access rate and age; all bounds are included.

    Parameters
    ----------
    min_size, max_size
        Bytes, or text such as `"2M"`.
    min_rate, max_rate
        A number of samples that found an access, or text: `"5%"` of the samples, or `"20Hz"`,
        which are accesses a second as far as samples can tell them. Samples and percent are those
        of the last window. Hz are those of the last windows, and tell lower rates.
    min_age, max_age
        For how long the rate has held: a number of aggregations, or a time such as `"2min"`.
        A maximum of `None` is no bound.

    Raises
    ------
    UsageError
        For text that is not understood, and for a minimum above its maximum.

    Examples
    --------
    >>> import pydamon
    >>> idle = pydamon.AccessPattern(min_size="64K", max_rate=0, min_age="2min")
    >>> idle.min_size_bytes
    65536
    >>> idle.min_age.value
    120000000000
    """

    min_size_bytes: int = field(default=0, alias="min_size", converter=size)
    max_size_bytes: int | None = field(default=None, alias="max_size", converter=optional_size)
    min_rate: Rate = field(default=Rate(0), converter=rate)
    max_rate: Rate | None = field(default=None, converter=_optional_rate)
    min_age: Age = field(default=Age(0), converter=age)
    max_age: Age | None = field(default=None, converter=_optional_age)

    def __attrs_post_init__(self) -> None:
        if self.max_size_bytes is not None and self.min_size_bytes > self.max_size_bytes:
            raise UsageError("min_size: above max_size")
        for name in ("rate", "age"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if high is not None and low.unit == high.unit and low.value > high.value:
                raise UsageError(f"min_{name}: above max_{name}")

    def bounds(self, max_nr_accesses: int, sampling_ns: int, aggregation_ns: int) -> Bounds:
        """The pattern in samples and aggregations of these intervals.

        A bound between two whole numbers is rounded to the inside of the interval.
        """
        rates = [
            None if rate is None else rate.samples(max_nr_accesses, sampling_ns)
            for rate in (self.min_rate, self.max_rate)
        ]
        ages = [
            None if age is None else age.aggregations(aggregation_ns)
            for age in (self.min_age, self.max_age)
        ]
        return Bounds(
            self.min_size_bytes,
            UNBOUNDED if self.max_size_bytes is None else self.max_size_bytes,
            _inside(rates[0], math.ceil),
            _inside(rates[1], math.floor),
            _inside(ages[0], math.ceil),
            _inside(ages[1], math.floor),
            self.min_rate,
            self.max_rate,
            *(
                age.value if age is not None and age.unit == "ns" else None
                for age in (self.min_age, self.max_age)
            ),
        )


def _inside(value: float | None, towards: Callable[[float], int]) -> int:
    # Rounded first: 20 aggregations must not become 19 by an error in the last digit.
    return UNBOUNDED if value is None else towards(round(value, 9))


CORE_FILTERS = ("addr", "target")
"""Kinds that decide about regions; they are asked before the others, which decide about pages."""
FILTERS = (*CORE_FILTERS, "anon", "active", "memcg", "young", "hugepage_size", "unmapped")
_NEEDED = {"addr": ("start", "end"), "target": ("target",), "memcg": ("memcg_path",)}


def _kind(value: str) -> str:
    return one_of(value, FILTERS)


@frozen(field_transformer=naming)
class Filter:
    """Allow or reject memory of a kind.

    Of several filters, the first that concerns a page decides. A page that no filter concerns is
    rejected if the last filter allows, and allowed otherwise.

    Parameters
    ----------
    kind
        One of DAMON's kinds. Two decide about regions, which are cut where a filter begins or ends:
        `"addr"` (addresses) and `"target"` (a target by its number). The others decide about pages:
        `"anon"` (not of a file), `"active"` (on one of the kernel's active lists), `"memcg"` (of a
        cgroup), `"young"` (accessed since its accessed bit was last cleared), `"hugepage_size"` and
        `"unmapped"` (in no page table).
    allow
        Whether to allow the memory; otherwise it is rejected.
    matching
        Whether the filter concerns memory of the kind, or all other memory.
    start, end
        Addresses of `"addr"`, half open.
    target
        Index of a target, from 0, for `"target"`.
    memcg_path
        Path of a cgroup below the root of the cgroups, for `"memcg"`.
    min_size, max_size
        Sizes of `"hugepage_size"`, both included: bytes, or text such as `"2M"`.

    Raises
    ------
    UsageError
        For an unknown kind, a missing parameter of the kind, and values that make no sense.

    Examples
    --------
    >>> import pydamon
    >>> leave_anon_alone = pydamon.Filter("anon")
    >>> heap_only = pydamon.Filter("addr", start=0x10000, end=0x50000, allow=True)
    >>> heap_only.is_core
    True
    """

    kind: str = field(converter=_kind)
    allow: bool = field(default=False, kw_only=True, converter=flag)
    matching: bool = field(default=True, kw_only=True, converter=flag)
    start: int | None = field(default=None, kw_only=True, converter=optional_count)
    end: int | None = field(default=None, kw_only=True, converter=optional_count)
    target: int | None = field(default=None, kw_only=True, converter=optional_count)
    memcg_path: str | None = field(default=None, kw_only=True, converter=optional_text)
    min_size_bytes: int = field(default=0, alias="min_size", kw_only=True, converter=size)
    max_size_bytes: int | None = field(
        default=None, alias="max_size", kw_only=True, converter=optional_size
    )

    def __attrs_post_init__(self) -> None:
        for name in _NEEDED.get(self.kind, ()):
            if getattr(self, name) is None:
                raise UsageError(f"{name}: is needed for the filter {self.kind}")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise UsageError("start: must be below end")

    @property
    def is_core(self) -> bool:
        """Whether it decides about regions, not about pages."""
        return self.kind in CORE_FILTERS
