"""What schemes have done, as a table."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pydamon.views.text import duration, printable, size

__all__ = ["status_line", "status_report"]


def status_report(status: dict[str, Any]) -> RenderableType:
    """The status of a service (`Service.status`): its figures, and a row a scheme."""
    parts: list[RenderableType] = [Text(_headline(status), style="bold")]
    parts += [Text(f"{name.replace('_', ' ')}: {value}") for name, value in _figures(status)]
    if status["schemes"]:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        done = "would do" if status["dry_run"] else "done"
        for heading in ("scheme", "tried", done, "quota full", "took", "state"):
            left = heading in ("scheme", "state")
            table.add_column(
                heading, justify="left" if left else "right", no_wrap=heading != "state"
            )
        for scheme in status["schemes"]:
            table.add_row(
                Text(printable(scheme["name"])),
                size(scheme["sz_tried"]),
                size(scheme["sz_applied"]),
                str(scheme["qt_exceeds"]),
                duration(scheme["time_ns"]),
                Text(scheme["state"]),
            )
        parts.append(table)
    return Group(*parts)


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
    return f"{status['cpu_percent']:.1f} % of a CPU, {names or 'no process'}{more}"


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
            percentiles = ", ".join(f"{p} {_ms(ms)}" for p, ms in value.items())
            found.append((name.removesuffix("_ms"), percentiles))
    return found


def _ms(value: int) -> str:
    sign = "-" if value < 0 else ""
    return f"{sign}{duration(1e6 * abs(value))}"
