"""How results look: rich renderables, which `rich.print` shows, and pictures in files."""

from pydamon._show.terminal.distribution import DistributionView, IdleView
from pydamon._show.terminal.heatmap import HeatMapView, heatmap_cells, in_colour
from pydamon._show.terminal.profile import profile_table, times_table
from pydamon._show.terminal.regions import (
    kind_table,
    mapping_table,
    region_lines,
    temperature_table,
)
from pydamon._show.terminal.summary import DiffView, summary_view
from pydamon._show.terminal.text import Column, FittingTable
from pydamon._show.terminal.working_set import FootprintView, WorkingSetView

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
