"""Heat maps: access rates by address and time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.axis import AddressAxis, AxisSpans, covered, spread
from pydamon._data.analysis.folding import Sample, fold, fold_some
from pydamon._data.recording import Recorded, Recording, RecordingFile
from pydamon._data.recording.targets import TargetNumbers
from pydamon._model.classify import UNKNOWN
from pydamon._model.display import Drawable
from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Target

__all__ = [
    "SURVEY_WINDOWS",
    "HeatExtent",
    "HeatMap",
    "Range",
    "heatmap",
    "hottest",
    "spans_of",
    "zoom",
]

Range: TypeAlias = Literal["all", "hottest"] | tuple[int, int]
"""Which addresses: all that were covered, the hottest of them, or those of [start, end)."""

_FINE = 4096
_SHARE_OF_HEAT = 0.98
_CONTEXT = 0.1
_ENOUGH = 2**16
"""Regions that are looked at to find the hottest range, and the names of rows."""
_NEEDED = (
    *("target", "start", "end", "nr_accesses", "max_nr_accesses", "mapping"),
    *("resident_bytes", "unseen_bytes", "host"),
)
_CHUNK = 2048
_NEGLIGIBLE = 1e-9
SURVEY_WINDOWS = 4
"""Of the snapshot behind it; on a busy machine surveys took up to 3.6."""


@dataclass(frozen=True)
class HeatMap(Drawable):
    """Access rates of one target in cells of address by time.

    `rates` has shape (rows, columns): 0 to 1, the mean of `nr_accesses / max_nr_accesses` over the
    bytes and the time of a cell; NaN where nothing was monitored, and where nobody had looked yet,
    which `unseen`, of the same shape, tells apart. Row i covers the positions
    `row_edges[i]` to `row_edges[i + 1]` on `axis`, which leaves out the gaps between mappings;
    column j the Unix time `time_edges[j]` to `time_edges[j + 1]` in ns. `row_names` is the name of
    the mapping that fills most of each row. `left_out_bytes` were covered, but are not in `axis`.
    `others` are the targets that are not drawn, from the one that was accessed most to the least.
    """

    target: Target
    rates: NDArray[np.float64]
    axis: AddressAxis
    row_edges: NDArray[np.float64]
    time_edges: NDArray[np.int64]
    row_names: tuple[str, ...]
    left_out_bytes: int
    others: tuple[Target, ...] = ()
    unseen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_))

    def __post_init__(self) -> None:
        if self.unseen.shape != self.rates.shape:
            object.__setattr__(self, "unseen", np.zeros(self.rates.shape, np.bool_))

    @property
    def row_addresses(self) -> NDArray[np.int64]:
        """The page in which each row begins, as an address: shape (rows,)."""
        pages = (self.row_edges[:-1] // PAGE_SIZE).astype(np.int64)
        return self.axis.address(pages * PAGE_SIZE)


def heatmap(
    recording: Recorded,
    rows: int = 40,
    columns: int = 80,
    *,
    pid: int | None = None,
    addresses: Range = "hottest",
    time_ns: tuple[int, int] | None = None,
) -> HeatMap:
    """The heat map of one target: by default of the one that was accessed most.

    `"hottest"` is the shortest stretch that holds 98 % of all accesses, and a tenth of its size
    around it. *time_ns* bounds the time (Unix time, half open). A recording of more than a million
    regions that is not in memory is read twice. Raises `RecordingError` where nothing was recorded
    in these bounds, `UsageError` for bounds that make no sense.
    """
    if rows < 1 or columns < 1:
        raise UsageError("a heat map has at least one row and one column")
    for bounds in (addresses, time_ns):
        if isinstance(bounds, tuple) and not 0 <= bounds[0] < bounds[1]:
            raise UsageError("a range must end after it starts")
    if pid is not None:
        recording = recording.of_pid(pid)
    if isinstance(recording, RecordingFile):
        recording = recording.held(*_NEEDED)
    survey = HeatExtent(_ENOUGH, time_ns)
    outline = fold_some(recording, survey)
    target, *others = survey.hottest_first()
    every = survey.axis_of(target)
    sample = survey.sample.taken()
    spans = spans_of(sample.of_target(target), every)
    low, high = zoom(spans, every, addresses)
    if low == high:
        raise RecordingError("nothing was monitored at these addresses")
    row_edges = np.linspace(0, high - low, rows + 1)
    begin, end = time_ns or survey.times_of(target)
    end = min(end, outline.end_ns)
    # Whole numbers: as real ones, times of this size would be rounded to a quarter microsecond.
    time_edges = begin + np.linspace(0, max(end - begin, 1), columns + 1).round().astype(np.int64)
    rates = _Rates(every, (low, high), row_edges, time_edges)
    fold(recording.of_target(target), rates)
    return HeatMap(
        target,
        rates.means(),
        every.part(low, high),
        row_edges,
        time_edges,
        _row_names(sample.names("mapping"), spans.between(low, high), row_edges),
        every.length - (high - low),
        tuple(others),
        rates.unseen(),
    )


class HeatExtent:
    """What there is to draw, as a fold: of each target the addresses, times and heat.

    `sample` has at most *most_rows* regions of it. *time_ns* bounds the time.
    """

    def __init__(self, most_rows: int, time_ns: tuple[int, int] | None = None) -> None:
        self.sample = Sample(most_rows)
        self._time_ns = time_ns
        self._numbers = TargetNumbers()
        self._axes: dict[int, AddressAxis] = {}
        self._times_ns: dict[int, tuple[int, int]] = {}
        self._heat: dict[int, float] = {}

    def add(self, part: Recording) -> None:
        if self._time_ns is not None:
            begin, end = self._time_ns
            inside = (part.of_parts("start_ns") < end) & (part.of_parts("end_ns") > begin)
            part = part.of_parts_where(inside)
        self.sample.add(part)
        numbers = self._numbers.of_parts(part)
        self._add_times(part, numbers)
        if len(part.table):
            self._add_blocks(part)

    def _add_times(self, part: Recording, target: NDArray[np.int32]) -> None:
        numbers, place = np.unique(target, return_inverse=True)
        begin, end = np.full(len(numbers), 2**63 - 1), np.zeros(len(numbers), np.int64)
        np.minimum.at(begin, place, part.of_parts("start_ns"))
        np.maximum.at(end, place, part.of_parts("end_ns"))
        for number, *mine in zip(numbers.tolist(), begin.tolist(), end.tolist(), strict=True):
            known = self._times_ns.get(number, mine)
            self._times_ns[number] = min(known[0], mine[0]), max(known[1], mine[1])

    def _add_blocks(self, part: Recording) -> None:
        heads, low, high = _blocks(part)
        size, most = part.column("end") - part.column("start"), part.column("max_nr_accesses")
        heat = np.add.reduceat(size * part.column("nr_accesses") / most, heads)
        numbers, place = np.unique(self._numbers.of_rows(part)[heads], return_inverse=True)
        order = np.argsort(place, kind="stable")
        borders = np.flatnonzero(np.diff(place[order])) + 1
        for number, mine in zip(numbers.tolist(), np.split(order, borders), strict=True):
            axis = self._axes.get(number, AddressAxis(np.empty((0, 2), np.int64)))
            known = axis.segments
            self._axes[number] = covered(
                np.append(known[:, 0], low[mine]), np.append(known[:, 1], high[mine])
            )
            self._heat[number] = self._heat.get(number, 0.0) + float(heat[mine].sum())

    def hottest_first(self) -> tuple[Target, ...]:
        """The targets that have regions, from the one that was accessed most to the least.

        Raises `RecordingError` where there are none.
        """
        if not self._heat:
            raise RecordingError(
                "the recording has no regions"
                if self._time_ns is None
                else "nothing was recorded in this span of time"
            )
        targets = self._numbers.targets
        return tuple(targets[number] for number in sorted(self._heat, key=lambda n: -self._heat[n]))

    def axis_of(self, target: Target) -> AddressAxis:
        """The addresses of one of the targets."""
        return self._axes[self._number(target)]

    def times_of(self, target: Target) -> tuple[int, int]:
        """When one of the targets was recorded."""
        return self._times_ns[self._number(target)]

    def _number(self, target: Target) -> int:
        return [one.key for one in self._numbers.targets].index(target.key)


def spans_of(recording: Recording, axis: AddressAxis, before_ns: int = 0) -> AxisSpans:
    """The regions of a single target on an axis; *before_ns* is when the snapshot before ended."""
    # Between two snapshots there may have been a survey, which the later of them has drawn upon.
    start_ns, end_ns = recording.of_snapshots("start_ns"), recording.of_snapshots("end_ns")
    ended_ns = np.append(before_ns, end_ns[:-1])
    pause_ns = start_ns - ended_ns
    surveyed = (pause_ns > 0) & (pause_ns <= SURVEY_WINDOWS * (end_ns - start_ns))
    start, end = recording.column("start"), recording.column("end")
    # Blocks are few: only those are looked up.
    heads, low, _ = _blocks(recording)
    moved = np.repeat(axis.position(low) - low, np.diff(heads, append=len(start)))
    return AxisSpans(
        start + moved,
        end + moved,
        recording.column("nr_accesses") / recording.column("max_nr_accesses"),
        recording.codes("mapping"),
        recording.snapshot_offsets,
        np.where(surveyed, ended_ns, start_ns),
        end_ns,
        _unseen_shares(recording),
    )


def _unseen_shares(recording: Recording) -> NDArray[np.float64]:
    """Which share of each region nobody had looked at yet."""
    unseen, resident = recording.column("unseen_bytes"), recording.column("resident_bytes")
    if not unseen.any():
        return np.zeros(len(unseen))
    size = recording.column("end") - recording.column("start")
    whole = np.where(resident == UNKNOWN, size, resident)
    return np.minimum(unseen / np.maximum(whole, 1), 1.0)


def _blocks(
    recording: Recording,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Regions side by side taken together: the first of each block, its start and its end."""
    start, end = recording.column("start"), recording.column("end")
    new = np.ones(len(start), np.bool_)
    new[1:] = start[1:] != end[:-1]
    offsets = recording.part_offsets
    new[offsets[:-1][np.diff(offsets) > 0]] = True
    heads = np.flatnonzero(new)
    return heads, start[heads], end[np.append(heads, len(start))[1:] - 1]


def zoom(spans: AxisSpans, every: AddressAxis, addresses: Range) -> tuple[int, int]:
    """The positions on the axis between which to draw."""
    if addresses == "all":
        return 0, every.length
    if addresses != "hottest":
        low, high = every.position(np.array(addresses)).tolist()
        return low, high
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


class _Rates:
    """The mean rates of the cells of one target, as a fold; *bounds* are positions on the axis."""

    def __init__(
        self,
        axis: AddressAxis,
        bounds: tuple[int, int],
        row_edges: NDArray[np.float64],
        time_edges: NDArray[np.int64],
    ) -> None:
        self._axis, self._bounds = axis, bounds
        self._row_edges, self._time_edges = row_edges, time_edges
        shape = (len(row_edges) - 1, len(time_edges) - 1)
        self._heat, self._known, self._unseen = (np.zeros(shape) for _ in range(3))
        self._before_ns = 0

    def add(self, part: Recording) -> None:
        spans = spans_of(part, self._axis, self._before_ns).between(*self._bounds)
        self._before_ns = int(spans.end_ns[-1])
        edges = self._row_edges
        for some in spans.chunks(_CHUNK):
            until = np.minimum(some.end_ns[:, None], self._time_edges[1:])
            since = np.maximum(some.start_ns[:, None], self._time_edges[:-1])
            overlap = np.maximum(until - since, 0).astype(np.float64)
            lines = len(some.start_ns)
            line = np.repeat(np.arange(lines), np.diff(some.offsets))
            rate = some.rate * (1 - some.unseen)
            rows = spread(some.low, some.high, rate, line=line, lines=lines, edges=edges)
            # Not a matrix product: its threads spin where other programs keep the CPUs busy.
            self._heat += np.einsum("sr,sc->rc", rows, overlap)
            if some.unseen.any():
                rows = spread(some.low, some.high, some.unseen, line=line, lines=lines, edges=edges)
                self._unseen += np.einsum("sr,sc->rc", rows, overlap)
            low, high, line = some.blocks(line)
            rows = spread(low, high, None, line=line, lines=lines, edges=edges)
            self._known += np.einsum("sr,sc->rc", rows, overlap)

    def means(self) -> NDArray[np.float64]:
        """0 to 1, and NaN for cells of which nothing is known."""
        rates = np.full(self._heat.shape, np.nan)
        # A cell that is covered by less than this is one that only rounding has touched.
        span_ns = float(self._time_edges[-1] - self._time_edges[0])
        cell = self._row_edges[-1] * span_ns / rates.size
        seen = self._known - self._unseen
        known = (self._known > _NEGLIGIBLE * cell) & ~self.unseen()
        np.divide(self._heat, seen, out=rates, where=known)
        clipped: NDArray[np.float64] = np.clip(rates, 0, 1)
        return clipped

    def unseen(self) -> NDArray[np.bool_]:
        """Cells of which nobody had looked at more than a half."""
        found: NDArray[np.bool_] = self._unseen > self._known / 2
        return found


def _row_names(
    names: list[str], spans: AxisSpans, row_edges: NDArray[np.float64]
) -> tuple[str, ...]:
    """The mapping that fills most of each row."""
    if len(spans.low) == 0:
        return ("",) * (len(row_edges) - 1)
    used, code = np.unique(spans.mapping, return_inverse=True)
    filled = spread(spans.low, spans.high, None, line=code, lines=len(used), edges=row_edges)
    return tuple(names[int(used[i])] for i in filled.argmax(axis=0))
