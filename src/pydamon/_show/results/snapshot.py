"""A snapshot: its working set and hottest regions, or all regions as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._model.snapshot import Snapshot
from pydamon._model.units import format_duration
from pydamon._show.results.table import Column, FittingTable
from pydamon._show.results.view import View
from pydamon._show.text import (
    age,
    duration,
    frequency,
    mapping_label,
    percent,
    printable,
    size,
    target_label,
)

__all__ = ["SnapshotView", "region_lines"]

_MOST = 50
_COLUMNS = (
    Column("size"),
    Column("rate"),
    Column("per second", rank=8),
    Column("age", rank=6),
    Column("addresses", rank=7),
    Column("mapping", name=True),
    Column("target", name=True, rank=5),
)


@dataclass(frozen=True)
class SnapshotView(View):
    """The working set, and a row for each of the hottest regions."""

    snapshot: Snapshot

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        snapshot = self.snapshot
        hottest = snapshot.hottest(_MOST)
        title = _title(snapshot)
        if len(hottest) < len(snapshot):
            title += f"; the {len(hottest)} hottest of {len(snapshot)} regions"
        yield Text(title, style="bold")
        rows = [
            [
                size(region.size),
                percent(region.access_share),
                _per_second(
                    region.access_share,
                    region.access_share_error,
                    snapshot.sampling_ns,
                    options.ascii_only,
                ),
                age(region.age_ns),
                f"{region.start:x}-{region.end:x}",
                mapping_label(region.mapping.name) if region.mapping else "",
                target_label(region.target),
            ]
            for region in hottest
        ]
        yield FittingTable(_COLUMNS, rows)


def _per_second(share: float, error: float, sampling_ns: int, ascii_only: bool) -> str:
    samples_hz = 1e9 / max(1, sampling_ns)
    return frequency(share * samples_hz, error * samples_hz, ascii_only)


def _title(snapshot: Snapshot) -> str:
    classes = snapshot.classes.over(len(snapshot.targets))
    total, unseen, assumed = (
        int(amount.sum()) for amount in (classes.total, classes.unseen, classes.assumed)
    )
    where = "of address space" if assumed else "in memory"
    parts = [f"Working set {size(snapshot.working_set())} of {size(total)} {where}"]
    if unseen:
        parts.append(f"{size(unseen)} not looked at yet")
    parts.append(f"in {duration(snapshot.window_ns)}")
    return ", ".join(parts)


def region_lines(snapshot: Snapshot, started_ns: int) -> Iterator[str]:
    """A heading for each target, with the time since *started_ns*, and a line for each region.

    Plain text: a snapshot may have a hundred thousand regions.
    """
    most = snapshot.max_nr_accesses
    since = format_duration(max(0, snapshot.start_ns - started_ns))
    mapping = snapshot.mapping
    for index, target in enumerate(snapshot.targets):
        rows = (snapshot.target == index).nonzero()[0].tolist()
        yield (
            f"{target_label(target)}: after {since}, in {format_duration(snapshot.window_ns)}, "
            f"{len(rows)} regions"
        )
        yield (
            f"  {'address':>25} {'size':>9} {'accesses':>9} {'per second':>13} {'age':>8} "
            f"{'touched':>9}  mapping"
        )
        for i in rows:
            start, end = int(snapshot.start[i]), int(snapshot.end[i])
            accesses = f"{snapshot.nr_accesses[i]}/{most}"
            share, error = float(snapshot.access_share[i]), float(snapshot.access_share_error[i])
            per_second = _per_second(share, error, snapshot.sampling_ns, True)
            line = (
                f"  {f'{start:x}-{end:x}':>25} {size(end - start):>9} {accesses:>9} "
                f"{per_second:>13} {age(int(snapshot.age_ns[i])):>8} "
                f"{size(int(snapshot.touched_bytes[i])):>9}  "
            )
            if mapping[i] < 0:
                yield line + mapping_label("")
            else:
                mapped = target.mappings.mappings[int(mapping[i])]
                yield f"{line}{mapping_label(mapped.name)} {printable(mapped.perms)}"
