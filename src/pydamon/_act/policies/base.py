"""The base of policies: schemes for one purpose, with a few parameters that have defaults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from attrs import field, frozen

from pydamon._model.schemes import Scheme, Watermarks
from pydamon._model.schemes.fields import Ns, Share, duration_ns, naming, thousandths

if TYPE_CHECKING:
    from pydamon._model.snapshot import Snapshot

__all__ = ["Policy", "WhileMemoryIsShort"]


class Policy(ABC):
    """Schemes for one purpose.

    A policy is a frozen attrs class. Its fields are its parameters, in Python and in files; fields
    with a `help` in their metadata are options of its command, too. The beginning of the docstring,
    up to the first section, is the description of the command.

    Attributes
    ----------
    name : str
        The name of the policy and of its command.
    """

    name: ClassVar[str]

    @abstractmethod
    def schemes(self) -> tuple[Scheme, ...]:
        """The schemes that it consists of."""

    def figures(self, snapshot: Snapshot) -> dict[str, object]:
        """Figures for its status, besides the statistics of its schemes."""
        del snapshot
        return {}


@frozen(kw_only=True, field_transformer=naming)
class WhileMemoryIsShort(Policy):
    """The parameters that policies after the kernel's modules share: time quota and watermarks."""

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
    high_share: Share = field(
        default=Share(0.5),
        alias="high",
        converter=thousandths,
        metadata={"help": "Off above this share of free memory", "percent": True},
    )
    mid_share: Share = field(
        default=Share(0.4),
        alias="mid",
        converter=thousandths,
        metadata={"help": "On again below this share", "percent": True},
    )
    low_share: Share = field(
        default=Share(0.2),
        alias="low",
        converter=thousandths,
        metadata={"help": "Off below this share", "percent": True},
    )

    @property
    def watermarks(self) -> Watermarks:
        """The watermarks of its schemes."""
        return Watermarks(
            metric="free_mem_rate",
            interval=self.watermark_interval_ns,
            high=self.high_share,
            mid=self.mid_share,
            low=self.low_share,
        )
