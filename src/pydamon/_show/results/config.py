"""What a file of schemes says, for `pydamon apply --check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon._model.schemes import AccessPattern, Scheme
from pydamon._show.results.schemes import quota_text
from pydamon._show.results.view import View
from pydamon._show.text import count, duration, printable, size

if TYPE_CHECKING:
    from pydamon._act.policies import Config, Monitoring, TargetSelection

__all__ = ["ConfigView"]


@dataclass(frozen=True)
class ConfigView(View):
    """The configuration in *file*: targets, monitoring, and a row for each scheme.

    *target* is `None` if nobody is named.
    """

    file: str
    config: Config
    target: TargetSelection | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        rows = [
            ("File", f"{printable(self.file)}: {count(len(self.config.schemes), 'scheme')}"),
            ("Target", _target(self.target)),
            ("Monitoring", _monitoring(self.config.monitoring)),
            *((printable(scheme.label), _scheme(scheme)) for scheme in self.config.schemes),
        ]
        for label, text in rows:
            table.add_row(label, Text(text, overflow="fold"))
        yield table


def _target(target: TargetSelection | None) -> str:
    if target is None:
        return (
            "none in it: name pids, a command, --process-name, --user, --cgroup, --unit, "
            "--container or --pod"
        )
    if target.pids:
        return f"pid {', '.join(map(str, target.pids))}"
    if target.command:
        return printable(" ".join(target.command))
    return printable(target.describe())


def _monitoring(monitoring: Monitoring) -> str:
    attrs = monitoring.options.attrs
    return (
        f"{monitoring.engine}, sampled every {duration(attrs.sampling_ns)}, aggregated every "
        f"{duration(attrs.aggregation_ns)}, updated every {duration(attrs.update_ns)}, "
        f"{attrs.min_regions} to {attrs.max_regions} regions"
    )


def _scheme(scheme: Scheme) -> str:
    action = scheme.action if isinstance(scheme.action, str) else scheme.action.__name__
    nodes = [scheme.target_node] if scheme.target_node is not None else []
    nodes += [destination.node for destination in scheme.destinations]
    to = f" to node {', '.join(map(str, nodes))}" if nodes else ""
    quota = scheme.quota
    spent = quota_text(quota.size_bytes, quota.time_ns, bool(quota.goals), quota.reset_ns)
    parts = [f"{action}{to} of {'pages' if scheme.grain == 'page' else 'regions'}"]
    parts.append(_pattern(scheme.pattern))
    parts.append(f"quota {spent}")
    if scheme.filters:
        parts.append(f"filters {', '.join(rule.kind for rule in scheme.filters)}")
    if scheme.watermarks.metric != "none":
        parts.append(f"watermarks of {scheme.watermarks.metric}")
    if scheme.apply_interval_ns:
        parts.append(f"every {duration(scheme.apply_interval_ns)}")
    if scheme.max_snapshots:
        parts.append(f"for {count(scheme.max_snapshots, 'snapshot')}")
    return "; ".join(parts)


def _pattern(pattern: AccessPattern) -> str:
    most_bytes = pattern.max_size_bytes
    texts = [
        _between("size", size(pattern.min_size_bytes), most_bytes and size(most_bytes), "0 B"),
        _between("rate", str(pattern.min_rate), _text(pattern.max_rate), "0"),
        _between("age", _age(str(pattern.min_age)), _text(pattern.max_age), "0"),
    ]
    return ", ".join(filter(None, texts)) or "all of them"


def _text(bound: object) -> str | None:
    return None if bound is None else str(bound)


def _age(text: str) -> str:
    return "0" if text in ("0 ns", "0 s") else text


def _between(name: str, least: str, most: str | int | None, zero: str) -> str:
    """Bounds in words; empty where there are none."""
    if most is None:
        return "" if least.rstrip("%") == zero else f"{name} {least} or more"
    is_same = least.rstrip("%") == str(most).rstrip("%")
    return f"{name} {most}" if is_same else f"{name} {least} to {most}"
