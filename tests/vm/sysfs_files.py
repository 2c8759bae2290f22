"""Every file of a kdamond in sysfs: the release that brought it, and what pydamon does with it.

    python -m tests.vm.sysfs_files .cache/vm/results/*

takes what `test_sysfs_tree.py` saw in the virtual machine, and writes the table of
docs/reference/support.md.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["BEGIN", "END", "FILES", "SEEN", "SUPPORT", "File", "generic", "row_of", "table"]

SUPPORT = Path(__file__).parents[2] / "docs/reference/support.md"
SEEN = Path(__file__).parent / "sysfs_seen.json"
"""The generic paths that each kernel has in the virtual machine, by release."""
BEGIN, END = "<!-- sysfs files -->", "<!-- end of sysfs files -->"
_NUMBER = re.compile(r"(?<=/)\d+(?=/)|^\d+(?=/)")


class File(NamedTuple):
    """Files with one purpose: a pattern of generic paths, below the directory of a kdamond."""

    feature: str
    pattern: str
    release: str
    use: str
    """`writes`, `reads`, or why pydamon leaves the file alone."""


_PATTERN, _QUOTA = "schemes/N/access_pattern/.*", "schemes/N/quotas/"
FILES = (
    File("switching on and off, commands", "state", "5.18", "writes"),
    File("the kernel's thread", "pid", "5.18", "reads"),
    File(
        "figures that refresh themselves",
        "refresh_ms",
        "6.17",
        "writes",
    ),
    File("contexts", "contexts/nr_contexts", "5.18", "writes"),
    File(
        "sets of operations there are",
        "contexts/N/avail_operations",
        "5.19",
        "left alone: pydamon tries, and says what the kernel refuses",
    ),
    File("set of operations", "contexts/N/operations", "5.18", "writes"),
    File(
        "units of addresses",
        "contexts/N/addr_unit",
        "6.18",
        "writes",
    ),
    File("pauses", "contexts/N/pause", "7.2", "writes"),
    File("intervals", "monitoring_attrs/intervals/[a-z]*_us", "5.18", "writes"),
    File("auto-tuned intervals", "monitoring_attrs/intervals/intervals_goal/.*", "6.15", "writes"),
    File("number of regions", "monitoring_attrs/nr_regions/.*", "5.18", "writes"),
    File("probes for kinds of pages", "monitoring_attrs/probes/.*", "7.2", "writes"),
    File("targets", "targets/(nr_targets|N/pid_target)", "5.18", "writes"),
    File("targets that are dropped", "targets/N/obsolete_target", "6.19", "writes"),
    File("given addresses", "targets/N/regions/.*", "5.18", "writes"),
    File("schemes", "schemes/(nr_schemes|N/action)", "5.18", "writes"),
    File("access patterns", _PATTERN, "5.18", "writes"),
    File("apply intervals", "schemes/N/apply_interval_us", "6.7", "writes"),
    File("destination of a migration", "schemes/N/target_nid", "6.11", "writes"),
    File("several destinations of a migration", "schemes/N/dests/.*", "6.17", "writes"),
    File("quotas and their weights", f"{_QUOTA}(ms|bytes|reset.*|weights/.*)", "5.18", "writes"),
    File("the effective size of a quota", f"{_QUOTA}effective_bytes", "6.9", "reads"),
    File("quota goals", f"{_QUOTA}goals/(nr_goals|N/[a-z]*_.*)", "6.8", "writes"),
    File("quota goals of a memory node", f"{_QUOTA}goals/N/nid", "6.16", "writes"),
    File("quota goals of a cgroup", f"{_QUOTA}goals/N/path", "6.19", "writes"),
    File("quota tuners", f"{_QUOTA}goal_tuner", "7.1", "writes"),
    File("the charge for actions that fail", f"{_QUOTA}fail_charge_.*", "7.2", "writes"),
    File("watermarks", "schemes/N/watermarks/.*", "5.18", "writes"),
    File(
        "filters, in one directory",
        "schemes/N/filters/.*",
        "6.3",
        "writes; since 6.15 the two directories below instead",
    ),
    File("filters, in two directories", "schemes/N/(core|ops)_filters/.*", "6.15", "writes"),
    File("statistics", "schemes/N/stats/(nr_tried|sz_tried|.*applied|qt.*)", "5.18", "reads"),
    File("bytes that filters let pass", "schemes/N/stats/sz_ops_filter_passed", "6.14", "reads"),
    File("snapshots that schemes saw", "schemes/N/stats/nr_snapshots", "7.0", "reads"),
    File("a limit on snapshots", "schemes/N/stats/max_nr_snapshots", "7.0", "writes"),
    File("regions that a scheme tried", "tried_regions/N/(start|end|nr_acc.*|age)", "6.2", "reads"),
    File("bytes of a region that passed", "tried_regions/N/sz_filter_passed", "6.14", "reads"),
    File(
        "the sum of tried bytes",
        "tried_regions/total_bytes",
        "6.6",
        "left alone: statistics have it too",
    ),
    File(
        "hits of probes in tried regions",
        "tried_regions/N/probes/N/hits",
        "7.2",
        "left alone: the tracepoint has them for each aggregation",
    ),
)


def generic(path: str) -> str:
    """A path below a kdamond with N for each number."""
    return _NUMBER.sub("N", path)


def row_of(path: str) -> File | None:
    """The row that a generic path belongs to; `None` for a file that nobody has described."""
    matches = [
        file for file in FILES if re.fullmatch(f"(contexts/N/)?(schemes/N/)?{file.pattern}", path)
    ]
    return matches[0] if matches else None


def table(seen: dict[str, list[str]]) -> str:
    """The table of the documentation, of the generic paths that kernels have by release."""
    lines = ["| feature | file | since | pydamon | tried on |", "|---|---|---|---|---|"]
    for file in FILES:
        on = [release for release, paths in seen.items() if any(row_of(p) == file for p in paths)]
        lines.append(
            f"| {file.feature} | `{_shown(file.pattern)}` | {file.release} | {file.use} | "
            f"{', '.join(on)} |"
        )
    return "\n".join(lines)


def _shown(pattern: str) -> str:
    """A pattern as people write it."""
    text = pattern.replace("contexts/N/", "").replace("[a-z]*_us", "*_us").replace("[a-z]*_", "*_")
    return text.replace(".*", "*").replace("|", ",").replace("(", "{").replace(")", "}")


def _main(directories: Iterable[str]) -> None:
    seen: dict[str, list[str]] = json.loads(SEEN.read_text()) if SEEN.exists() else {}
    for directory in directories:
        for path in Path(directory).glob("sysfs-*.json"):
            seen[path.stem.removeprefix("sysfs-")] = json.loads(path.read_text())
    seen = dict(sorted(seen.items(), key=lambda item: [int(n) for n in item[0].split(".")]))
    SEEN.write_text(json.dumps(seen, indent=1) + "\n")
    text = SUPPORT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    SUPPORT.write_text(f"{before}{BEGIN}\n{table(seen)}\n{END}{after}")


if __name__ == "__main__":
    _main(sys.argv[1:])
