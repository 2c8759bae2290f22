"""Options that several commands share, a decorator for each group, and their choices.

Names of probes and formats come from the tables of their packages. Other choices repeat names of
other packages, because help must not wait for those imports; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pydamon._cli.command import (
    Args,
    Choice,
    Parsed,
    address_range,
    argument,
    duration,
    option,
    options,
    percent,
)
from pydamon._cli.selecting import selection_options
from pydamon._data.formats import FORMATS
from pydamon._model.errors import UsageError
from pydamon._observe.probes import PLACES

if TYPE_CHECKING:
    from pydamon._observe.options import MonitorOptions

__all__ = [
    "ENGINES",
    "HISTOGRAMS",
    "PROBES",
    "PROGRAMS",
    "RATE_PATTERNS",
    "RATE_TOOLS",
    "SORT_KEYS",
    "TEXT_FORMATS",
    "TOOLS",
    "WORKLOADS",
    "cpu_budget_option",
    "duration_option",
    "force_option",
    "idle_option",
    "join_from",
    "join_option",
    "json_option",
    "max_refaults_option",
    "monitoring_options",
    "no_children_option",
    "options_from",
    "picture_options",
    "probe_option",
    "recording_options",
    "recordings_options",
    "service_options",
    "source_argument",
    "source_options",
    "target_options",
]

ENGINES = ("auto", "kernel", "sampling")
PROBES = ("auto", *PLACES)
TEXT_FORMATS = tuple(format.name for format in FORMATS if format.is_text)
HISTOGRAMS = ("rate", "age", "idle", "temperature", "size")
SORT_KEYS = ("temperature", "size", "rate", "age", "touched", "address", "mapping", "target")
TOOLS = ("pydamon", "plain", "refs", "exact", "kernel")
RATE_TOOLS = ("pydamon", "pinned", "unlimited", "plain", "kernel")
RATE_PATTERNS = ("poisson", "periods", "stripes", "cyclic", "moving")
WORKLOADS = (
    *("stairs", "zigzag", "moving", "hotspot", "hotspots", "gradient", "sparse", "uniform"),
    *("phases", "huge", "shared", "files", "churn", "threads", "tlb"),
)
PROGRAMS = (
    *("redis-hot", "redis-scattered", "redis-uniform", "postgres-hot", "postgres-uniform"),
    *("numpy", "sqlite"),
)


F = TypeVar("F", bound=Callable[..., Any])

_FILE = "pydamon.damon"
_SUFFIXES = ", ".join(f"{format.name} ({', '.join(format.suffixes)})" for format in FORMATS)


def cpu_budget_option(default: float | None = 1.0) -> Callable[[F], F]:
    """Return the option of the CPU budget; a *default* of `None` tells whether it was given."""
    return option(
        "--cpu-budget",
        "cpu_budget_percent",
        type=percent,
        default=default,
        metavar="PERCENT",
        help="let monitoring use this share of one CPU (default: 1)",
    )


json_option = option("--json", is_flag=True, help="print JSON for programs")
force_option = option("--force", is_flag=True, help="overwrite an existing file")
duration_option = option(
    "-d", "--duration", metavar="D", help="stop after this time, as in 10s or 10min"
)
no_children_option = option("--no-children", is_flag=True, help="do not follow children")
join_option = option(
    "--join",
    is_flag=False,
    flag_value="",
    metavar="[KDAMOND]",
    help="look on at a DAMON that somebody else runs, such as DAMON_STAT, and change nothing; "
    "KDAMOND is its pid or its name in `pydamon doctor`, where several run",
)
probe_option = option(
    "--probe",
    type=Choice(PROBES),
    default="auto",
    metavar="PROBE",
    help=f"how to detect accesses: {', '.join(PROBES)} (default: auto, the best probe that works "
    "here)",
)


def idle_option(default: str) -> Callable[[F], F]:
    """Return the option of the age from which on memory is idle; *default* explains its default."""
    return option(
        "--idle",
        type=duration,
        metavar="D",
        help=f"memory is idle after this time without an access (default: {default})",
    )


def _refaults(text: str) -> float:
    """Pages a second of text such as `10/s` and `600/min`; a bare number is pages a second."""
    digits, slash, unit = text.partition("/")
    per_s = {"s": 1, "min": 60, "h": 3600}.get(unit.strip()) if slash else 1
    try:
        rate = float(digits)
    except ValueError:
        rate = -1.0
    if per_s is None or not 0 <= rate < math.inf:
        raise UsageError(f"not a rate of pages: {text!r}", hint="write it like 10/s or 600/min")
    return rate / per_s


max_refaults_option = option(
    "--max-refaults",
    type=Parsed(_refaults, "rate"),
    metavar="N/s",
    help="tolerate that so many pages a second are used again, as in 10/s or 600/min (default: "
    "0.2 % of the working set each minute)",
)


_PICTURE_SUFFIXES = (".html", ".svg", ".png")


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in _PICTURE_SUFFIXES:
        raise UsageError(f"not a .html, .svg or .png file: {text!r}")
    return path


def picture_options(help: str) -> Callable[[Any], Any]:
    """Make the options of a report that can be a picture."""
    return options(
        option("-o", "--out", type=Parsed(_picture), metavar="FILE", help=help), force_option
    )


monitoring_options = options(
    duration_option,
    option(
        "--engine",
        type=Choice(ENGINES),
        default="auto",
        help="who monitors: pydamon (sampling), the kernel's DAMON, or the best engine that works "
        "(auto, the default)",
    ),
    join_option,
    probe_option,
    option(
        "--sample",
        metavar="D",
        help="sampling interval (default: 5ms, longer as the CPU budget asks)",
    ),
    option(
        "--aggr",
        metavar="D",
        help="aggregation interval: one snapshot each (default: 100ms, likewise)",
    ),
    option(
        "--update",
        metavar="D",
        help="how often to look for new mappings and children (default: 1s)",
    ),
    option("--min-regions", type=int, metavar="N", help="default: 10"),
    option("--max-regions", type=int, metavar="N", help="default: 1000"),
    option(
        "--refresh",
        metavar="D",
        help="let the kernel refresh its figures in sysfs so often, for other programs",
    ),
    cpu_budget_option(),
    option(
        "--tune",
        is_flag=True,
        help="tune the intervals until 4 % of the samples see an access, as DAMON does",
    ),
    option(
        "--range",
        "ranges",
        multiple=True,
        type=address_range,
        metavar="START-END",
        help="monitor only these addresses (hexadecimal) of one process; repeatable",
    ),
    no_children_option,
    option(
        "--regions-from",
        type=Choice(("gaps", "three")),
        default="gaps",
        help="start from the mappings (gaps, the default) or from DAMON's three regions",
    ),
)
"""How to monitor."""


def options_from(args: Args) -> MonitorOptions:
    """What a command line says about monitoring, for the options that the command has."""
    from dataclasses import fields

    from pydamon._model.attrs import IntervalGoal
    from pydamon._observe.options import MonitorOptions

    names = (field.name for field in fields(MonitorOptions))
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    given |= {"join": join_from(args)}
    goal = IntervalGoal() if getattr(args, "tune", False) else None
    return MonitorOptions(**given, goal=goal)


def join_from(args: Args) -> bool | str:
    """The kdamond that `--join` names; True for the only one, and False without `--join`."""
    name: str | None = getattr(args, "join", None)
    return False if name is None else name or True


source_options = options(
    argument(
        "sources",
        nargs=-1,
        type=click.Path(),
        metavar="PID | RECORDING",
        help="processes to monitor, or a recording to play",
    ),
    selection_options(),
    monitoring_options,
)
"""What the live commands show, and how they monitor it."""

service_options = options(
    selection_options(name_is_taken=True),
    no_children_option,
    option(
        "--engine",
        type=Choice(("sampling", "kernel")),
        help="who monitors and acts: pydamon (sampling, the default), which has a guard and "
        "verifies its actions; or the kernel's DAMON, which costs least",
    ),
    option("--sample", metavar="D", help="sample interval, as in `record`"),
    option("--aggr", metavar="D", help="aggr interval, as in `record`"),
    option("--update", metavar="D", help="update interval, as in `record`"),
    option("--max-regions", type=int, metavar="N", help="default: 1000"),
    option(
        "--refresh",
        metavar="D",
        help="let the kernel refresh its figures in sysfs so often, for other programs",
    ),
    cpu_budget_option(None),
    duration_option,
    option("-n", "--dry-run", is_flag=True, help="count the memory, but do not act on it"),
    option("--name", help="the name of this service in `pydamon status`"),
    option("--json", is_flag=True, help="print the last status as JSON"),
)
"""The targets of a service, how it monitors them, and how it reports."""

_region_options = options(
    option("--where", metavar="FILTER", help="only regions that match this filter"), json_option
)

recording_options = options(
    argument(
        "file",
        type=click.Path(),
        default=_FILE,
        metavar="[FILE]",
        help=f"the recording, or - for standard input (default: {_FILE})",
    ),
    option("--pid", type=int, help="only this process"),
    _region_options,
)
"""The recording that a report shows, and which part of it."""

recordings_options = options(
    argument("before", type=click.Path(), metavar="BEFORE", help="a recording"),
    argument("after", type=click.Path(), metavar="AFTER", help="another recording"),
    _region_options,
)
"""Two recordings to compare, and which part of them."""

source_argument = argument(
    "source",
    type=click.Path(),
    metavar="SOURCE",
    help="a recording of any format, or - for standard input",
)

target_options = options(
    argument(
        "target",
        type=click.Path(path_type=Path),
        metavar="TARGET",
        help="the file to write, or - for standard output",
    ),
    option(
        "--format",
        type=Choice([format.name for format in FORMATS]),
        metavar="FORMAT",
        help=f"default: by the suffix of TARGET: {_SUFFIXES}",
    ),
    force_option,
)
"""The output of a command that writes a recording."""
