"""Options that several commands take: one decorator a group; and the words that they take.

The words stand here, too, because help must not wait for the packages that they are of.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pydamon._cli.command import Choice, Parsed, argument, duration, option, options, percent
from pydamon._data.formats import FORMATS
from pydamon._model.errors import UsageError

__all__ = [
    "ENGINES",
    "HISTOGRAMS",
    "PROBES",
    "PROGRAMS",
    "SORT_KEYS",
    "TEXT_FORMATS",
    "TOOLS",
    "WORKLOADS",
    "cpu_budget_option",
    "duration_option",
    "force_option",
    "idle_option",
    "json_option",
    "monitoring_options",
    "no_children_option",
    "probe_option",
    "recording_options",
    "recordings_options",
    "service_options",
    "source_argument",
    "source_options",
    "target_options",
]

ENGINES = ("auto", "kernel", "sampling")
PROBES = ("auto", "ebpf", "refs", "exact", "writes", "softdirty", "idle")
TEXT_FORMATS = tuple(format.name for format in FORMATS if format.is_text)
HISTOGRAMS = ("rate", "age", "idle", "temperature", "size")
SORT_KEYS = ("temperature", "size", "rate", "age", "touched", "address", "mapping", "target")
TOOLS = ("pydamon", "plain", "refs", "exact", "kernel")
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
    """What monitoring may cost; `None` where nobody else knows whether it was given."""
    return option(
        "--cpu-budget",
        type=percent,
        default=default,
        metavar="PERCENT",
        help="how much of one CPU monitoring may cost (default: 1)",
    )


json_option = option("--json", is_flag=True, help="print JSON for programs")
force_option = option("--force", is_flag=True, help="overwrite an existing file")
duration_option = option(
    "-d", "--duration", metavar="D", help="stop after this time, as in 10s or 10min"
)
no_children_option = option("--no-children", is_flag=True, help="do not follow children")
probe_option = option(
    "--probe",
    type=Choice(PROBES),
    default="auto",
    metavar="PROBE",
    help=f"how to find out what was accessed: {', '.join(PROBES)} (default: auto, the best that "
    "works here)",
)


def idle_option(fits: str) -> Callable[[F], F]:
    """From which age on memory is idle; by default what *fits* the recordings."""
    return option(
        "--idle",
        type=duration,
        metavar="D",
        help=f"for how long what is idle has not been accessed (default: {fits})",
    )


def _range(text: str) -> tuple[int, int]:
    start, _, end = text.partition("-")
    try:
        return int(start, 16), int(end, 16)
    except ValueError:
        raise UsageError(f"not an address range: {text!r}") from None


monitoring_options = options(
    duration_option,
    option(
        "--engine",
        type=Choice(ENGINES),
        default="auto",
        help="who looks: pydamon (sampling), the kernel's DAMON, or the best that works (auto)",
    ),
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
    cpu_budget_option(),
    option(
        "--tune",
        is_flag=True,
        help="tune the intervals until 4 % of the samples find an access, as DAMON does",
    ),
    option(
        "--range",
        "ranges",
        multiple=True,
        type=Parsed(_range),
        metavar="START-END",
        help="watch only these addresses (hexadecimal) of one process; may be repeated",
    ),
    no_children_option,
    option(
        "--regions-from",
        type=Choice(("gaps", "three")),
        default="gaps",
        help="start from what is mapped (gaps, the default) or from DAMON's three regions",
    ),
)
"""How to monitor."""

source_options = options(
    argument(
        "what",
        nargs=-1,
        type=click.Path(),
        metavar="PID | RECORDING",
        help="processes to watch, or a file to show",
    ),
    monitoring_options,
)
"""What the live commands watch, and how."""

service_options = options(
    option("--cgroup", metavar="NAME", help="all processes of a cgroup, as they come"),
    option("--user", metavar="NAME", help="all processes of a user, as they come"),
    no_children_option,
    option(
        "--engine",
        type=Choice(("sampling", "kernel")),
        help="who watches and acts: pydamon (the default), which has a guard and reads back what "
        "was done; or the kernel's DAMON, which costs least",
    ),
    option("--sample", metavar="D", help="sample interval, as in `record`"),
    option("--aggr", metavar="D", help="aggr interval, as in `record`"),
    option("--update", metavar="D", help="update interval, as in `record`"),
    option("--max-regions", type=int, metavar="N", help="default: 1000"),
    cpu_budget_option(None),
    duration_option,
    option("-n", "--dry-run", is_flag=True, help="only count what would be done"),
    option("--name", help="what `pydamon status` calls it"),
    option("--json", is_flag=True, help="print the last status as JSON"),
)
"""Whose memory a service acts on, how it is watched, and how to tell of it."""

_of_recordings = options(
    option("--where", metavar="FILTER", help="only regions that this holds for"), json_option
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
    _of_recordings,
)
"""Which recording a report is about, and which part of it."""

recordings_options = options(
    argument("before", type=click.Path(), metavar="BEFORE", help="a recording"),
    argument("after", type=click.Path(), metavar="AFTER", help="another recording"),
    _of_recordings,
)
"""Two recordings, and which part of them."""

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
        help=f"by default what the suffix says: {_SUFFIXES}",
    ),
    force_option,
)
"""Where to write a recording, and how."""
