"""Huge pages where they pay: DAMON's "ethp"."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from pydamon._act.policies.base import Policy
from pydamon._model.schemes import AccessPattern, Age, Quota, Rate, Scheme, Weights
from pydamon._model.schemes.fields import Ns, duration_ns, naming
from pydamon._model.schemes.matching import age, rate

__all__ = ["Thp"]


@frozen(kw_only=True, field_transformer=naming)
class Thp(Policy):
    """Back hot memory with huge pages, and split huge pages that lie idle.

    Use it with /sys/kernel/mm/transparent_hugepage/enabled at "madvise" or "never": then huge pages
    are where memory is hot and mostly there, instead of wherever a program has touched a byte.

    Parameters
    ----------
    hot_rate
        Give huge pages to memory that is accessed so often.
    hot_min_age
        And has been for so long.
    cold_min_age
        Split huge pages that were not accessed for so long.
    quota_time, quota_reset
        CPU time to spend each reset interval on hot and on idle memory each, and that interval.

    Examples
    --------
    >>> from pydamon.policies import Thp
    >>> [scheme.action for scheme in Thp(hot_rate="10%").schemes()]
    ['hugepage', 'nohugepage']
    """

    name: ClassVar[str] = "thp"

    hot_rate: Rate = field(
        default=Rate(5, "%"),
        converter=rate,
        metadata={"help": "Give huge pages to memory that is accessed so often"},
    )
    hot_min_age: Age = field(
        default=Age(2), converter=age, metadata={"help": "And has been for so long"}
    )
    cold_min_age: Age = field(
        default=Age(13 * 10**9, "ns"),
        converter=age,
        metadata={"help": "Split huge pages that were not accessed for so long"},
    )
    quota_time_ns: Ns = field(
        default=Ns(10**8),
        alias="quota_time",
        converter=duration_ns,
        metadata={"help": "Time to spend each reset interval, on hot and on idle memory each"},
    )
    quota_reset_ns: Ns = field(
        default=Ns(10**9),
        alias="quota_reset",
        converter=duration_ns,
        metadata={"help": "The reset interval"},
    )

    def schemes(self) -> tuple[Scheme, ...]:
        """Two schemes: `hugepage`, the hottest memory first, and `nohugepage`."""
        # Imported here: help has no need of it.
        from pydamon._observe.linux.arch import HUGE_BYTES  # noqa: PLC0415

        quota = Quota(
            time=self.quota_time_ns,
            reset=self.quota_reset_ns,
            weights=Weights(rate=3, age=1),
            fail_charge=0.0,
        )
        hot = AccessPattern(min_size=HUGE_BYTES, min_rate=self.hot_rate, min_age=self.hot_min_age)
        idle = AccessPattern(min_size=HUGE_BYTES, max_rate=0, min_age=self.cold_min_age)
        return (
            Scheme("hugepage", hot, quota=quota, name="hot"),
            Scheme("nohugepage", idle, quota=quota, name="idle"),
        )
