"""What DAMON_RECLAIM and DAMON_LRU_SORT are told: their parameters, typed, and as their files."""

from __future__ import annotations

from typing import Any, Self

from attrs import field, fields, frozen

from pydamon._model.errors import UsageError
from pydamon._model.schemes import Watermarks
from pydamon._model.schemes.fields import Ns, count, duration_ns, flag, naming, permil, size
from pydamon._observe.kernel.files import Files

__all__ = ["LruSortParameters", "ModuleParameters", "ReclaimParameters"]

_US, _MS = 10**3, 10**6


def _file(name: str, unit: int = 1, *, since: str = "") -> dict[str, Any]:
    """Metadata of a field: its file, of which unit, and the release that brought it."""
    return {"file": name, "unit": unit, "since": since}


def _marks(high: int, mid: int, low: int, interval: str | Ns = "5s") -> Watermarks:
    return Watermarks(metric="free_mem_rate", interval=interval, high=high, mid=mid, low=low)


@frozen(kw_only=True, field_transformer=naming)
class ModuleParameters:
    """What all of them have: `quota_time` every `quota_reset`, and how memory is monitored.

    Of physical memory from `region_start` to `region_end` (0 and 0: the largest block there is).
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

    def as_files(self) -> dict[str, str]:
        """What each file is to hold."""
        found = {
            "wmarks_interval": str(self.watermarks.interval_ns // _US),
            "wmarks_high": str(round(1000 * self.watermarks.high_share)),
            "wmarks_mid": str(round(1000 * self.watermarks.mid_share)),
            "wmarks_low": str(round(1000 * self.watermarks.low_share)),
        }
        for one in fields(type(self)):
            if one.metadata:
                value, unit = getattr(self, one.name), one.metadata["unit"]
                text = "NY"[value] if isinstance(value, bool) else str(value // unit)
                found[one.metadata["file"]] = text
        return found

    @classmethod
    def of_files(cls, files: Files) -> Self:
        """What the files hold; a file that this kernel lacks leaves the default."""
        values: dict[str, Any] = {}
        for one in fields(cls):
            if one.metadata and files.has(one.metadata["file"]):
                text = files.read(one.metadata["file"])
                name = one.alias or one.name
                if text in ("Y", "N"):
                    values[name] = text == "Y"
                elif one.name.endswith("_ns"):
                    values[name] = Ns(int(text) * one.metadata["unit"])
                else:
                    values[name] = int(text)
        high, mid, low = (files.number(f"wmarks_{name}") for name in ("high", "mid", "low"))
        interval = Ns(files.number("wmarks_interval") * _US)
        return cls(**values, watermarks=_marks(high, mid, low, interval))


@frozen(kw_only=True, field_transformer=naming)
class ReclaimParameters(ModuleParameters):
    """DAMON_RECLAIM pages out what nobody accessed for `min_age`.

    At most `quota_bytes` a reset interval; less where `memory_pressure_us` (of stalls a reset
    interval) or `feedback` (of 10,000, by you) say that it is enough. With `skip_anon` file pages
    only. `tuned_intervals` lets it choose its intervals.
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
    """DAMON_LRU_SORT moves pages in the LRU lists: to the front what is accessed in at least
    `hot_permil` of the samples, to the back what nobody accessed for `cold_min_age`.

    `active_bp` (of 10,000) is which share of memory should be active, where the kernel can tune
    for that; `tuned_intervals` lets it choose its intervals. With `recheck_pages` it looks at each
    page once more before it moves it.
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
