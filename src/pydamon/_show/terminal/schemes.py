"""What schemes have done, as a table."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pydamon._show.terminal.text import duration, printable, size

__all__ = ["status_line", "status_report"]


def status_report(status: dict[str, Any]) -> RenderableType:
    """The status of a service (`Service.status`): its figures, and a row a scheme."""
    parts: list[RenderableType] = [Text(_headline(status), style="bold")]
    parts += [Text(f"{name.replace('_', ' ')}: {value}") for name, value in _figures(status)]
    if status["schemes"]:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        done = "would do" if status["dry_run"] else "done"
        tried = "fits" if status["dry_run"] else "tried"
        for heading in ("scheme", tried, done, "quota", "quota full", "took", "state"):
            left = heading in ("scheme", "state")
            table.add_column(
                heading, justify="left" if left else "right", no_wrap=heading != "state"
            )
        for scheme in status["schemes"]:
            table.add_row(
                Text(printable(scheme["name"])),
                size(scheme["sz_tried"]),
                size(scheme["sz_applied"]),
                _quota(scheme["quota"]),
                str(scheme["qt_exceeds"]),
                duration(scheme["time_ns"]),
                Text(re.split("[:;]", scheme["state"])[0]),
            )
        parts.append(table)
        # What there is to say of a state does not fit into a column.
        parts += [
            Text(f"{printable(scheme['name'])}: {scheme['state']}")
            for scheme in status["schemes"]
            if scheme["state"] not in ("on", "in the kernel's hands")
        ]
    return Group(*parts)


def _quota(quota: dict[str, Any]) -> str:
    """What may be spent, and how often."""
    limits = [size(quota["bytes"])] if quota["bytes"] else []
    limits += [duration(quota["time_ns"])] if quota["time_ns"] else []
    limits += ["by goals"] if quota["goals"] else []
    return f"{', '.join(limits)} / {duration(quota['reset_ns'])}" if limits else "none"


def status_line(status: dict[str, Any]) -> str:
    """The same in one line, of which the end may be cut off."""
    done = "; ".join(
        f"{printable(scheme['name'])} {size(scheme['sz_applied'])}"
        + ("" if scheme["state"] == "on" else f" ({scheme['state']})")
        for scheme in status["schemes"]
    )
    short = [f"{name} {value}" for name, value in _figures(status) if ", " not in value]
    figures = ", ".join(short[:2])
    return f"{_begin(status)}: {done or figures or 'nothing yet'}; {_of_whom(status)}"


def _headline(status: dict[str, Any]) -> str:
    return f"{_begin(status)}, {_of_whom(status)}"


def _begin(status: dict[str, Any]) -> str:
    dry = ", dry run" if status["dry_run"] else ""
    return f"{printable(status['name'])}{dry}, {duration(status['running_ns'])}"


def _of_whom(status: dict[str, Any]) -> str:
    targets = status["targets"]
    names = ", ".join(f"{printable(t['name'])} ({t['pid']})" for t in targets[:3])
    more = f" and {len(targets) - 3} more" if len(targets) > 3 else ""
    cpu = "" if status["cpu_percent"] is None else f"{status['cpu_percent']:.1f} % of a CPU, "
    return f"{cpu}{names or 'no process'}{more}"


def _figures(status: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for name, value in status["figures"].items():
        if name.endswith("_bytes_per_s"):
            found.append((name.removesuffix("_bytes_per_s"), f"{size(value)}/s"))
        elif name.endswith("_bytes"):
            found.append((name.removesuffix("_bytes"), size(value)))
        elif name.endswith("_us"):
            found.append((name.removesuffix("_us"), duration(1000 * value)))
        else:
            percentiles = ", ".join(f"{p} {duration(1e6 * ms)}" for p, ms in value.items())
            found.append((name.removesuffix("_ms"), percentiles))
    return found
