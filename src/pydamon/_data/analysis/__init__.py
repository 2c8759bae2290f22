"""What recordings say: pure functions on their columns, with typed results."""

from pydamon._data.analysis.axis import AddressAxis
from pydamon._data.analysis.distribution import (
    IDLE_AGES_NS,
    By,
    Distribution,
    Idle,
    distribution,
    idle,
)
from pydamon._data.analysis.heat import HeatMap, heatmap
from pydamon._data.analysis.mappings import Bytes, MappingHeat, Mappings, kind_of, mappings
from pydamon._data.analysis.profile import FunctionShare, Profile, Times, profile, times
from pydamon._data.analysis.query import FIELDS, Query, parse
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
from pydamon._data.analysis.where import RegionColumns, where
from pydamon._data.analysis.working_set import (
    PERCENTILES,
    Footprints,
    FootprintSeries,
    WorkingSet,
    WorkingSetSeries,
    footprint,
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
    "Footprints",
    "FunctionShare",
    "HeatMap",
    "Idle",
    "MappingDiff",
    "MappingHeat",
    "Mappings",
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
