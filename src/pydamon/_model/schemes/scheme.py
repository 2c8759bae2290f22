"""A scheme: which memory, what to do with it, how much that may cost, and what it has done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attrs import field, frozen

from pydamon._model.display import Displayable
from pydamon._model.errors import UsageError
from pydamon._model.schemes.fields import (
    Ns,
    all_of,
    count,
    duration_ns,
    naming,
    one_of,
    optional_count,
    text,
)
from pydamon._model.schemes.limits import Guard, Quota, Watermarks
from pydamon._model.schemes.matching import AccessPattern, Filter

__all__ = ["ACTIONS", "GRAINS", "ActionFunction", "Destination", "Scheme", "SchemeStats", "grain"]

if TYPE_CHECKING:
    from pydamon._model.snapshot import SnapshotRegion

    ActionFunction = Callable[[SnapshotRegion], int | None]
else:
    ActionFunction = Callable  # help needs no snapshots
"""A user's action: it is given a region, and may return for how many bytes it did something."""
ACTIONS = {
    "stat": "base:Stat",
    "pageout": "reclaim:Pageout",
    "cold": "reclaim:Cold",
    "willneed": "reclaim:Willneed",
    "hugepage": "huge:Hugepage",
    "nohugepage": "huge:Nohugepage",
    "collapse": "huge:Collapse",
    "lru_prio": "reclaim:LruPrio",
    "lru_deprio": "reclaim:LruDeprio",
    "migrate_hot": "migrate:MigrateHot",
    "migrate_cold": "migrate:MigrateCold",
}
"""By name (the kernel's, where it has the action), the module and class in `_act/actions`."""
GRAINS = ("region", "page")
"""What a scheme acts on."""
_MIGRATIONS = ("migrate_hot", "migrate_cold")


@frozen(kw_only=True, field_transformer=naming)
class Destination:
    """A memory node to migrate to, of several.

    Parameters
    ----------
    node
        Number of the memory node.
    weight
        Its part of the migrated memory, in relation to the weights of the other destinations.

    Examples
    --------
    >>> import pydamon
    >>> nodes = [pydamon.Destination(node=1, weight=3), pydamon.Destination(node=2)]
    >>> pydamon.Scheme("migrate_cold", destinations=nodes).label
    'migrate_cold'
    """

    node: int = field(converter=count)
    weight: int = field(default=1, converter=count)


def _action(value: str | ActionFunction) -> str | ActionFunction:
    return value if callable(value) else one_of(value, ACTIONS)


def grain(value: str) -> str:
    """The converter of a field that holds what a scheme acts on."""
    return one_of(value, GRAINS)


def _pattern(value: AccessPattern) -> AccessPattern:
    return all_of(AccessPattern, (value,))[0]


def _quota(value: Quota) -> Quota:
    return all_of(Quota, (value,))[0]


def _watermarks(value: Watermarks) -> Watermarks:
    return all_of(Watermarks, (value,))[0]


def _filters(value: Iterable[Filter]) -> tuple[Filter, ...]:
    return all_of(Filter, value)


def _destinations(value: Iterable[Destination]) -> tuple[Destination, ...]:
    return all_of(Destination, value)


def _guard(value: Guard | None) -> Guard | None:
    return None if value is None else all_of(Guard, (value,))[0]


@frozen(field_transformer=naming)
class Scheme:
    """Do something with the memory that an access pattern matches.

    Parameters
    ----------
    action
        One of `"stat"`, `"pageout"`, `"cold"`, `"willneed"`, `"hugepage"`, `"nohugepage"`,
        `"collapse"`, `"lru_prio"`, `"lru_deprio"`, `"migrate_hot"` and `"migrate_cold"`; or a
        function, which is called with each region and may return for how many bytes it did
        something.
    pattern
        The regions to act on.
    quota
        How much to spend.
    watermarks
        When the scheme is on.
    filters
        Memory to leave alone, or to act on only.
    apply_interval
        How often to act; `"0s"` is once an aggregation.
    max_snapshots
        Stop after so many snapshots; 0 is never.
    target_node
        The memory node to migrate to.
    destinations
        Memory nodes to migrate to, where there are several.
    guard
        When to back off; `None` is never.
    grain
        `"region"` acts on regions. `"page"` acts on runs of idle pages in all regions, also in
        regions with hot pages: the ages of the pattern are then those of single pages, the sizes
        those of the runs, and `max_rate` has to be 0. A huge page is one page, and stays whole.
        Pages have ages where the monitor looks at all of them; elsewhere it acts on regions.
    name
        A name for people.

    Raises
    ------
    UsageError
        For an unknown action, parameters that do not fit it, and values that make no sense. The
        message begins with the name of the parameter.

    Examples
    --------
    >>> import pydamon
    >>> scheme = pydamon.Scheme(
    ...     "pageout",
    ...     pydamon.AccessPattern(max_rate=0, min_age="2min"),
    ...     quota=pydamon.Quota(time="10ms", bytes="128M"),
    ... )
    >>> scheme.label
    'pageout'
    >>> try:
    ...     pydamon.Scheme("page_out")
    ... except pydamon.UsageError as error:
    ...     print(error)
    action: there is no 'page_out'; did you mean pageout?
    """

    action: str | ActionFunction = field(converter=_action)
    pattern: AccessPattern = field(default=AccessPattern(), converter=_pattern)
    quota: Quota = field(default=Quota(), kw_only=True, converter=_quota)
    watermarks: Watermarks = field(default=Watermarks(), kw_only=True, converter=_watermarks)
    filters: tuple[Filter, ...] = field(default=(), kw_only=True, converter=_filters)
    apply_interval_ns: Ns = field(
        default=Ns(0), alias="apply_interval", kw_only=True, converter=duration_ns
    )
    max_snapshots: int = field(default=0, kw_only=True, converter=count)
    target_node: int | None = field(default=None, kw_only=True, converter=optional_count)
    destinations: tuple[Destination, ...] = field(default=(), kw_only=True, converter=_destinations)
    guard: Guard | None = field(default=Guard(), kw_only=True, converter=_guard)
    grain: str = field(default="region", kw_only=True, converter=grain)
    name: str = field(default="", kw_only=True, converter=text)

    def __attrs_post_init__(self) -> None:
        has_nodes = self.target_node is not None or bool(self.destinations)
        if self.action in _MIGRATIONS and not has_nodes:
            raise UsageError(f"target_node: is needed for {self.action}")
        if has_nodes and self.action not in _MIGRATIONS:
            raise UsageError("target_node: is for migrate_hot and migrate_cold only")
        if self.grain == "page":
            self._check_pages()

    def _check_pages(self) -> None:
        if callable(self.action):
            raise UsageError("grain: a function is called with regions, not with pages")
        most = self.pattern.max_rate
        if most is None or most.value:
            raise UsageError(
                "grain: pages have ages, but no access rates",
                hint="set max_rate of the pattern to 0: the scheme is about idle pages",
            )

    @property
    def label(self) -> str:
        """Its name, or else the name of its action."""
        if self.name:
            return self.name
        return self.action if isinstance(self.action, str) else self.action.__name__


@dataclass(slots=True)
class SchemeStats(Displayable):
    """What a scheme has done: DAMON's statistics, and two of pydamon's.

    In a dry run the bytes are no sums: they say what the scheme would have tried and done by now,
    of the memory that is resident.

    Attributes
    ----------
    nr_tried, sz_tried
        Regions and bytes that matched the pattern and the core filters, and were within the quota;
        runs of pages instead of regions where the grain is a page.
    nr_applied, sz_applied
        Regions and bytes for which the action is known to have happened.
    sz_ops_filter_passed
        Bytes of `sz_tried` that passed the filters of pages.
    qt_exceeds
        Reset intervals that ended with all of the quota spent.
    nr_snapshots
        Snapshots that the scheme was applied to.
    time_ns
        CPU time that acting took (not DAMON's).
    rests
        How often the guard made the scheme rest (not DAMON's).

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, AccessPattern, Phase, Scheme, Trace
    >>> MIB = 1 << 20
    >>> trace = Trace((Phase(10**9, (Access(0, 16 * MIB, rate_hz=1000),)),))
    >>> scheme = Scheme("stat", AccessPattern(min_rate="50%"), max_snapshots=3)
    >>> mon = pydamon.simulate(trace, [(0, 64 * MIB)], seed=1)
    >>> with mon, pydamon.apply(mon, scheme) as applied:
    ...     for snapshot in applied.run("5s"):
    ...         pass
    >>> applied[0].stats.nr_snapshots
    3
    """

    nr_tried: int = 0
    sz_tried: int = 0
    nr_applied: int = 0
    sz_applied: int = 0
    sz_ops_filter_passed: int = 0
    qt_exceeds: int = 0
    nr_snapshots: int = 0
    time_ns: int = 0
    rests: int = 0
