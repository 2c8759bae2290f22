"""How to monitor: one object for the intervals, bounds and knobs that every engine takes."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypedDict

from pydamon._model.attrs import Attrs, IntervalGoal
from pydamon._model.errors import UsageError
from pydamon._model.passed import kinds_from
from pydamon._model.units import parse_duration_ns, parse_size

__all__ = ["CommonOptions", "MonitorOptions", "check_budget", "with_common"]

_FOR_PASSED = 0.2
"""The share of the CPU budget for looks at kinds of pages, where they are asked for."""
_REGIONS_FROM = ("gaps", "three", "mappings")
"""The values of `Rule`, whose module needs NumPy."""
_ATTRIBUTES = (
    *("sample", "aggr", "update", "min_regions", "max_regions", "goal"),
    *("addr_unit", "refresh"),
)
"""The options that make a kdamond's attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorOptions:
    """How to monitor, whoever takes the samples.

    Durations are text as people write it (``"5ms"``) or a `timedelta`. All values are checked
    when the object is made.

    Parameters
    ----------
    sample, aggr, update
        The sampling, aggregation and update interval (default: DAMON's 5 ms, 100 ms and 1 s).
        Access rates refer to the sampling interval. Aggregations that are not named become as long
        as the CPU budget asks for; so do sampling intervals where single pages are sampled
        (*plain*, and probes other than ``"ebpf"``).
    min_regions, max_regions
        Bounds for the number of regions (default: 10 and 1,000).
    cpu_budget_percent
        How much of one CPU monitoring may cost; `None` is no bound.
    probe
        The name of the probe that checks for accesses (see `PROBES`), or ``"auto"`` for the best
        that works here. Sampling only.
    regions_from
        What the first regions are made of: ``"gaps"`` follows the mappings and leaves out the
        largest gaps; ``"three"`` is DAMON's rule of three regions, which the kernel always uses;
        ``"mappings"`` makes a region of each mapping.
    goal
        Tune the intervals until this share of the samples finds an access, as DAMON does.
    plain
        Use the kernel's algorithm alone: random samples and random splits, no surveys. For
        comparisons. Sampling only.
    passed
        Tell how much of each region is of these kinds of pages: see `PassedBytes`. Text such as
        ``"anon,huge"``, or several kinds. Looks at pages take a fifth of the CPU budget.
    page_map
        Keep the age of each single page in snapshots (`Snapshot.page_maps`) so often, as in
        ``"10s"``, and in the last one. `None` keeps none. Sampling only, with a probe that can look
        at single pages.
    seed
        Make the random choices repeatable. Sampling only.
    addr_unit
        Bytes of one unit of the kernel's addresses of physical memory, as in ``"4KiB"``: for
        32-bit processors whose addresses do not fit into a long. Kernel only, Linux 6.18.
    refresh
        How often the kernel refreshes the figures in its files by itself, for other programs that
        read them. Kernel only, Linux 6.17.
    join
        Look on at a kdamond that somebody else runs, and change nothing: `True` where only one
        runs, or a kdamond by its pid, its thread's name (``"kdamond.0"``) or its user
        (``"damon_stat"``). Its user has chosen the intervals and bounds. Kernel only.

    Raises
    ------
    UsageError
        For a value that makes no sense, alone or together with the others.

    Examples
    --------
    >>> from pydamon import MonitorOptions
    >>> options = MonitorOptions(sample="10ms", max_regions=200)
    >>> options.attrs.sampling_ns, options.attrs.aggregation_ns
    (10000000, 100000000)
    """

    sample: str | timedelta | None = None
    aggr: str | timedelta | None = None
    update: str | timedelta | None = None
    min_regions: int | None = None
    max_regions: int | None = None
    cpu_budget_percent: float | None = 1.0
    probe: str = "auto"
    regions_from: str = "gaps"
    goal: IntervalGoal | None = None
    plain: bool = False
    seed: int | None = None
    join: bool | int | str = False
    passed: str | tuple[str, ...] = ()
    page_map: str | timedelta | None = None
    addr_unit: str | int | None = None
    refresh: str | timedelta | None = None

    def __post_init__(self) -> None:
        check_budget(self.cpu_budget_percent)
        if self.regions_from not in _REGIONS_FROM:
            raise UsageError(f"regions cannot be made from {self.regions_from!r}")
        if self.join is not False:
            self._check_join()
        _ = self.attrs, self.kinds, self.page_map_ns, self.address_unit, self.refresh_ns

    @property
    def attrs(self) -> Attrs:
        """The monitoring attributes, with defaults for intervals that are not named."""
        return Attrs.of(self.sample, self.aggr, self.update, self.min_regions, self.max_regions)

    @property
    def budget(self) -> float | None:
        """The CPU budget of monitoring itself as a share of one CPU; `None` is no bound."""
        if self.cpu_budget_percent is None:
            return None
        return self.cpu_budget_percent / 100 * (1 - _FOR_PASSED if self.kinds else 1)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of pages of `passed`."""
        return kinds_from(self.passed)

    @property
    def passed_share(self) -> float | None:
        """How much of one CPU looks at kinds of pages may take; `None` is no bound."""
        percent = self.cpu_budget_percent
        return None if percent is None else percent / 100 * _FOR_PASSED

    @property
    def page_map_ns(self) -> int | None:
        """How often the ages of single pages are kept; `None` is never."""
        return None if self.page_map is None else parse_duration_ns(self.page_map)

    @property
    def address_unit(self) -> int:
        """Bytes of one unit of the kernel's addresses."""
        return 1 if self.addr_unit is None else parse_size(self.addr_unit)

    @property
    def refresh_ns(self) -> int:
        """How often the kernel refreshes its files; 0 is never."""
        return 0 if self.refresh is None else parse_duration_ns(self.refresh)

    @property
    def kernel_only(self) -> tuple[str, ...]:
        """The options in use that only the kernel's DAMON has, in words."""
        in_use = {"a unit of addresses": self.addr_unit, "a refresh interval": self.refresh}
        return tuple(words for words, value in in_use.items() if value is not None)

    @property
    def sampling_only(self) -> tuple[str, ...]:
        """The options in use that only pydamon's own sampling has, in words."""
        in_use = {
            f"the probe {self.probe}": self.probe != "auto",
            "plain": self.plain,
            "a seed": self.seed is not None,
            "maps of pages": self.page_map is not None,
        }
        return tuple(words for words, used in in_use.items() if used)

    def _check_join(self) -> None:
        """Raise `UsageError` for attributes of a kdamond that somebody else runs."""
        named = [name for name in _ATTRIBUTES if getattr(self, name) is not None]
        if named:
            raise UsageError(
                f"{named[0]} cannot be chosen for a kdamond that is joined: its user did",
                hint="leave it out, or do not join",
            )


class CommonOptions(TypedDict, total=False):
    """The fields of `MonitorOptions` that `monitor` and `record` also take as keywords."""

    sample: str | timedelta | None
    aggr: str | timedelta | None
    update: str | timedelta | None
    min_regions: int | None
    max_regions: int | None
    cpu_budget_percent: float | None
    probe: str
    join: bool | int | str


def with_common(options: MonitorOptions | None, common: CommonOptions) -> MonitorOptions:
    """Return *options* with the keywords of a call, which win.

    Raises `TypeError` for a keyword that is none of `CommonOptions`.
    """
    given: dict[str, Any] = dict(common)
    for name in given.keys() - CommonOptions.__annotations__.keys():
        known = name in MonitorOptions.__annotations__
        advice = f": use options=MonitorOptions({name}=...)" if known else ""
        raise TypeError(f"unexpected keyword argument {name!r}{advice}")
    return replace(options or MonitorOptions(), **given)


def check_budget(percent: float | None) -> None:
    """Raise `UsageError` for a share of one CPU that makes no sense."""
    if percent is not None and not 0 < percent <= 100 * (os.cpu_count() or 1):
        raise UsageError(f"not a CPU budget in percent of one CPU: {percent:g}")
