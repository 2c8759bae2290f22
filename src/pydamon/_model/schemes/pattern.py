"""The access pattern that a scheme looks for: sizes, access rates and ages."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from attrs import field, frozen

from pydamon._model.errors import UsageError
from pydamon._model.plain import shown
from pydamon._model.schemes.fields import count, naming, one_of, optional_size, size
from pydamon._model.units import format_duration, parse_duration_ns

__all__ = ["UNBOUNDED", "AccessPattern", "Age", "Bounds", "Rate", "age", "rate"]

UNBOUNDED = 2**63 - 1
"""The upper bound where there is none."""
_RATE = re.compile(
    r"\s*([0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})\s*(%|hz|samples|)\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Rate:
    """An access rate: `unit` is "samples" (an aggregation), "%" (of the samples) or "hz"."""

    value: float
    unit: str = "samples"

    def __post_init__(self) -> None:
        one_of(self.unit, ("samples", "%", "hz"))
        if not (0 <= self.value < math.inf and (self.unit != "%" or self.value <= 100)):
            raise UsageError(f"not an access rate: {self.value:g} {self.unit}")

    @classmethod
    def of(cls, value: Rate | str | int) -> Rate:
        """Of a number of samples, or text such as "5%" and "20Hz"."""
        if isinstance(value, Rate):
            return value
        if isinstance(value, int):
            return cls(count(value))
        match = _RATE.fullmatch(value)
        if match is None or (match[2] == "%" and float(match[1]) > 100):
            raise UsageError(
                f"not an access rate: {shown(value)}",
                hint='write it like 3 (samples), "5%" or "20Hz"',
            )
        return cls(float(match[1]), match[2].lower() or "samples")

    def __str__(self) -> str:
        return f"{self.value:g}{'Hz' if self.unit == 'hz' else self.unit.replace('samples', '')}"

    def samples(self, max_nr_accesses: int, sampling_ns: int) -> float:
        """The same as a number of samples, of at most *max_nr_accesses* an aggregation."""
        if self.unit == "%":
            return self.value / 100 * max_nr_accesses
        if self.unit == "hz":
            return self.value * sampling_ns / 1e9 * max_nr_accesses
        return self.value


@dataclass(frozen=True, slots=True)
class Age:
    """How long a rate has held: `unit` is "aggregations" or "ns"."""

    value: int
    unit: str = "aggregations"

    def __post_init__(self) -> None:
        one_of(self.unit, ("aggregations", "ns"))
        count(self.value)

    @classmethod
    def of(cls, value: Age | str | timedelta | int) -> Age:
        """Of a number of aggregations, or a time such as "2min"."""
        if isinstance(value, Age):
            return value
        if isinstance(value, int):
            return cls(count(value))
        if isinstance(value, float):
            raise UsageError(
                f"not an age: {value!r}", hint='write it like 3 (aggregations), "2min"'
            )
        return cls(parse_duration_ns(value), "ns")

    def __str__(self) -> str:
        return format_duration(self.value) if self.unit == "ns" else str(self.value)

    def aggregations(self, aggregation_ns: int) -> float:
        """The same as a number of aggregations."""
        return self.value / aggregation_ns if self.unit == "ns" else self.value


def rate(value: Rate | str | int) -> Rate:
    """The converter of a field that is a rate."""
    return Rate.of(value)


def _optional_rate(value: Rate | str | int | None) -> Rate | None:
    return None if value is None else Rate.of(value)


def age(value: Age | str | timedelta | int) -> Age:
    """The converter of a field that is an age."""
    return Age.of(value)


def _optional_age(value: Age | str | timedelta | int | None) -> Age | None:
    return None if value is None else Age.of(value)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A pattern in DAMON's units, as closed intervals: bytes, samples, aggregations.

    An age that was given as a time is in nanoseconds, too, as it is exact then; else that is None.
    """

    min_size: int
    max_size: int
    min_nr_accesses: int
    max_nr_accesses: int
    min_age: int
    max_age: int
    min_age_ns: int | None = None
    max_age_ns: int | None = None


@frozen(kw_only=True, field_transformer=naming)
class AccessPattern:
    """Regions of a size, access rate and age between two bounds, both included.

    Sizes are bytes or text ("2M"); rates are samples, or text in percent or Hz ("5%", "20Hz");
    ages are aggregations, or time ("2min"). A maximum of `None` is no bound.
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
        """The pattern in samples and aggregations, of such intervals.

        What lies between two whole numbers is rounded to the inside of the interval.
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
            *(
                age.value if age is not None and age.unit == "ns" else None
                for age in (self.min_age, self.max_age)
            ),
        )


def _inside(value: float | None, towards: Callable[[float], int]) -> int:
    # Rounded first: 20 samples of 20 must not become 19 by an error in the last digit.
    return UNBOUNDED if value is None else towards(round(value, 9))
