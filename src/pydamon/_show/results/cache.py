"""The page cache of cgroups and of files, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._model.cache_use import IDLE_TIMES_NS, CacheReport, CgroupCache
from pydamon._model.units import format_duration
from pydamon._observe.cache import CachedFile
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import count, per_second, percent, printable, size

__all__ = ["CacheView", "CachedFilesView"]

_UNKNOWN = "-"


@dataclass(frozen=True)
class CacheView(View):
    """A row for each cgroup, those with the most page cache first."""

    use: CacheReport
    rows: Sequence[CgroupCache]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        traced = self.use.source == "reads"
        columns = [Column("cgroup", name=True), Column("in memory"), Column("active", rank=2)]
        columns.append(Column("inactive", rank=1))
        if traced:
            columns += [
                Column(f"read in {format_duration(idle_ns)}", rank=8 - n)
                for n, idle_ns in enumerate(self._times())
            ]
        columns.append(Column("refaults", rank=3))
        yield FittingTable(columns, [self._cells(row) for row in self._sorted()])
        yield Text(self._summary(), style="dim")

    def _times(self) -> list[int]:
        """The times of columns: all that are known of any row."""
        known = [row.used_bytes for row in self.rows if row.used_bytes]
        return [
            idle_ns
            for n, idle_ns in enumerate(IDLE_TIMES_NS)
            if any(values[n] is not None for values in known)
        ]

    def _sorted(self) -> list[CgroupCache]:
        return sorted(self.rows, key=lambda row: (-row.resident_bytes, row.cgroup))

    def _cells(self, row: CgroupCache) -> list[str]:
        cells = [
            printable(row.cgroup) or "(gone)",
            size(row.resident_bytes),
            size(row.active_bytes),
            size(row.inactive_bytes),
        ]
        if self.use.source == "reads":
            cells += [_estimate(row, idle_ns) for idle_ns in self._times()]
        refaults = row.refaults_per_s
        return [*cells, _UNKNOWN if refaults is None else per_second(refaults)]

    def _summary(self) -> str:
        use = self.use
        if use.source == "kernel":
            return f"the kernel's own figures; which pages are read is not known: {use.reason}"
        parts = [
            f"reads watched for {format_duration(use.watched_ns)}",
            f"1 of {1 / use.followed_share:.3g} folios followed"
            if use.followed_share < 1
            else "all folios followed",
            f"{use.cpu_percent:.2g} % of a CPU",
        ]
        if use.observed_share < 0.995:
            parts.append(
                f"traced {percent(use.observed_share)} of the time to stay in the budget: what "
                "was read is a lower bound"
            )
        if use.missed_folios:
            parts.append(f"{count(use.missed_folios, 'folio')} missed in a burst")
        return "; ".join(parts)


def _estimate(row: CgroupCache, idle_ns: int) -> str:
    used = row.used_within(idle_ns)
    if used is None:
        return _UNKNOWN
    deviation = row.deviation_bytes[IDLE_TIMES_NS.index(idle_ns)]
    return f"{size(used)} ± {size(deviation)}" if deviation else size(used)


@dataclass(frozen=True)
class CachedFilesView(View):
    """How much of each file is in the page cache."""

    files: Sequence[CachedFile]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [
            Column("file", name=True),
            Column("size"),
            Column("in memory"),
            Column("to write", rank=2),
            Column("dropped", rank=1),
            Column("dropped lately", rank=3),
        ]
        yield FittingTable(columns, [self._cells(file) for file in self.files])

    def _cells(self, file: CachedFile) -> list[str]:
        figures = (
            file.size_bytes,
            file.cached_bytes,
            file.dirty_bytes + file.writeback_bytes,
            file.evicted_bytes,
            file.recently_evicted_bytes,
        )
        return [printable(file.path), *map(size, figures)]
