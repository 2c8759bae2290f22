"""Sorting the kernel's LRU lists, as DAMON_LRU_SORT does it."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from pydamon._act.policies.base import WhileMemoryIsShort
from pydamon._model.page_size import PAGE_SIZE
from pydamon._model.schemes import AccessPattern, Age, Quota, Rate, Scheme, Weights
from pydamon._model.schemes.fields import Ns, Share, naming, thousandths
from pydamon._model.schemes.matching import age, rate

__all__ = ["LruSort"]


@frozen(kw_only=True, field_transformer=naming)
class LruSort(WhileMemoryIsShort):
    """Tell the kernel which memory is hot and which is cold, so that it takes cold pages first.

    Nothing is taken by this. The quota is halved between hot and cold memory.

    Parameters
    ----------
    hot_rate
        Keep memory that is accessed so often.
    cold_min_age
        Let the kernel take memory first that was not accessed for so long.
    quota_time, quota_reset
        CPU time to spend each reset interval, and that interval.
    watermark_interval, high, mid, low
        How often to look at the share of free memory, and between which marks to work.

    Examples
    --------
    >>> from pydamon.policies import LruSort
    >>> [scheme.action for scheme in LruSort(hot_rate="20%").schemes()]
    ['lru_prio', 'lru_deprio']
    """

    name: ClassVar[str] = "lru-sort"

    hot_rate: Rate = field(
        default=Rate(50, "%"),
        converter=rate,
        metadata={"help": "Keep memory that is accessed so often"},
    )
    cold_min_age: Age = field(
        default=Age(120 * 10**9, "ns"),
        converter=age,
        metadata={"help": "Let the kernel take memory first that was not accessed for so long"},
    )
    high_share: Share = field(
        default=Share(0.2),
        alias="high",
        converter=thousandths,
        metadata={"help": "Off above this share of free memory", "percent": True},
    )
    mid_share: Share = field(
        default=Share(0.15),
        alias="mid",
        converter=thousandths,
        metadata={"help": "On again below this share", "percent": True},
    )
    low_share: Share = field(
        default=Share(0.05),
        alias="low",
        converter=thousandths,
        metadata={"help": "Off below this share", "percent": True},
    )

    def schemes(self) -> tuple[Scheme, ...]:
        """Two schemes: `lru_prio` and `lru_deprio`."""
        quota = Quota(
            time=Ns(self.quota_time_ns // 2),
            reset=self.quota_reset_ns,
            weights=Weights(rate=1, age=1),
        )
        marks = self.watermarks
        hot = AccessPattern(min_size=PAGE_SIZE, min_rate=self.hot_rate)
        cold = AccessPattern(min_size=PAGE_SIZE, max_rate=0, min_age=self.cold_min_age)
        return (
            Scheme("lru_prio", hot, quota=quota, watermarks=marks, name="hot"),
            Scheme("lru_deprio", cold, quota=quota, watermarks=marks, name="cold"),
        )
