"""Analyses of recordings: functions on their columns, with typed results.

A new analysis is a module here and its line below. Sizes are in bytes and times in ns; shares, such
as access rates, are fractions from 0 to 1. Percentiles go by percentages, as NumPy's do.
"""

from pydamon._data.analysis.axis import AddressAxis
from pydamon._data.analysis.distribution import By, Distribution, distribution
from pydamon._data.analysis.heat import HeatMap, heatmap
from pydamon._data.analysis.huge_use import HugePoint, HugeUse, huge_use
from pydamon._data.analysis.idle import IDLE_AGES_NS, Idle, idle
from pydamon._data.analysis.longer import aggregate, skip
from pydamon._data.analysis.mappings import Bytes, MappingHeat, Mappings, kind_of, mappings
from pydamon._data.analysis.needs import NeedsOfSnapshots, needs
from pydamon._data.analysis.needs_curve import (
    TOLERATED_SHARE,
    Needs,
    NeedsCurve,
    NeedsPeak,
    NeedsPoint,
)
from pydamon._data.analysis.owner_changes import OwnerChange, OwnerDiff, owner_diff
from pydamon._data.analysis.owners import (
    OWNER_SORT_KEYS,
    OwnerReport,
    OwnerTree,
    OwnerUse,
    owners,
)
from pydamon._data.analysis.profile import (
    FunctionShare,
    Profile,
    Times,
    functions,
    profile,
    recorded_samples,
    times,
)
from pydamon._data.analysis.query import FIELDS, Columns, Query, parse
from pydamon._data.analysis.summary import Diff, MappingDiff, MonitorCost, Summary, diff, summary
from pydamon._data.analysis.temperature import (
    HOT_RATE,
    SORT_KEYS,
    RankedRegion,
    Temperatures,
    regions,
    regions_of,
    temperature,
)
from pydamon._data.analysis.trace import EventField, EventSums, KernelTrace, trace
from pydamon._data.analysis.where import RegionColumns, where
from pydamon._data.analysis.within import WorkingSetsWithin, working_sets_within
from pydamon._data.analysis.working_set import (
    PERCENTILES,
    Footprints,
    FootprintSeries,
    WorkingSet,
    WorkingSetSeries,
    footprint,
    working_set,
)
from pydamon._data.formats.cpu_samples import CpuSample, read_cpu_samples

__all__ = [
    "FIELDS",
    "HOT_RATE",
    "IDLE_AGES_NS",
    "OWNER_SORT_KEYS",
    "PERCENTILES",
    "SORT_KEYS",
    "TOLERATED_SHARE",
    "AddressAxis",
    "By",
    "Bytes",
    "Columns",
    "CpuSample",
    "Diff",
    "Distribution",
    "EventField",
    "EventSums",
    "FootprintSeries",
    "Footprints",
    "FunctionShare",
    "HeatMap",
    "HugePoint",
    "HugeUse",
    "Idle",
    "KernelTrace",
    "MappingDiff",
    "MappingHeat",
    "Mappings",
    "MonitorCost",
    "Needs",
    "NeedsCurve",
    "NeedsOfSnapshots",
    "NeedsPeak",
    "NeedsPoint",
    "OwnerChange",
    "OwnerDiff",
    "OwnerReport",
    "OwnerTree",
    "OwnerUse",
    "Profile",
    "Query",
    "RankedRegion",
    "RegionColumns",
    "Summary",
    "Temperatures",
    "Times",
    "WorkingSet",
    "WorkingSetSeries",
    "WorkingSetsWithin",
    "aggregate",
    "diff",
    "distribution",
    "footprint",
    "functions",
    "heatmap",
    "huge_use",
    "idle",
    "kind_of",
    "mappings",
    "needs",
    "owner_diff",
    "owners",
    "parse",
    "profile",
    "read_cpu_samples",
    "recorded_samples",
    "regions",
    "regions_of",
    "skip",
    "summary",
    "temperature",
    "times",
    "trace",
    "where",
    "working_set",
    "working_sets_within",
]
