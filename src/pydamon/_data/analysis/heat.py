"""Heat maps: access rates by address and time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.axis import AddressAxis, AxisSpans, blocks_of, spans_of, spread
from pydamon._data.analysis.folding import SnapshotSample, fold, fold_with_outline
from pydamon._data.recording import AnyRecording, Recording, RecordingFile
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._model.display import Drawable
from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.ranges import EMPTY
from pydamon._model.runs import Runs
from pydamon._model.snapshot import Target

__all__ = ["HeatExtent", "HeatMap", "Range", "heatmap", "hottest", "zoom"]

Range: TypeAlias = Literal["all", "hottest"] | tuple[int, int]
"""Addresses to draw: all that were covered, the hottest of them, or all in [start, end)."""

_FINE_CELLS = 4096
_SHARE_OF_HEAT = 0.98
_CONTEXT = 0.1
_SAMPLE_ROWS = 2**16
"""Regions that are looked at to find the hottest range, and the names of rows."""
_NEEDED_COLUMNS = (
    *("start", "end", "nr_accesses", "max_nr_accesses", "access_share", "mapping"),
    *("resident_bytes", "unseen_bytes"),
)
_SNAPSHOTS_AT_ONCE = 2048
_NEGLIGIBLE = 1e-9
_NEVER_NS = 2**63 - 1


@dataclass(frozen=True)
class HeatMap(Drawable):
    """Access rates of one target in cells of address by time: see `heatmap`.

    Attributes
    ----------
    target : Target
        The process.
    rates : ndarray, shape (rows, columns)
        From 0 to 1: the mean of `access_share` over the bytes and the time of a
        cell. NaN where nothing was monitored, and where no probe had looked yet.
    axis : AddressAxis
        The addresses, without the gaps between mappings.
    row_edges : ndarray, shape (rows + 1,)
        Row i covers the positions from `row_edges[i]` to `row_edges[i + 1]` on the axis.
    time_edges : ndarray, shape (columns + 1,)
        Column j covers the Unix time from `time_edges[j]` to `time_edges[j + 1]`, in ns.
    row_names : tuple of str
        The name of the mapping that fills most of each row.
    left_out_bytes : int
        Bytes that were covered, but are not on the axis.
    others : tuple of Target
        The targets that are not drawn, from the most accessed to the least.
    unseen : ndarray of bool, shape (rows, columns)
        Where no probe had looked yet.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> heat = pydamon.analysis.heatmap(recording, rows=4, columns=2, addresses="all")
    >>> [hex(address) for address in heat.row_addresses]
    ['0x0', '0x4000000', '0x8000000', '0xc000000']
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
        """The address of the page in which each row begins: shape (rows,)."""
        pages = (self.row_edges[:-1] // SMALLEST_PAGE).astype(np.int64)
        return self.axis.address(pages * SMALLEST_PAGE)


def heatmap(
    recording: AnyRecording,
    rows: int = 40,
    columns: int = 80,
    *,
    pid: int | None = None,
    addresses: Range = "hottest",
    time_ns: tuple[int, int] | None = None,
) -> HeatMap:
    """Compute the heat map of one target.

    A file of more than a million regions is read twice.

    Parameters
    ----------
    recording
        The recording.
    rows, columns
        The number of cells.
    pid
        The process: by default the target that was accessed most.
    addresses
        `"all"`, an address range in bytes, or `"hottest"`: the shortest stretch that holds 98 % of
        all accesses, and a tenth of its size around it.
    time_ns
        The time to draw: Unix time in ns, half open. By default it is all that was recorded.

    Returns
    -------
    HeatMap
        The access rates.

    Raises
    ------
    UsageError
        If a range or a number of cells makes no sense.
    RecordingError
        If nothing was recorded in these ranges.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=10_000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> heat = pydamon.analysis.heatmap(recording, 4, 2, addresses="all")
    >>> heat.rates[:, -1].round(1).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    if rows < 1 or columns < 1:
        raise UsageError("a heat map has at least one row and one column")
    for bounds in (addresses, time_ns):
        if isinstance(bounds, tuple) and not 0 <= bounds[0] < bounds[1]:
            raise UsageError("a range must end after it starts")
    if pid is not None:
        recording = recording.of_pid(pid)
    if isinstance(recording, RecordingFile):
        recording = recording.held(*_NEEDED_COLUMNS)
    extent = HeatExtent(_SAMPLE_ROWS, time_ns)
    outline = fold_with_outline(recording, extent)
    target, *others = extent.hottest_first()
    every = extent.axis_of(target)
    sample = extent.sample.take()
    spans = spans_of(sample.of_target(target), every)
    low, high = zoom(spans, every, addresses)
    if low == high:
        raise RecordingError("nothing was monitored at these addresses")
    row_edges = np.linspace(0, high - low, rows + 1)
    begin, end = time_ns or extent.times_of(target)
    time_edges = _time_edges(begin, min(end, outline.end_ns), columns)
    rates = _RateSums(every, (low, high), row_edges, time_edges)
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
        rates.is_unseen(),
    )


def _time_edges(begin_ns: int, end_ns: int, columns: int) -> NDArray[np.int64]:
    # Whole numbers: real ones of this size would be rounded to a quarter of a microsecond.
    offsets = np.linspace(0, max(end_ns - begin_ns, 1), columns + 1)
    edges: NDArray[np.int64] = begin_ns + offsets.round().astype(np.int64)
    return edges


class HeatExtent:
    """The extent of a heat map, as a fold: the addresses, times and heat of each target.

    `sample` has at most *most_rows* of its regions. *time_ns* bounds the time.
    """

    def __init__(self, most_rows: int, time_ns: tuple[int, int] | None = None) -> None:
        self.sample = SnapshotSample(most_rows)
        self._time_ns = time_ns
        self._numbers = TargetNumbers()
        self._axes: dict[int, AddressAxis] = {}
        self._times_ns: dict[int, tuple[int, int]] = {}
        self._heat: dict[int, float] = {}

    def add(self, chunk: Recording) -> None:
        if self._time_ns is not None:
            begin, end = self._time_ns
            is_inside = (chunk.per_target("start_ns") < end) & (chunk.per_target("end_ns") > begin)
            chunk = chunk.pick_targets(is_inside)
        self.sample.add(chunk)
        self._add_times(chunk, self._numbers.per_target(chunk))
        if len(chunk.table):
            self._add_blocks(chunk)

    def _add_times(self, chunk: Recording, target: NDArray[np.int32]) -> None:
        numbers, place = np.unique(target, return_inverse=True)
        begin, end = np.full(len(numbers), _NEVER_NS), np.zeros(len(numbers), np.int64)
        np.minimum.at(begin, place, chunk.per_target("start_ns"))
        np.maximum.at(end, place, chunk.per_target("end_ns"))
        for number, first_ns, last_ns in zip(
            numbers.tolist(), begin.tolist(), end.tolist(), strict=True
        ):
            known = self._times_ns.get(number, (first_ns, last_ns))
            self._times_ns[number] = min(known[0], first_ns), max(known[1], last_ns)

    def _add_blocks(self, chunk: Recording) -> None:
        blocks = blocks_of(chunk)
        size = chunk.column("end") - chunk.column("start")
        heat = np.add.reduceat(size * chunk.access_share, blocks.heads)
        target = self._numbers.per_region(chunk)[blocks.heads]
        order = np.argsort(target, kind="stable")
        for first, end in Runs.of(target[order]):
            rows = order[first:end]
            number = int(target[rows[0]])
            known = self._axes.get(number, AddressAxis(EMPTY)).segments
            self._axes[number] = AddressAxis.covering(
                np.append(known[:, 0], blocks.start[rows]), np.append(known[:, 1], blocks.end[rows])
            )
            self._heat[number] = self._heat.get(number, 0.0) + float(heat[rows].sum())

    def hottest_first(self) -> tuple[Target, ...]:
        """The targets that have regions, from the most accessed to the least.

        Raises `RecordingError` if there are none.
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
        """When one of the targets was recorded: start and end."""
        return self._times_ns[self._number(target)]

    def _number(self, target: Target) -> int:
        return [known.key for known in self._numbers.targets].index(target.key)


def zoom(spans: AxisSpans, every: AddressAxis, addresses: Range) -> tuple[int, int]:
    """The positions on the axis between which to draw."""
    if addresses == "all":
        return 0, every.length
    if addresses != "hottest":
        low, high = every.position(np.array(addresses)).tolist()
        return low, high
    edges = np.linspace(0, every.length, min(_FINE_CELLS, every.length) + 1)
    lengths = np.diff(spans.offsets)
    weight = spans.rate * np.repeat(spans.end_ns - spans.start_ns + 1.0, lengths)
    one_line = np.zeros(len(spans.low), np.int64)
    heat = spread(spans.low, spans.high, weight, line=one_line, lines=1, edges=edges)[0]
    return hottest(heat, edges)


def hottest(heat: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[int, int]:
    """The shortest stretch that holds 98 % of the heat, and a tenth of its size around it.

    *heat* has one entry a cell, which *edges* bound. The stretch is in whole pages; it is all of
    the axis where there is no heat.
    """
    length = int(edges[-1])
    total = np.append(0.0, np.cumsum(np.maximum(heat, 0)))
    if total[-1] == 0:
        return 0, length
    ends = np.searchsorted(total, total[:-1] + total[-1] * _SHARE_OF_HEAT)
    possible = np.flatnonzero(ends < len(total))
    first = int(possible[(ends[possible] - possible).argmin()])
    end = int(ends[first])
    context = max(1, round((end - first) * _CONTEXT))
    low, high = edges[max(0, first - context)], edges[min(len(heat), end + context)]
    page_after = -(-int(high) // SMALLEST_PAGE) * SMALLEST_PAGE
    return int(low) // SMALLEST_PAGE * SMALLEST_PAGE, min(page_after, length)


class _RateSums:
    """The rates of the cells of one target, as a fold; *bounds* are positions on the axis."""

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

    def add(self, chunk: Recording) -> None:
        spans = spans_of(chunk, self._axis, self._before_ns).between(*self._bounds)
        self._before_ns = int(spans.end_ns[-1])
        for some in spans.chunks(_SNAPSHOTS_AT_ONCE):
            self._add_spans(some)

    def _add_spans(self, spans: AxisSpans) -> None:
        until = np.minimum(spans.end_ns[:, None], self._time_edges[1:])
        since = np.maximum(spans.start_ns[:, None], self._time_edges[:-1])
        overlap = np.maximum(until - since, 0).astype(np.float64)
        edges, lines = self._row_edges, len(spans.start_ns)
        line = np.repeat(np.arange(lines), np.diff(spans.offsets))
        rate = spans.rate * (1 - spans.unseen)
        rows = spread(spans.low, spans.high, rate, line=line, lines=lines, edges=edges)
        # Not a matrix product: its threads spin where other programs keep the CPUs busy.
        self._heat += np.einsum("sr,sc->rc", rows, overlap)
        if spans.unseen.any():
            rows = spread(spans.low, spans.high, spans.unseen, line=line, lines=lines, edges=edges)
            self._unseen += np.einsum("sr,sc->rc", rows, overlap)
        low, high, line = spans.blocks(line)
        rows = spread(low, high, None, line=line, lines=lines, edges=edges)
        self._known += np.einsum("sr,sc->rc", rows, overlap)

    def means(self) -> NDArray[np.float64]:
        """From 0 to 1; NaN for cells of which nothing is known."""
        rates = np.full(self._heat.shape, np.nan)
        # Rounding alone covers a little of a cell beside the regions: that does not count.
        span_ns = float(self._time_edges[-1] - self._time_edges[0])
        cell = self._row_edges[-1] * span_ns / rates.size
        seen = self._known - self._unseen
        is_known = (self._known > _NEGLIGIBLE * cell) & ~self.is_unseen()
        np.divide(self._heat, seen, out=rates, where=is_known)
        clipped: NDArray[np.float64] = np.clip(rates, 0, 1)
        return clipped

    def is_unseen(self) -> NDArray[np.bool_]:
        """The cells of which more than a half is unseen."""
        is_unseen: NDArray[np.bool_] = self._unseen > self._known / 2
        return is_unseen


def _row_names(
    names: list[str], spans: AxisSpans, row_edges: NDArray[np.float64]
) -> tuple[str, ...]:
    """The mapping that fills most of each row."""
    if len(spans.low) == 0:
        return ("",) * (len(row_edges) - 1)
    used, code = np.unique(spans.mapping, return_inverse=True)
    filled = spread(spans.low, spans.high, None, line=code, lines=len(used), edges=row_edges)
    return tuple(names[int(used[index])] for index in filled.argmax(axis=0))
