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
    share,
    text,
)
from pydamon._model.schemes.filters import Filter
from pydamon._model.schemes.pattern import AccessPattern
from pydamon._model.schemes.quota import Quota, Watermarks

__all__ = ["ACTIONS", "ActionFunction", "Destination", "Guard", "Scheme", "SchemeStats"]

if TYPE_CHECKING:
    from pydamon._model.snapshot import SnapshotRegion

    ActionFunction = Callable[[SnapshotRegion], int | None]
else:
    ActionFunction = Callable  # help needs no snapshots
"""A user's action: is given a region, and may say how many bytes it did something about."""
ACTIONS = (
    "stat",
    "pageout",
    "cold",
    "willneed",
    "hugepage",
    "nohugepage",
    "collapse",
    "lru_prio",
    "lru_deprio",
    "migrate_hot",
    "migrate_cold",
)
"""The kernel's names of actions."""


def _action(value: str | ActionFunction) -> str | ActionFunction:
    return value if callable(value) else one_of(value, ACTIONS)


@frozen(kw_only=True, field_transformer=naming)
class Destination:
    """A memory node to migrate to, and its share of what is migrated, as a weight."""

    node: int = field(converter=count)
    weight: int = field(default=1, converter=count)


@frozen(kw_only=True, field_transformer=naming)
class Guard:
    """When a scheme that takes memory away backs off by itself, so that it never makes harm.

    It does for `rest` (twice as long each time, while that goes on) where more than `refaults` of
    the bytes that it took were asked for again, or where the targets stall for memory for more
    than `stalls` of the time (pressure stall information, "some"). Only `pydamon` itself heeds
    it; the kernel's DAMON has no such thing.
    """

    refaults: float = field(default=0.1, converter=share)
    stalls: float = field(default=0.1, converter=share)
    rest_ns: Ns = field(default=Ns(10 * 10**9), alias="rest", converter=duration_ns)


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
    """Do *action* with the regions that fit *pattern*, within the *quota*.

    `action` is a name (`ACTIONS`) or a function that is called with each region. It is applied
    every `apply_interval` ("0s": once an aggregation), while the `watermarks` let it be on, to what
    the `filters` allow, until it was applied to `max_snapshots` snapshots (0: for ever). Migration
    goes to `target_node`, or to several `destinations`. `name` is for people.
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
    name: str = field(default="", kw_only=True, converter=text)

    def __attrs_post_init__(self) -> None:
        if self.action in ("migrate_hot", "migrate_cold"):
            if self.target_node is None and not self.destinations:
                raise UsageError(f"target_node: is needed for {self.action}")
        elif self.target_node is not None or self.destinations:
            raise UsageError("target_node: is for migrate_hot and migrate_cold only")

    @property
    def label(self) -> str:
        """What to call it."""
        if self.name:
            return self.name
        return self.action if isinstance(self.action, str) else self.action.__name__


@dataclass(slots=True)
class SchemeStats(Displayable):
    """DAMON's statistics of a scheme: numbers of regions (`nr_`) and bytes (`sz_`).

    `tried` is what matched the pattern and core filters and was within the quota; `applied` is
    that for which the action is known to have happened; `qt_exceeds` counts charge windows that
    ended with all of the quota spent. Not DAMON's: `time_ns` is the CPU time that acting took,
    `rests` how often the guard made the scheme back off. In a dry run the bytes are not summed up:
    they say what would have been tried and done by now, of what is resident.
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
