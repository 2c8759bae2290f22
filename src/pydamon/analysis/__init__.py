"""What recordings say: pure functions on their columns, with typed results."""

from pydamon.analysis.axis import AddressAxis
from pydamon.analysis.diff import Diff, MappingDiff, diff
from pydamon.analysis.distribution import (
    IDLE_AGES_NS,
    By,
    Distribution,
    Idle,
    distribution,
    idle,
)
from pydamon.analysis.footprint import FootprintSeries, footprint
from pydamon.analysis.heat import HeatMap, heatmap
from pydamon.analysis.mappings import Bytes, MappingHeat, kind_of, mappings
from pydamon.analysis.profile import FunctionShare, Profile, profile
from pydamon.analysis.query import FIELDS, Query, parse
from pydamon.analysis.summary import MonitorCost, Summary, summary
from pydamon.analysis.temperature import (
    HOT_RATE,
    SORT_KEYS,
    RankedRegion,
    Temperatures,
    regions,
    regions_of,
    temperature,
)
from pydamon.analysis.times import Times, times
from pydamon.analysis.where import RegionColumns, where
from pydamon.analysis.workingset import (
    PERCENTILES,
    WorkingSet,
    WorkingSetSeries,
    working_set,
)

__all__ = [
    "FIELDS",
    "HOT_RATE",
    "IDLE_AGES_NS",
    "PERCENTILES",
    "SORT_KEYS",
    "AddressAxis",
    "By",
    "Bytes",
    "Diff",
    "Distribution",
    "FootprintSeries",
    "FunctionShare",
    "HeatMap",
    "Idle",
    "MappingDiff",
    "MappingHeat",
    "MonitorCost",
    "Profile",
    "Query",
    "RankedRegion",
    "RegionColumns",
    "Summary",
    "Temperatures",
    "Times",
    "WorkingSet",
    "WorkingSetSeries",
    "diff",
    "distribution",
    "footprint",
    "heatmap",
    "idle",
    "kind_of",
    "mappings",
    "parse",
    "profile",
    "regions",
    "regions_of",
    "summary",
    "temperature",
    "times",
    "where",
    "working_set",
]
