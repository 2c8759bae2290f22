"""Parameters of DAMON_RECLAIM and DAMON_LRU_SORT: typed, and as the kernel's files hold them."""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import field, fields, frozen

from pydamon._model.errors import UsageError
from pydamon._model.schemes import Watermarks
from pydamon._model.schemes.fields import Ns, count, duration_ns, flag, naming, permil, size
from pydamon._observe.kernel.files import Files

__all__ = [
    "LruSortParameters",
    "ModuleParameters",
    "ReclaimParameters",
    "read_parameters",
    "to_files",
]

_US, _MS = 10**3, 10**6
P = TypeVar("P", bound="ModuleParameters")


def _file(name: str, unit: int = 1, *, since: str = "") -> dict[str, Any]:
    """Metadata of a field: its file, the unit of the file, and the release that brought it."""
    return {"file": name, "unit": unit, "since": since}


def _marks(high: int, mid: int, low: int, interval: str | Ns = "5s") -> Watermarks:
    return Watermarks(metric="free_mem_rate", interval=interval, high=high, mid=mid, low=low)


@frozen(kw_only=True, field_transformer=naming)
class ModuleParameters:
    """Parameters that `ReclaimParameters` and `LruSortParameters` share.

    Raises `UsageError` for values that make no sense.
    """

    quota_time_ns: Ns = field(
        default=Ns(10 * _MS),
        alias="quota_time",
        converter=duration_ns,
        metadata=_file("quota_ms", _MS),
    )
    quota_reset_ns: Ns = field(
        default=Ns(1000 * _MS),
        alias="quota_reset",
        converter=duration_ns,
        metadata=_file("quota_reset_interval_ms", _MS),
    )
    sampling_ns: Ns = field(
        default=Ns(5 * _MS),
        alias="sample",
        converter=duration_ns,
        metadata=_file("sample_interval", _US),
    )
    aggregation_ns: Ns = field(
        default=Ns(100 * _MS),
        alias="aggr",
        converter=duration_ns,
        metadata=_file("aggr_interval", _US),
    )
    min_regions: int = field(default=10, converter=count, metadata=_file("min_nr_regions"))
    max_regions: int = field(default=1000, converter=count, metadata=_file("max_nr_regions"))
    region_start: int = field(default=0, converter=count, metadata=_file("monitor_region_start"))
    region_end: int = field(default=0, converter=count, metadata=_file("monitor_region_end"))
    watermarks: Watermarks = field(default=_marks(0, 0, 0))

    def __attrs_post_init__(self) -> None:
        if not 0 < self.sampling_ns <= self.aggregation_ns:
            raise UsageError("sample: must be longer than 0, and not longer than aggr")
        if not 3 <= self.min_regions <= self.max_regions:
            raise UsageError("min_regions: must be 3 or more, and not above max_regions")
        if self.region_start > self.region_end:
            raise UsageError("region_start: must not be above region_end")


@frozen(kw_only=True, field_transformer=naming)
class ReclaimParameters(ModuleParameters):
    """Parameters of DAMON_RECLAIM, which pages out memory that was idle for a while.

    Parameters
    ----------
    min_age
        Page out memory that was not accessed for this long.
    quota_bytes
        Page out at most this much in each `quota_reset`.
    memory_pressure_us
        Tune the quota to this much stalling for memory in each `quota_reset`; 0 is off.
    feedback
        Tune the quota by a score of yours, of 10,000; 0 is off.
    skip_anon
        Page out file pages only.
    tuned_intervals
        Let the module choose its intervals.
    quota_time, quota_reset
        Spend at most `quota_time` on acting in each `quota_reset`.
    sample, aggr, min_regions, max_regions
        How physical memory is monitored, as in `Attrs`.
    region_start, region_end
        The physical addresses to monitor; 0 and 0 are the largest block of memory.
    watermarks
        The shares of free memory between which the module is on.

    Examples
    --------
    >>> from pydamon import ReclaimParameters
    >>> parameters = ReclaimParameters(min_age="1min", quota_bytes="64M")
    >>> parameters.min_age_ns, parameters.quota_bytes
    (60000000000, 67108864)
    """

    min_age_ns: Ns = field(
        default=Ns(120 * 10**9),
        alias="min_age",
        converter=duration_ns,
        metadata=_file("min_age", _US),
    )
    quota_bytes: int = field(default=128 << 20, converter=size, metadata=_file("quota_sz"))
    memory_pressure_us: int = field(
        default=0, converter=count, metadata=_file("quota_mem_pressure_us", since="6.10")
    )
    feedback: int = field(
        default=0, converter=count, metadata=_file("quota_autotune_feedback", since="6.10")
    )
    skip_anon: bool = field(default=False, converter=flag, metadata=_file("skip_anon", since="6.2"))
    tuned_intervals: bool = field(
        default=False,
        converter=flag,
        metadata=_file("autotune_monitoring_intervals", since="7.2"),
    )
    watermarks: Watermarks = field(default=_marks(500, 400, 200))


@frozen(kw_only=True, field_transformer=naming)
class LruSortParameters(ModuleParameters):
    """Parameters of DAMON_LRU_SORT, which moves pages within the LRU lists.

    Parameters
    ----------
    hot_permil
        Memory accessed in at least this share of the samples, in thousandths, moves to the front.
    cold_min_age
        Memory not accessed for this long moves to the back.
    active_bp
        Tune for this share of memory, of 10,000, to be active; 0 is off.
    tuned_intervals
        Let the module choose its intervals.
    recheck_pages
        Look at each page once more before it is moved.
    quota_time, quota_reset
        Spend at most `quota_time` on acting in each `quota_reset`.
    sample, aggr, min_regions, max_regions
        How physical memory is monitored, as in `Attrs`.
    region_start, region_end
        The physical addresses to monitor; 0 and 0 are the largest block of memory.
    watermarks
        The shares of free memory between which the module is on.

    Examples
    --------
    >>> from pydamon import LruSortParameters
    >>> LruSortParameters(hot_permil="40%", cold_min_age="5min").hot_permil
    400
    """

    hot_permil: int = field(default=500, converter=permil, metadata=_file("hot_thres_access_freq"))
    cold_min_age_ns: Ns = field(
        default=Ns(120 * 10**9),
        alias="cold_min_age",
        converter=duration_ns,
        metadata=_file("cold_min_age", _US),
    )
    active_bp: int = field(default=0, converter=count, metadata=_file("active_mem_bp", since="7.0"))
    tuned_intervals: bool = field(
        default=False,
        converter=flag,
        metadata=_file("autotune_monitoring_intervals", since="7.0"),
    )
    recheck_pages: bool = field(
        default=False, converter=flag, metadata=_file("filter_young_pages", since="7.0")
    )
    watermarks: Watermarks = field(default=_marks(200, 150, 50))


def to_files(parameters: ModuleParameters) -> dict[str, str]:
    """The text of each file."""
    watermarks = parameters.watermarks
    texts = {
        "wmarks_interval": str(watermarks.interval_ns // _US),
        "wmarks_high": str(round(1000 * watermarks.high_share)),
        "wmarks_mid": str(round(1000 * watermarks.mid_share)),
        "wmarks_low": str(round(1000 * watermarks.low_share)),
    }
    for attribute in fields(type(parameters)):
        if attribute.metadata:
            value, unit = getattr(parameters, attribute.name), attribute.metadata["unit"]
            text = "NY"[value] if isinstance(value, bool) else str(value // unit)
            texts[attribute.metadata["file"]] = text
    return texts


def read_parameters(kind: type[P], files: Files) -> P:
    """Parameters from files; a file that this kernel lacks leaves the default."""
    values: dict[str, Any] = {}
    for attribute in fields(kind):
        if attribute.metadata and files.has(attribute.metadata["file"]):
            text = files.read(attribute.metadata["file"])
            name = attribute.alias or attribute.name
            if text in ("Y", "N"):
                values[name] = text == "Y"
            elif attribute.name.endswith("_ns"):
                values[name] = Ns(int(text) * attribute.metadata["unit"])
            else:
                values[name] = int(text)
    high, mid, low = (files.number(f"wmarks_{name}") for name in ("high", "mid", "low"))
    interval = Ns(files.number("wmarks_interval") * _US)
    return kind(**values, watermarks=_marks(high, mid, low, interval))
