"""The regions of a snapshot as lines of text; all regions by temperature, or as bars of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import Distribution, RankedRegion, Temperatures
from pydamon._model.classify import heat_class
from pydamon._model.snapshot import Snapshot
from pydamon._model.units import format_duration, format_size
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import (
    age,
    bar,
    duration,
    frequency,
    mapping_label,
    percent,
    printable,
    size,
    target_cell,
    target_label,
)

__all__ = ["DistributionView", "SnapshotView", "TemperaturesView", "region_lines"]

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


_MOST_RANKED = 30
_HOTTEST = 20
_RANKED_COLUMNS = (
    Column("temp.", rank=4),
    Column("size"),
    Column("rate"),
    Column("per second", rank=8),
    Column("for", rank=6),
    Column("in memory", rank=3),
    Column("not seen", rank=3),
    Column("address", rank=7),
    Column("perms", name=True, rank=2),
    Column("mapping", name=True),
    Column("target", name=True, rank=5),
)
_BEFORE_PASSED = [column.heading for column in _RANKED_COLUMNS].index("address")
"""The column before which those of kinds of pages stand."""
_STYLES = {"hot": "yellow", "warm": "", "cold": "blue"}


@dataclass(frozen=True)
class TemperaturesView(View):
    """The first *limit* regions, or 30; with *both_ends* the last ones of many regions, too."""

    temperatures: Temperatures
    limit: int | None = None
    both_ends: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        regions = self.temperatures.regions
        title = "Regions of a snapshot, from hot to cold"
        yield Text(title if self.both_ends else "Regions of a snapshot", style="bold")
        yield self._table(options.ascii_only)
        if any(region.age_ns < 0 for region in regions):
            note = "Ages are not in the recording, and do not count in temperatures."
            yield Text(note, style="yellow")

    def _table(self, ascii_only: bool) -> FittingTable:
        regions = self.temperatures.regions
        first, last = regions[: self.limit or _MOST_RANKED], regions[:0]
        if self.both_ends and self.limit is None and len(regions) > _MOST_RANKED:
            first, last = regions[:_HOTTEST], regions[_HOTTEST - _MOST_RANKED :]
        between = regions[len(first) : len(regions) - len(last)]
        rows = [_row(region, ascii_only) for region in first]
        styles = [_STYLES[heat_class(region.rate)] for region in first]
        if between:
            amount = size(sum(region.size for region in between))
            label = "regions in between" if last else "more regions"
            rows.append(["...", amount, *[""] * 7, f"{len(between)} {label}", ""])
            styles.append("")
        rows += [_row(region, ascii_only) for region in last]
        styles += [_STYLES[heat_class(region.rate)] for region in last]
        # A column with the same to say of every region is left out.
        telling = {
            "in memory": any(region.resident_bytes >= 0 for region in regions),
            "not seen": any(region.unseen_bytes > 0 for region in regions),
            "target": len({region.target.key for region in regions}) > 1,
        }
        shown = [i for i, column in enumerate(_RANKED_COLUMNS) if telling.get(column.heading, True)]
        columns = [_RANKED_COLUMNS[i] for i in shown]
        cells = [[row[i] for i in shown] for row in rows]
        kinds = list(dict.fromkeys(kind for region in regions for kind in region.passed))
        if kinds:
            at = shown.index(_BEFORE_PASSED)
            columns[at:at] = [Column(printable(kind), rank=9) for kind in kinds]
            regions_of_rows = [*first, *([None] if between else []), *last]
            for row, region in zip(cells, regions_of_rows, strict=True):
                row[at:at] = _passed(region, kinds)
        return FittingTable(columns, cells, styles)


def _passed(region: RankedRegion | None, kinds: list[str]) -> list[str]:
    """How much of a region is of each kind of pages; empty for the row of other regions."""
    if region is None:
        return [""] * len(kinds)
    return [size(region.passed[kind]) if kind in region.passed else "?" for kind in kinds]


def _row(region: RankedRegion, ascii_only: bool) -> list[str]:
    return [
        f"{region.temperature:.0f}",
        size(region.size),
        percent(region.rate),
        frequency(region.access_hz, region.access_hz_error, ascii_only),
        age(region.age_ns),
        "?" if region.resident_bytes < 0 else size(region.resident_bytes),
        size(region.unseen_bytes),
        f"{region.start:x}",
        printable(region.perms),
        mapping_label(region.mapping),
        target_cell(region.target),
    ]


_WIDEST = 60
_TITLES = {
    "rate": "access rate",
    "age": "age: for how long the access rate has held",
    "idle": "idle time",
    "temperature": "temperature",
    "size": "size of the region",
}


@dataclass(frozen=True)
class DistributionView(View):
    """A bar for each class: mean bytes over the recorded time."""

    distribution: Distribution

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self.distribution
        yield Text(f"Bytes by {_TITLES[shown.by]}", style="bold", overflow="fold")
        yield from _bars(shown, options)
        marks = [f"{p:g} % {_value(shown.by, value)}" for p, value in shown.percentiles]
        yield Text(f"of the bytes at most: {', '.join(marks)}")
        for amount, meaning in (
            (shown.unseen_bytes, "not looked at yet"),
            (shown.unobservable_bytes, "not observable"),
            (shown.undated_bytes, "not accessed, for a time that is not in the recording"),
        ):
            if amount >= 1:
                yield Text(f"besides {size(amount)}: {meaning}", style="yellow")


def _bars(shown: Distribution, options: ConsoleOptions) -> RenderResult:
    labels = [
        _class(shown.by, low, high)
        for low, high in zip(shown.low.tolist(), shown.high.tolist(), strict=True)
    ]
    total = float(shown.size_bytes.sum())
    largest = float(shown.size_bytes.max(initial=0))
    left = max(map(len, labels))
    room = max(4, min(_WIDEST, options.max_width - left - 21))
    for label, amount in zip(labels, shown.size_bytes.tolist(), strict=True):
        share = percent(amount / total) if total else "0 %"
        drawn = bar(amount / largest if largest else 0.0, room, options.ascii_only)
        yield Text(f"{label:>{left}}  {size(amount):>9} {share:>6}  {drawn}", no_wrap=True)


def _value(by: str, value: float) -> str:
    """A percentile, in the unit of its distribution."""
    if by == "rate":
        return percent(value)
    if by == "temperature":
        return f"{value:.0f}"
    return format_size(value) if by == "size" else duration(value)


def _class(by: str, low: float, high: float) -> str:
    """The label of the class from *low* to *high*."""
    if by == "rate":
        return "0 %" if low == high else f"to {high * 100:.0f} %"
    if by == "temperature":
        return f"{low:.0f} to {high:.0f}"
    if by == "size":
        return f"below {format_size(high)}" if not low else f"from {format_size(low)}"
    if low == high:
        return "accessed"
    return f"from {format_duration(low)}" if low else f"below {format_duration(high)}"
