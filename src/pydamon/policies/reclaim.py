"""Proactive reclaim, as the kernel's DAMON_RECLAIM does it."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from pydamon.core.snapshot import Snapshot
from pydamon.schemes import (
    AccessPattern,
    Age,
    Filter,
    Goal,
    Guard,
    Quota,
    Scheme,
    Watermarks,
    Weights,
)
from pydamon.schemes.fields import Ns, count, duration_ns, flag, naming, permil, share, size
from pydamon.schemes.pattern import age

__all__ = ["Reclaim"]


@frozen(kw_only=True, field_transformer=naming)
class Reclaim:
    """Take memory that nobody has touched for a while, before anything runs short of it.

    It goes to swap, or back to its file. Works while little memory is free, but not when there is
    next to none: then the kernel reclaims by itself. Without swap only pages of files are taken.
    """

    name: ClassVar[str] = "reclaim"

    min_age: Age = field(
        default=Age(120 * 10**9, "ns"),
        converter=age,
        metadata={"help": "Take what has not been accessed for so long"},
    )
    quota_time_ns: Ns = field(
        default=Ns(10**7),
        alias="quota_time",
        converter=duration_ns,
        metadata={"help": "Time to spend on it each reset interval"},
    )
    quota_bytes: int = field(
        default=128 << 20, converter=size, metadata={"help": "Bytes to take each reset interval"}
    )
    quota_reset_ns: Ns = field(
        default=Ns(10**9),
        alias="quota_reset",
        converter=duration_ns,
        metadata={"help": "The reset interval"},
    )
    max_stall_us: int = field(
        default=0,
        converter=count,
        metadata={
            "help": "Tune the quota until tasks stall for memory for so many us a reset interval"
        },
    )
    watermark_interval_ns: Ns = field(
        default=Ns(5 * 10**9),
        alias="watermark_interval",
        converter=duration_ns,
        metadata={"help": "How often to look at how much memory is free"},
    )
    high: int = field(
        default=500,
        converter=permil,
        metadata={"help": "Off above so much free memory, in thousandths"},
    )
    mid: int = field(default=400, converter=permil, metadata={"help": "On again below this"})
    low: int = field(default=200, converter=permil, metadata={"help": "Off below this"})
    skip_anon: bool = field(
        default=False, converter=flag, metadata={"help": "Leave anonymous memory alone"}
    )
    max_refaults: float = field(
        default=0.1,
        converter=share,
        metadata={"help": "Rest when more than this share of what was taken is asked for again"},
    )

    def schemes(self) -> tuple[Scheme, ...]:
        """One: `pageout`, the oldest first."""
        goals: tuple[Goal, ...] = ()
        if self.max_stall_us:
            goals = (Goal(metric="some_mem_psi_us", target=self.max_stall_us),)
        return (
            Scheme(
                "pageout",
                AccessPattern(min_size=4096, max_rate=0, min_age=self.min_age),
                name=self.name,
                quota=Quota(
                    time=self.quota_time_ns,
                    bytes=self.quota_bytes,
                    reset=self.quota_reset_ns,
                    weights=Weights(age=1),
                    fail_charge=0.0,
                    goals=goals,
                ),
                watermarks=Watermarks(
                    metric="free_mem_rate",
                    interval=self.watermark_interval_ns,
                    high=self.high,
                    mid=self.mid,
                    low=self.low,
                ),
                filters=[Filter("anon")] if self.skip_anon else (),
                guard=Guard(refaults=self.max_refaults),
            ),
        )

    def figures(self, snapshot: Snapshot) -> dict[str, object]:
        """Nothing besides."""
        del snapshot
        return {}
