"""When a scheme is switched on and off."""

from __future__ import annotations

from attrs import field, frozen

from pydamon.core.errors import UsageError
from pydamon.schemes.fields import Ns, duration_ns, naming, one_of, permil

__all__ = ["WATERMARK_METRICS", "Watermarks"]

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
