"""Heat maps: access rates by address and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.axis import AddressAxis, covered
from pydamon.analysis.spans import Spans, spread
from pydamon.core.errors import RecordingError, UsageError
from pydamon.core.regions import PAGE_SIZE
from pydamon.core.snapshot import Target
from pydamon.recording import Recording

__all__ = ["HeatMap", "Range", "heatmap", "hottest", "hottest_first", "spans_of", "zoom"]

Range: TypeAlias = Literal["all", "hottest"] | tuple[int, int]
"""Which addresses: all that were covered, the hottest of them, or those of [start, end)."""

_FINE = 4096
_SHARE_OF_HEAT = 0.98
_CONTEXT = 0.1
_ENOUGH = 1000
"""Snapshots that are looked at to find the hottest range, and the names of rows."""
_CHUNK = 2048
_NEGLIGIBLE = 1e-9
_SURVEY_WINDOWS = 4
"""Of the snapshot behind it; on a busy machine surveys took up to 3.6."""


@dataclass(frozen=True)
class HeatMap:
    """Access rates of one target in cells of address by time.

    `rates` has shape (rows, columns): 0 to 1, the mean of `nr_accesses / max_nr_accesses` over the
    bytes and the time of a cell; NaN where nothing was monitored. Row i covers the positions
    `row_edges[i]` to `row_edges[i + 1]` on `axis`, which leaves out the gaps between mappings;
    column j the Unix time `time_edges[j]` to `time_edges[j + 1]` in ns. `row_names` is the name of
    the mapping that fills most of each row. `left_out_bytes` were covered, but are not in `axis`.
    """

    target: Target
    rates: NDArray[np.float64]
    axis: AddressAxis
    row_edges: NDArray[np.float64]
    time_edges: NDArray[np.int64]
    row_names: tuple[str, ...]
    left_out_bytes: int

    @property
    def row_addresses(self) -> NDArray[np.int64]:
        """The page in which each row begins, as an address: shape (rows,)."""
        pages = (self.row_edges[:-1] // PAGE_SIZE).astype(np.int64)
        return self.axis.address(pages * PAGE_SIZE)


def heatmap(
    recording: Recording,
    rows: int = 40,
    columns: int = 80,
    *,
    pid: int | None = None,
    addresses: Range = "hottest",
    time_ns: tuple[int, int] | None = None,
) -> HeatMap:
    """The heat map of one target: by default of the one that was accessed most.

    `"hottest"` is the shortest stretch that holds 98 % of all accesses, and a tenth of its size
    around it. *time_ns* bounds the time (Unix time, half open). Raises `RecordingError` where
    nothing was recorded in these bounds, `UsageError` for bounds that make no sense.
    """
    if rows < 1 or columns < 1:
        raise UsageError("a heat map has at least one row and one column")
    for bounds in (addresses, time_ns):
        if isinstance(bounds, tuple) and not 0 <= bounds[0] < bounds[1]:
            raise UsageError("a range must end after it starts")
    if len(recording) == 0:
        raise RecordingError("the recording has no snapshots")
    if len(recording.table) == 0:
        raise RecordingError("the recording has no regions")
    one = recording.of_pid(hottest_first(recording)[0].pid if pid is None else pid)
    spans, every = spans_of(one, time_ns)
    if every.length == 0:
        raise RecordingError("nothing was monitored in this span of time")
    low, high = zoom(spans, every, addresses)
    if low == high:
        raise RecordingError("nothing was monitored at these addresses")
    spans = spans.between(low, high)
    begin, end = time_ns or (int(spans.start_ns.min()), int(spans.end_ns.max()))
    row_edges = np.linspace(0, high - low, rows + 1)
    # Whole numbers: as real ones, times of this size would be rounded to a quarter microsecond.
    length_ns = max(end - begin, 1)
    time_edges = begin + np.linspace(0, length_ns, columns + 1).round().astype(np.int64)
    return HeatMap(
        one.targets[0],
        _rates(spans, row_edges, time_edges),
        every.part(low, high),
        row_edges,
        time_edges,
        _row_names(one, spans, row_edges),
        every.length - (high - low),
    )


def spans_of(
    recording: Recording, time_ns: tuple[int, int] | None = None
) -> tuple[Spans, AddressAxis]:
    """The regions of a single target on the axis of all that they cover, and that axis."""
    offsets = recording.snapshot_offsets
    start_ns, end_ns = recording.of_snapshots("start_ns").copy(), recording.of_snapshots("end_ns")
    # Between two snapshots there may have been a survey, which the later of them has drawn upon.
    pause_ns, window_ns = start_ns[1:] - end_ns[:-1], (end_ns - start_ns)[1:]
    surveyed = (pause_ns > 0) & (pause_ns <= _SURVEY_WINDOWS * window_ns)
    start_ns[1:][surveyed] = end_ns[:-1][surveyed]
    first, beyond = 0, len(recording)
    if time_ns is not None:
        inside = np.flatnonzero((start_ns < time_ns[1]) & (end_ns > time_ns[0]))
        if len(inside) == 0:
            raise RecordingError("nothing was recorded in this span of time")
        first, beyond = int(inside[0]), int(inside[-1]) + 1
    rows = slice(int(offsets[first]), int(offsets[beyond]))
    start, end = recording.column("start")[rows], recording.column("end")[rows]
    offsets = offsets[first : beyond + 1] - offsets[first]
    # Regions side by side make blocks, which are few: only those are looked up.
    new = np.ones(len(start), np.bool_)
    new[1:] = start[1:] != end[:-1]
    new[offsets[:-1][np.diff(offsets) > 0]] = True
    heads = np.flatnonzero(new)
    lengths = np.diff(heads, append=len(start))
    every = covered(start[heads], end[heads + lengths - 1])
    low = start + np.repeat(every.position(start[heads]) - start[heads], lengths)
    spans = Spans(
        low,
        low + (end - start),
        recording.column("nr_accesses")[rows] / recording.column("max_nr_accesses")[rows],
        recording.codes("mapping")[rows],
        offsets,
        start_ns[first:beyond],
        end_ns[first:beyond],
    )
    return spans, every


def hottest_first(recording: Recording) -> tuple[Target, ...]:
    """The targets that have regions, from the one that was accessed most to the least."""
    if len(recording.targets) == 1:
        return recording.targets
    heat = (
        (recording.column("end") - recording.column("start"))
        * recording.column("nr_accesses")
        / recording.column("max_nr_accesses")
    )
    pids, place = np.unique(recording.column("pid"), return_inverse=True)
    heat_of = dict(zip(pids.tolist(), np.bincount(place, heat).tolist(), strict=True))
    found = [one for one in recording.targets if one.pid in heat_of]
    return tuple(sorted(found, key=lambda one: -heat_of[one.pid]))


def zoom(spans: Spans, every: AddressAxis, addresses: Range) -> tuple[int, int]:
    """The positions on the axis between which to draw."""
    if addresses == "all":
        return 0, every.length
    if addresses != "hottest":
        low, high = every.position(np.array(addresses)).tolist()
        return low, high
    spans = spans.thinned(_ENOUGH)
    edges = np.linspace(0, every.length, min(_FINE, every.length) + 1)
    lengths = np.diff(spans.offsets)
    weight = spans.rate * np.repeat(spans.end_ns - spans.start_ns + 1.0, lengths)
    one_line = np.zeros(len(spans.low), np.int64)
    heat = spread(spans.low, spans.high, weight, line=one_line, lines=1, edges=edges)[0]
    return hottest(heat, edges)


def hottest(heat: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[int, int]:
    """The shortest stretch that holds 98 % of the heat, and a tenth of its size around it.

    *heat* has one entry a cell, which *edges* bound; the stretch is in whole pages, and the whole
    of it all where there is no heat.
    """
    length = int(edges[-1])
    total = np.append(0.0, np.cumsum(np.maximum(heat, 0)))
    if total[-1] == 0:
        return 0, length
    ends = np.searchsorted(total, total[:-1] + total[-1] * _SHARE_OF_HEAT)
    possible = np.flatnonzero(ends < len(total))
    first = int(possible[(ends[possible] - possible).argmin()])
    beyond = int(ends[first])
    context = max(1, round((beyond - first) * _CONTEXT))
    low, high = edges[max(0, first - context)], edges[min(len(heat), beyond + context)]
    page_after = -(-int(high) // PAGE_SIZE) * PAGE_SIZE
    return int(low) // PAGE_SIZE * PAGE_SIZE, min(page_after, length)


def _rates(
    spans: Spans, row_edges: NDArray[np.float64], time_edges: NDArray[np.int64]
) -> NDArray[np.float64]:
    shape = (len(row_edges) - 1, len(time_edges) - 1)
    heat, known = np.zeros(shape), np.zeros(shape)
    for part in spans.chunks(_CHUNK):
        until = np.minimum(part.end_ns[:, None], time_edges[1:])
        since = np.maximum(part.start_ns[:, None], time_edges[:-1])
        overlap = np.maximum(until - since, 0).astype(np.float64)
        lines = len(part.start_ns)
        line = np.repeat(np.arange(lines), np.diff(part.offsets))
        rows = spread(part.low, part.high, part.rate, line=line, lines=lines, edges=row_edges)
        # Not a matrix product: its threads spin where other programs keep the CPUs busy.
        heat += np.einsum("sr,sc->rc", rows, overlap)
        low, high, line = part.blocks(line)
        rows = spread(low, high, None, line=line, lines=lines, edges=row_edges)
        known += np.einsum("sr,sc->rc", rows, overlap)
    rates = np.full(shape, np.nan)
    # A cell that is covered by less than this is one that only rounding has touched.
    cell = (row_edges[-1] / shape[0]) * float(time_edges[-1] - time_edges[0]) / shape[1]
    np.divide(heat, known, out=rates, where=known > _NEGLIGIBLE * cell)
    clipped: NDArray[np.float64] = np.clip(rates, 0, 1)
    return clipped


def _row_names(
    recording: Recording, spans: Spans, row_edges: NDArray[np.float64]
) -> tuple[str, ...]:
    """The mapping that fills most of each row, in snapshots from all over the time."""
    names = recording.names("mapping")
    spans = spans.thinned(_ENOUGH)
    used, code = np.unique(spans.mapping, return_inverse=True)
    filled = spread(spans.low, spans.high, None, line=code, lines=len(used), edges=row_edges)
    return tuple(names[int(used[i])] for i in filled.argmax(axis=0))
