"""The status of a service: its figures, and what its schemes have done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._show.results.schemes import SchemeLine, quota_text, scheme_table
from pydamon._show.results.view import View
from pydamon._show.text import duration, printable, size

__all__ = ["StatusView", "status_line"]


@dataclass(frozen=True)
class StatusView(View):
    """A status as `Service.status` gives it: a headline, the figures, and a row a scheme."""

    status: dict[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        status = self.status
        yield Text(f"{_service(status)}, {_targets(status)}", style="bold")
        for name, value in _figures(status):
            yield Text(f"{name.replace('_', ' ')}: {value}")
        lines = [_line(scheme) for scheme in status["schemes"]]
        yield from scheme_table(lines, dry_run=status["dry_run"])


def _line(scheme: dict[str, Any]) -> SchemeLine:
    quota = scheme["quota"]
    limits = (quota["bytes"], quota["time_ns"], bool(quota["goals"]), quota["reset_ns"])
    return SchemeLine(
        scheme["name"],
        scheme["sz_tried"],
        scheme["sz_applied"],
        quota_text(*limits),
        scheme["qt_exceeds"],
        scheme["time_ns"],
        scheme["state"],
    )


def status_line(status: dict[str, Any]) -> str:
    """The status in one line, of which the end may be cut off."""
    done = "; ".join(
        f"{printable(scheme['name'])} {size(scheme['sz_applied'])}"
        + ("" if scheme["state"] == "on" else f" ({scheme['state']})")
        for scheme in status["schemes"]
    )
    short = [f"{name} {value}" for name, value in _figures(status) if ", " not in value]
    figures = ", ".join(short[:2])
    return f"{_service(status)}: {done or figures or 'nothing yet'}; {_targets(status)}"


def _service(status: dict[str, Any]) -> str:
    """The name of the service, and for how long it has been running."""
    dry = ", dry run" if status["dry_run"] else ""
    return f"{printable(status['name'])}{dry}, {duration(status['running_ns'])}"


def _targets(status: dict[str, Any]) -> str:
    """What it costs, and the first processes that it acts on."""
    targets = status["targets"]
    names = ", ".join(f"{printable(t['name'])} ({t['pid']})" for t in targets[:3])
    more = f" and {len(targets) - 3} more" if len(targets) > 3 else ""
    cpu = "" if status["cpu_percent"] is None else f"{status['cpu_percent']:.1f} % of a CPU, "
    return f"{cpu}{names or 'no process'}{more}"


def _figures(status: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the figures, with units by the ends of their names."""
    figures = []
    for name, value in status["figures"].items():
        if name.endswith("_bytes_per_s"):
            figures.append((name.removesuffix("_bytes_per_s"), f"{size(value)}/s"))
        elif name.endswith("_bytes"):
            figures.append((name.removesuffix("_bytes"), size(value)))
        elif name.endswith("_us"):
            figures.append((name.removesuffix("_us"), duration(1000 * value)))
        else:
            percentiles = ", ".join(f"{p} {duration(1e6 * ms)}" for p, ms in value.items())
            figures.append((name.removesuffix("_ms"), percentiles))
    return figures
