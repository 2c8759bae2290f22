"""How results look: rich renderables, which `rich.print` shows, and pictures in files."""

from pydamon.views.diff import DiffView
from pydamon.views.distribution import DistributionView, IdleView
from pydamon.views.footprint import FootprintView
from pydamon.views.heatmap import HeatMapView, heatmap_cells, in_colour
from pydamon.views.mappings import kind_table, mapping_table
from pydamon.views.profile import profile_table
from pydamon.views.regions import region_lines
from pydamon.views.summary import summary_view
from pydamon.views.table import Column, FittingTable
from pydamon.views.temperature import temperature_table
from pydamon.views.times import times_table
from pydamon.views.workingset import WorkingSetView

__all__ = [
    "Column",
    "DiffView",
    "DistributionView",
    "FittingTable",
    "FootprintView",
    "HeatMapView",
    "IdleView",
    "WorkingSetView",
    "heatmap_cells",
    "in_colour",
    "kind_table",
    "mapping_table",
    "profile_table",
    "region_lines",
    "summary_view",
    "temperature_table",
    "times_table",
]
