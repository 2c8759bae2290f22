"""How much a scheme may spend, and when it is switched on: quotas, goals, watermarks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from attrs import field, frozen

from pydamon._model.errors import UsageError
from pydamon._model.plain import shown
from pydamon._model.schemes.fields import (
    Ns,
    all_of,
    basis_points,
    count,
    duration_ns,
    naming,
    one_of,
    optional_count,
    optional_text,
    permil,
    share,
    size,
)

__all__ = ["METRICS", "TUNERS", "WATERMARK_METRICS", "Goal", "Quota", "Watermarks", "Weights"]

METRICS = {
    "user_input": (),
    "some_mem_psi_us": (),
    "node_mem_used_bp": ("node",),
    "node_mem_free_bp": ("node",),
    "node_memcg_used_bp": ("node", "memcg_path"),
    "node_memcg_free_bp": ("node", "memcg_path"),
    "active_mem_bp": (),
    "inactive_mem_bp": (),
    "node_eligible_mem_bp": ("node",),
}
"""What a goal can be about, by the kernel's names, and what each has to be told besides."""
TUNERS = ("consist", "temporal")
_WHOLE = 10_000


def _goal_metric(value: str) -> str:
    return one_of(value, METRICS)


class _BasisPoints(int):
    """Said in percent: only some metrics are shares."""


def _target(value: int | str) -> int:
    if not isinstance(value, str):
        return count(value)
    return _BasisPoints(basis_points(value))


def _value(value: float | Callable[[], float]) -> float | Callable[[], float]:
    if callable(value):
        return value
    if isinstance(value, bool) or not 0 <= value < math.inf:
        raise UsageError(f"not a number of 0 or more, nor a function: {shown(value)}")
    return value


@frozen(kw_only=True, field_transformer=naming)
class Goal:
    """Tune the quota until a metric has its *target* value.

    `metric` is one of DAMON's: `some_mem_psi_us` is the time that tasks stalled for memory, in
    microseconds a reset interval; those in `_bp` are shares in 10,000 (or text in percent:
    "99.7%"), of a memory `node` or a cgroup (`memcg_path`, below the root of the cgroups). For
    `user_input` the value is yours: `value` is a number, or a function that is asked for it once a
    reset interval.
    """

    metric: str = field(converter=_goal_metric)
    target: int = field(converter=_target)
    value: float | Callable[[], float] = field(default=0, converter=_value)
    node: int | None = field(default=None, converter=optional_count)
    memcg_path: str | None = field(default=None, converter=optional_text)

    def __attrs_post_init__(self) -> None:
        if self.target == 0:
            raise UsageError("target: must be above 0")
        is_share = self.metric.endswith("_bp")
        if isinstance(self.target, _BasisPoints) and not is_share:
            raise UsageError(f"target: {self.metric} is no share, so that no percentage fits")
        if is_share and self.target > _WHOLE:
            raise UsageError(f"target: a share in 10,000ths is at most 10,000: {self.target}")
        for name in METRICS[self.metric]:
            if getattr(self, name) is None:
                raise UsageError(f"{name}: is needed for the goal {self.metric}")


@frozen(kw_only=True, field_transformer=naming)
class Weights:
    """What counts how much when a quota is too small for everything: any three numbers."""

    size: int = field(default=0, converter=count)
    rate: int = field(default=0, converter=count)
    age: int = field(default=0, converter=count)

    @property
    def any(self) -> bool:
        """Whether anything counts at all; otherwise regions are served in their order."""
        return bool(self.size or self.rate or self.age)


def _tuner(value: str) -> str:
    return one_of(value, TUNERS)


def _goals(value: Iterable[Goal]) -> tuple[Goal, ...]:
    return all_of(Goal, value)


def _weights(value: Weights) -> Weights:
    return all_of(Weights, (value,))[0]


@frozen(kw_only=True, field_transformer=naming)
class Quota:
    """At most *time* and *bytes* every *reset* interval: the stricter counts, 0 is no limit.

    The time is CPU time of the thread that acts (in the kernel, what the clock says).
    With `goals` the limit is tuned within that, by feedback (`tuner` "consist"), or the scheme
    runs until they are met ("temporal"). `weights` say which regions are served first.
    `fail_charge` is the share that bytes cost that were tried, but could not be acted on.
    """

    time_ns: Ns = field(default=Ns(0), alias="time", converter=duration_ns)
    size_bytes: int = field(default=0, alias="bytes", converter=size)
    reset_ns: Ns = field(default=Ns(10**9), alias="reset", converter=duration_ns)
    weights: Weights = field(default=Weights(), converter=_weights)
    goals: tuple[Goal, ...] = field(default=(), converter=_goals)
    tuner: str = field(default="consist", converter=_tuner)
    fail_charge: float = field(default=1.0, converter=share)

    def __attrs_post_init__(self) -> None:
        if self.reset_ns == 0:
            raise UsageError("reset: must be longer than 0")

    @property
    def limits(self) -> bool:
        """Whether anything is limited."""
        return bool(self.time_ns or self.size_bytes or self.goals)


WATERMARK_METRICS = ("none", "free_mem_rate")


def _watermark_metric(value: str) -> str:
    return one_of(value, WATERMARK_METRICS)


@frozen(kw_only=True, field_transformer=naming)
class Watermarks:
    """Bounds of a *metric*, which is looked at every *interval*: "50%", or a number of thousandths.

    Above `high` and below `low` the scheme is off; once off, it is on again between `low` and
    `mid` only. The metric `free_mem_rate` is the machine's free memory; with "none" the scheme
    is always on.
    """

    metric: str = field(default="none", converter=_watermark_metric)
    interval_ns: Ns = field(default=Ns(5 * 10**9), alias="interval", converter=duration_ns)
    high: int = field(default=0, converter=permil)
    mid: int = field(default=0, converter=permil)
    low: int = field(default=0, converter=permil)

    def __attrs_post_init__(self) -> None:
        if not self.low <= self.mid <= self.high:
            raise UsageError("mid: must lie between low and high")
        if self.metric != "none" and self.interval_ns == 0:
            raise UsageError("interval: must be longer than 0")
