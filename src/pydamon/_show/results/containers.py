"""Containers: their names, and the memory that each uses and needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._containers import Container, ContainerUse
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import count, duration, per_second, printable, size

__all__ = ["ContainerListView", "ContainersView"]


@dataclass(frozen=True)
class ContainerListView(View):
    """A row for each container, with what to call it."""

    containers: Sequence[Container]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.containers:
            yield Text("no container has a process that can be seen from here")
            return
        columns = [
            Column("container", name=True),
            Column("id", name=True, rank=1),
            Column("runtime", name=True, rank=2),
            Column("cgroup", name=True, rank=3),
        ]
        rows = [
            [printable(text) for text in (row.label, row.id[:12], row.runtime, row.cgroup)]
            for row in self.containers
        ]
        yield FittingTable(columns, rows)


@dataclass(frozen=True)
class ContainersView(View):
    """A row for each container: what it uses, what the kernel counts, and what to request."""

    uses: Sequence[ContainerUse]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [
            Column("used"),
            Column("anonymous", rank=5),
            Column("file", rank=5),
            Column("shared", rank=6),
            Column("mapped", rank=4),
            Column("cache used", rank=4),
            Column("usage", rank=2),
            Column("kubelet", rank=1),
            Column("request"),
            Column("limit", rank=1),
            Column("refaults/s", rank=3),
            Column("container", name=True),
        ]
        yield Text("Containers, from the largest working set to the smallest", style="bold")
        yield FittingTable(columns, [_row(use) for use in self.uses])
        yield from _notes(self.uses)


def _row(use: ContainerUse) -> list[str]:
    memory, advice = use.memory, use.recommendation
    return [
        size(use.working_set_bytes),
        *(size(use.used_by_kind[kind]) for kind in ("anonymous", "file", "shared")),
        size(use.mapped_bytes),
        size(use.cache.used_bytes) if use.cache else "?",
        size(memory.usage_bytes) if memory else "?",
        size(memory.kubelet_bytes) if memory else "?",
        size(advice.request_bytes) if advice else "?",
        size(advice.limit_bytes) if advice else "?",
        per_second(advice.refaults_per_s) if advice else "?",
        printable(use.container.label),
    ]


def _notes(uses: Sequence[ContainerUse]) -> Iterator[Text]:
    within = sorted({use.within_ns for use in uses if use.from_pages})
    if within:
        times = duration(within[0])
        if within[-1] > within[0]:
            times += f" to {duration(within[-1])}"
        yield Text(f"used: accessed within {times}; kubelet: usage without inactive page cache")
    if any(not use.from_pages for use in uses):
        rest = count(sum(not use.from_pages for use in uses), "container")
        yield Text(f"{rest}: no ages of pages yet, so used is that of one window", style="yellow")
    if uses and not any(use.cache for use in uses):
        text = "page cache that nobody maps: its use is not known; requests include its active part"
        yield Text(text, style="yellow")
