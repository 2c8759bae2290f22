"""Proactive reclaim, as the kernel's DAMON_RECLAIM does it."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from pydamon._act.policies.base import WhileMemoryIsShort
from pydamon._model.page_size import PAGE_SIZE
from pydamon._model.schemes import AccessPattern, Age, Filter, Goal, Guard, Quota, Scheme, Weights
from pydamon._model.schemes.fields import Share, count, flag, naming, share, size
from pydamon._model.schemes.matching import age
from pydamon._model.schemes.scheme import GRAINS, grain

__all__ = ["Reclaim"]


@frozen(kw_only=True, field_transformer=naming)
class Reclaim(WhileMemoryIsShort):
    """Take memory that nobody has touched for a while, before anything runs short of it.

    It goes to swap, or back to its file. Works while little memory is free, but not when next to
    none is: then the kernel reclaims by itself. Without swap only pages of files are taken.

    Parameters
    ----------
    min_age
        Take memory that was not accessed for so long.
    quota_bytes
        Bytes to take each reset interval.
    max_stall_us
        Tune the quota until tasks stall for memory for so many microseconds a reset interval; 0 is
        no goal.
    skip_anon
        Leave anonymous memory alone.
    max_refaults
        Rest when more than this share of the memory that was taken is asked for again.
    grain
        Take single pages by their own ages (`"page"`), or regions (`"region"`). Where the monitor
        keeps no ages of pages, it takes regions.
    quota_time, quota_reset
        CPU time to spend each reset interval, and that interval.
    watermark_interval, high, mid, low
        How often to look at the share of free memory, and between which marks to work.

    Examples
    --------
    >>> from pydamon.policies import Reclaim
    >>> (scheme,) = Reclaim(min_age="5min").schemes()
    >>> scheme.action, str(scheme.pattern.min_age)
    ('pageout', '5 min')
    """

    name: ClassVar[str] = "reclaim"

    min_age: Age = field(
        default=Age(120 * 10**9, "ns"),
        converter=age,
        metadata={"help": "Take memory that was not accessed for so long"},
    )
    quota_bytes: int = field(
        default=128 << 20, converter=size, metadata={"help": "Bytes to take each reset interval"}
    )
    max_stall_us: int = field(
        default=0,
        converter=count,
        metadata={
            "help": "Tune the quota until tasks stall for memory for so many us a reset interval"
        },
    )
    skip_anon: bool = field(
        default=False, converter=flag, metadata={"help": "Leave anonymous memory alone"}
    )
    max_refault_share: Share = field(
        default=Share(0.1),
        alias="max_refaults",
        converter=share,
        metadata={"help": "Rest when more than this share of what was taken is asked for again"},
    )

    grain: str = field(
        default="page",
        converter=grain,
        metadata={
            "help": "Take single pages by their own ages, or regions",
            "choices": GRAINS,
        },
    )

    def schemes(self) -> tuple[Scheme, ...]:
        """One scheme: `pageout`, the oldest memory first."""
        goals: tuple[Goal, ...] = ()
        if self.max_stall_us:
            goals = (Goal(metric="some_mem_psi_us", target=self.max_stall_us),)
        return (
            Scheme(
                "pageout",
                AccessPattern(min_size=PAGE_SIZE, max_rate=0, min_age=self.min_age),
                name=self.name,
                quota=Quota(
                    time=self.quota_time_ns,
                    bytes=self.quota_bytes,
                    reset=self.quota_reset_ns,
                    weights=Weights(age=1),
                    fail_charge=0.0,
                    goals=goals,
                ),
                watermarks=self.watermarks,
                filters=[Filter("anon")] if self.skip_anon else (),
                guard=Guard(refaults=self.max_refault_share),
                grain=self.grain,
            ),
        )
