"""How results look in a terminal: rich renderables, which `rich.print` shows."""

from pydamon.views.heatmap import HeatMapView, heatmap_cells, in_colour
from pydamon.views.regions import region_lines
from pydamon.views.summary import mapping_table, summary_view
from pydamon.views.temperature import temperature_table
from pydamon.views.workingset import WorkingSetView

__all__ = [
    "HeatMapView",
    "WorkingSetView",
    "heatmap_cells",
    "in_colour",
    "mapping_table",
    "region_lines",
    "summary_view",
    "temperature_table",
]
