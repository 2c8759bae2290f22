"""Limits of a scheme: its quota and the goals that tune it, its watermarks, and its guard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from attrs import field, frozen

from pydamon._model.errors import UsageError
from pydamon._model.plain import shown
from pydamon._model.schemes.fields import (
    Ns,
    Share,
    all_of,
    basis_points,
    count,
    duration_ns,
    naming,
    one_of,
    optional_count,
    optional_text,
    share,
    size,
    thousandths,
)

__all__ = [
    "METRICS",
    "TUNERS",
    "WATERMARK_METRICS",
    "Goal",
    "Guard",
    "Quota",
    "Watermarks",
    "Weights",
]

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
"""The kernel's names of what a goal measures, and the parameters that each needs."""
TUNERS = ("consist", "temporal")
_WHOLE = 10_000


def _goal_metric(value: str) -> str:
    return one_of(value, METRICS)


class _BasisPoints(int):
    """A target that was given as a share: only some metrics are shares."""


def _target(value: int | str | Share) -> int:
    if isinstance(value, str | Share):
        return _BasisPoints(round(_WHOLE * basis_points(value)))
    return count(value)


def _value(value: float | Callable[[], float]) -> float | Callable[[], float]:
    if callable(value):
        return value
    if isinstance(value, bool) or not 0 <= value < math.inf:
        raise UsageError(f"not a number of 0 or more, nor a function: {shown(value)}")
    return value


@frozen(kw_only=True, field_transformer=naming)
class Goal:
    """Tune a quota until a metric reaches its target.

    Parameters
    ----------
    metric
        One of DAMON's, by the kernel's name, which ends in the unit: `"some_mem_psi_us"` is the
        time that tasks stalled for memory, in microseconds a reset interval; metrics in `_bp` are
        shares in 10,000ths. The value of `"user_input"` is yours.
    target
        The target in the unit of the metric, above 0; text in percent for shares: `"99.7%"`.
    value
        For `"user_input"`: the value now, or a function that returns it, which is called once a
        reset interval.
    node
        Number of a memory node, for metrics that begin with `node`.
    memcg_path
        Path of a cgroup below the root of the cgroups, for `"node_memcg_..."`.

    Raises
    ------
    UsageError
        For an unknown metric, a target that the metric cannot have, or a missing parameter.

    Examples
    --------
    >>> import pydamon
    >>> nearly_full = pydamon.Goal(metric="node_mem_used_bp", node=0, target="99.7%")
    >>> nearly_full.target
    9970
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
    """Choose which regions come first where a quota is too small for all of them.

    Parameters
    ----------
    size, rate, age
        How much the size, access rate and age of a region count: any three numbers of 0 or more.
        With three zeros, regions are served in the order of their addresses.

    Examples
    --------
    >>> import pydamon
    >>> pydamon.Weights(age=1).any
    True
    """

    size: int = field(default=0, converter=count)
    rate: int = field(default=0, converter=count)
    age: int = field(default=0, converter=count)

    @property
    def any(self) -> bool:
        """Whether anything counts at all."""
        return bool(self.size or self.rate or self.age)


def _tuner(value: str) -> str:
    return one_of(value, TUNERS)


def _goals(value: Iterable[Goal]) -> tuple[Goal, ...]:
    return all_of(Goal, value)


def _weights(value: Weights) -> Weights:
    return all_of(Weights, (value,))[0]


@frozen(kw_only=True, field_transformer=naming)
class Quota:
    """Limit what a scheme spends in each reset interval: the stricter limit counts.

    Parameters
    ----------
    time
        CPU time of the thread that acts (in the kernel: time by the clock); 0 is no limit.
    bytes
        Bytes to try, or text such as `"128M"`; 0 is no limit.
    reset
        The reset interval.
    weights
        Which regions come first.
    goals
        Tune the limit within `time` and `bytes` until one of them is met.
    tuner
        `"consist"` tunes the limit by feedback; `"temporal"` acts without further limit until a
        goal is met, and not at all afterwards.
    fail_charge
        What a byte costs that was tried in vain: 0 (nothing) to 1 (a byte).

    Raises
    ------
    UsageError
        For values that make no sense, such as a reset interval of 0.

    Examples
    --------
    >>> import pydamon
    >>> quota = pydamon.Quota(time="10ms", bytes="128M", weights=pydamon.Weights(age=1))
    >>> quota.time_ns, quota.size_bytes, quota.reset_ns
    (10000000, 134217728, 1000000000)
    """

    time_ns: Ns = field(default=Ns(0), alias="time", converter=duration_ns)
    size_bytes: int = field(default=0, alias="bytes", converter=size)
    reset_ns: Ns = field(default=Ns(10**9), alias="reset", converter=duration_ns)
    weights: Weights = field(default=Weights(), converter=_weights)
    goals: tuple[Goal, ...] = field(default=(), converter=_goals)
    tuner: str = field(default="consist", converter=_tuner)
    fail_charge: Share = field(default=Share(1), converter=share)

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
    """Switch a scheme on and off by a metric.

    Above `high` and below `low` the scheme is off. Once off, it is on again only between `low` and
    `mid`.

    Parameters
    ----------
    metric
        `"free_mem_rate"` is the share of the machine's memory that is free. With `"none"` the
        scheme is always on.
    interval
        How often to look at the metric.
    high, mid, low
        Text in percent, such as `"50%"`, or a whole number of thousandths. The attributes
        `high_share`, `mid_share` and `low_share` hold them as shares, 0 to 1.

    Raises
    ------
    UsageError
        For marks that are not in order, and values that make no sense.

    Examples
    --------
    >>> import pydamon
    >>> marks = pydamon.Watermarks(metric="free_mem_rate", high="50%", mid="40%", low=200)
    >>> marks.high_share, marks.low_share
    (0.5, 0.2)
    """

    metric: str = field(default="none", converter=_watermark_metric)
    interval_ns: Ns = field(default=Ns(5 * 10**9), alias="interval", converter=duration_ns)
    high_share: Share = field(default=Share(0), alias="high", converter=thousandths)
    mid_share: Share = field(default=Share(0), alias="mid", converter=thousandths)
    low_share: Share = field(default=Share(0), alias="low", converter=thousandths)

    def __attrs_post_init__(self) -> None:
        if not self.low_share <= self.mid_share <= self.high_share:
            raise UsageError("mid: must lie between low and high")
        if self.metric != "none" and self.interval_ns == 0:
            raise UsageError("interval: must be longer than 0")


@frozen(kw_only=True, field_transformer=naming)
class Guard:
    """Make a scheme that takes memory away back off before it does harm.

    The scheme rests for `rest`, and twice as long each time while the harm goes on. 10 s after a
    rest that no harm followed, the guard forgets it, and the next rest is short again. Only pydamon
    heeds a guard; the kernel's DAMON has none.

    Parameters
    ----------
    refaults
        Rest when more than this share of the bytes that the scheme took is resident again: 0 to 1,
        or text in percent.
    stalls
        Rest when the targets stall for memory for more than this share of the time (pressure stall
        information, "some").
    rest
        The first rest.

    Raises
    ------
    UsageError
        For values that make no sense.

    Examples
    --------
    >>> import pydamon
    >>> guard = pydamon.Guard(refaults="5%", rest="30s")
    >>> guard.refault_share, guard.rest_ns
    (0.05, 30000000000)
    """

    refault_share: Share = field(default=Share(0.1), alias="refaults", converter=share)
    stall_share: Share = field(default=Share(0.1), alias="stalls", converter=share)
    rest_ns: Ns = field(default=Ns(10 * 10**9), alias="rest", converter=duration_ns)
