"""What a policy is: schemes for one purpose, with few parameters that have good defaults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from attrs import field, frozen

from pydamon._model.schemes import Scheme, Watermarks
from pydamon._model.schemes.fields import Ns, duration_ns, naming, permil

if TYPE_CHECKING:
    from pydamon._model.snapshot import Snapshot

__all__ = ["Policy", "WhileMemoryIsShort"]


class Policy(ABC):
    """Parameters, as fields of a frozen attrs class whose docstring is the help of its command."""

    name: ClassVar[str]

    @abstractmethod
    def schemes(self) -> tuple[Scheme, ...]:
        """The schemes that it consists of."""

    def figures(self, snapshot: Snapshot) -> dict[str, object]:
        """What its status shows besides the statistics of its schemes."""
        del snapshot
        return {}


@frozen(kw_only=True, field_transformer=naming)
class WhileMemoryIsShort(Policy):
    """What the kernel's modules have in common: a time quota, and watermarks of free memory."""

    quota_time_ns: Ns = field(
        default=Ns(10**7),
        alias="quota_time",
        converter=duration_ns,
        metadata={"help": "Time to spend on it each reset interval"},
    )
    quota_reset_ns: Ns = field(
        default=Ns(10**9),
        alias="quota_reset",
        converter=duration_ns,
        metadata={"help": "The reset interval"},
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
        metadata={"help": "Off above so much free memory", "percent": True},
    )
    mid: int = field(
        default=400, converter=permil, metadata={"help": "On again below this", "percent": True}
    )
    low: int = field(
        default=200, converter=permil, metadata={"help": "Off below this", "percent": True}
    )

    @property
    def watermarks(self) -> Watermarks:
        """Those of its schemes."""
        return Watermarks(
            metric="free_mem_rate",
            interval=self.watermark_interval_ns,
            high=self.high,
            mid=self.mid,
            low=self.low,
        )
