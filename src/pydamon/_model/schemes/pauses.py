"""Pauses: when a scheme does nothing, by watermarks of free memory or by its guard."""

from __future__ import annotations

from attrs import field, frozen

from pydamon._model.errors import UsageError
from pydamon._model.schemes.fields import Ns, Share, duration_ns, naming, one_of, share, thousandths

__all__ = ["WATERMARK_METRICS", "Guard", "Watermarks"]

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

    The scheme rests for `rest`, and twice as long each time while the harm goes on. Only pydamon
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
