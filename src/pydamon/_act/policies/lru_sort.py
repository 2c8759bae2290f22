"""Sorting the kernel's LRU lists, as DAMON_LRU_SORT does it."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from pydamon._act.policies.base import WhileMemoryIsShort
from pydamon._model.schemes import AccessPattern, Age, Quota, Rate, Scheme, Weights
from pydamon._model.schemes.fields import Ns, naming, permil
from pydamon._model.schemes.pattern import age, rate

__all__ = ["LruSort"]


@frozen(kw_only=True, field_transformer=naming)
class LruSort(WhileMemoryIsShort):
    """Tell the kernel what is hot and what is cold, so that it takes the right pages first.

    Nothing is taken by this. The quota is halved between hot and cold.
    """

    name: ClassVar[str] = "lru-sort"

    hot_rate: Rate = field(
        default=Rate(50, "%"),
        converter=rate,
        metadata={"help": "What is accessed so often is kept"},
    )
    cold_min_age: Age = field(
        default=Age(120 * 10**9, "ns"),
        converter=age,
        metadata={"help": "What has not been accessed for so long is for the kernel to take first"},
    )
    high: int = field(
        default=200,
        converter=permil,
        metadata={"help": "Off above so much free memory", "percent": True},
    )
    mid: int = field(
        default=150, converter=permil, metadata={"help": "On again below this", "percent": True}
    )
    low: int = field(
        default=50, converter=permil, metadata={"help": "Off below this", "percent": True}
    )

    def schemes(self) -> tuple[Scheme, ...]:
        """Two: `lru_prio` and `lru_deprio`."""
        quota = Quota(
            time=Ns(self.quota_time_ns // 2),
            reset=self.quota_reset_ns,
            weights=Weights(rate=1, age=1),
        )
        marks = self.watermarks
        hot = AccessPattern(min_size=4096, min_rate=self.hot_rate)
        cold = AccessPattern(min_size=4096, max_rate=0, min_age=self.cold_min_age)
        return (
            Scheme("lru_prio", hot, quota=quota, watermarks=marks, name="hot"),
            Scheme("lru_deprio", cold, quota=quota, watermarks=marks, name="cold"),
        )
