"""What recordings say: pure functions on their columns, with typed results."""

from pydamon.analysis.axis import AddressAxis
from pydamon.analysis.heat import HeatMap, heatmap
from pydamon.analysis.summary import Bytes, MappingHeat, MonitorCost, Summary, summary
from pydamon.analysis.temperature import (
    HOT_RATE,
    Temperatures,
    WarmRegion,
    regions,
    regions_of,
    temperature,
)
from pydamon.analysis.where import RegionColumns, where
from pydamon.analysis.workingset import (
    PERCENTILES,
    WorkingSet,
    WorkingSetSeries,
    working_set,
)

__all__ = [
    "HOT_RATE",
    "PERCENTILES",
    "AddressAxis",
    "Bytes",
    "HeatMap",
    "MappingHeat",
    "MonitorCost",
    "RegionColumns",
    "Summary",
    "Temperatures",
    "WarmRegion",
    "WorkingSet",
    "WorkingSetSeries",
    "heatmap",
    "regions",
    "regions_of",
    "summary",
    "temperature",
    "where",
    "working_set",
]
