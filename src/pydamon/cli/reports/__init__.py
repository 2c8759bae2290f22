"""The reports: one module each."""

from pydamon.cli.command import Command
from pydamon.cli.reports.access import AccessReport
from pydamon.cli.reports.diff import DiffReport
from pydamon.cli.reports.footprint import FootprintReport
from pydamon.cli.reports.heatmap import HeatMapReport
from pydamon.cli.reports.idle import IdleReport
from pydamon.cli.reports.mappings import MappingsReport
from pydamon.cli.reports.profile import ProfileReport
from pydamon.cli.reports.regions import RegionsReport
from pydamon.cli.reports.summary import SummaryReport
from pydamon.cli.reports.times import TimesReport
from pydamon.cli.reports.wss import WssReport

__all__ = ["REPORTS"]

REPORTS: tuple[Command, ...] = (
    SummaryReport(),
    AccessReport(),
    HeatMapReport(),
    WssReport(),
    FootprintReport(),
    IdleReport(),
    MappingsReport(),
    DiffReport(),
    TimesReport(),
    ProfileReport(),
    RegionsReport(),
)
