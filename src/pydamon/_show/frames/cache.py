"""Heat maps of what is going on, which reuse the columns that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis import AddressAxis, HeatMap
from pydamon._data.analysis.axis import spread
from pydamon._data.analysis.heat import Range, hottest
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Target
from pydamon._show.frames.frames import Frame, RateSpans

__all__ = ["HeatMapCache", "frames_at"]

_FINE = 4096
_NEARLY_ALL = 0.95
_TOO_WIDE = 2.0


class HeatMapCache:
    """Makes one heat map after another, of the columns that are new and those that it has."""

    def __init__(self) -> None:
        self._target: Target | None = None
        self._axis = self._every = AddressAxis(np.empty((0, 2), np.int64))
        self._shown = (0, 0)
        self._columns: dict[Frame, tuple[NDArray[np.float64], NDArray[np.bool_]]] = {}
        self._hottest = (0, 0)

    def look(
        self,
        frames: Sequence[Frame],
        target: Target,
        rows: int,
        columns: int,
        *,
        end_ns: int,
        column_ns: int,
        addresses: Range = "hottest",
    ) -> HeatMap | None:
        """The *columns* before *end_ns*, of *column_ns* each; `None` where there is nothing.

        A column shows the frame in its middle. Columns begin at multiples of *column_ns* from the
        first frame on, so that they stay what they are while time goes on. `"hottest"` stays where
        it is for as long as it holds nearly all accesses, and not much else.
        """
        shown, edges = frames_at(frames, columns, end_ns, column_ns)
        spans = {f: f.spans_of(target) for f in dict.fromkeys(shown) if f is not None}
        spans = {frame: one for frame, one in spans.items() if len(one)}
        if not spans:
            return None
        starts, ends = zip(*(one.blocks() for one in spans.values()), strict=True)
        every = AddressAxis.covering(np.concatenate(starts), np.concatenate(ends))
        if self._target is None or target.key != self._target.key:
            self._target, self._hottest = target, (0, 0)
        if addresses == "all":
            low, high = 0, every.length
        elif addresses == "hottest":
            low, high = self._follow(every, list(spans.values()))
        else:
            low, high = every.position(np.array(addresses)).tolist()
        if low >= high:
            return None
        self._every, self._shown = every, (low, high)
        axis = every.part(low, high)
        held = next((len(rates) for rates, _ in self._columns.values()), rows)
        if held != rows or not np.array_equal(axis.segments, self._axis.segments):
            self._columns = {}
        self._axis = axis
        row_edges = np.linspace(0, high - low, rows + 1)
        missing = [frame for frame in spans if frame not in self._columns]
        if missing:
            made = _rates([spans[frame] for frame in missing], axis, row_edges)
            self._columns |= zip(missing, zip(*made, strict=True), strict=True)
        self._columns = {frame: self._columns[frame] for frame in spans}
        nothing = np.full(rows, np.nan), np.zeros(rows, np.bool_)
        cells = [self._columns.get(f, nothing) if f is not None else nothing for f in shown]
        newest = next(reversed(spans))
        return HeatMap(
            target,
            np.stack([rates for rates, _ in cells], axis=1),
            axis,
            row_edges,
            edges,
            _row_names(spans[newest], newest.names, axis, row_edges),
            every.length - (high - low),
            unseen=np.stack([unseen for _, unseen in cells], axis=1),
        )

    def beside(self, share: float) -> tuple[tuple[int, int], float]:
        """The addresses beside those of the last picture, and by what share of it they lie apart.

        They are as many; at the ends of all there are, the share is smaller than asked for.
        """
        (low, high), length = self._shown, self._every.length
        by = min(max(round(share * (high - low)) // PAGE_SIZE * PAGE_SIZE, -low), length - high)
        last = np.array([low + by, high + by - 1])
        start, end = self._every.address(last).tolist() if high > low else (0, -1)
        return (start, end + 1), by / max(1, high - low)

    def _follow(self, every: AddressAxis, spans: Sequence[RateSpans]) -> tuple[int, int]:
        """The positions between which the heat is."""
        edges = np.linspace(0, every.length, min(_FINE, every.length) + 1)
        low, high, rate = _placed(spans, every)
        rate = np.nan_to_num(rate)
        heat = spread(low, high, rate, line=np.zeros(len(low), np.int64), lines=1, edges=edges)[0]
        wanted = hottest(heat, edges)
        first, beyond = every.position(np.array(self._hottest)).tolist()
        inside = heat[(edges[:-1] >= first) & (edges[1:] <= beyond)].sum()
        enough = inside >= _NEARLY_ALL * heat.sum()
        if enough and 0 < beyond - first <= _TOO_WIDE * (wanted[1] - wanted[0]):
            return first, beyond
        last = np.array([wanted[0], max(wanted[0], wanted[1] - 1)])
        start, end = every.address(last).tolist()
        self._hottest = (start, end + 1)
        return wanted


def frames_at(
    frames: Sequence[Frame], columns: int, end_ns: int, column_ns: int
) -> tuple[list[Frame | None], NDArray[np.int64]]:
    """The frame of each column, if any, and the times that bound the columns."""
    if not frames:
        return [None] * columns, np.zeros(columns + 1, np.int64)
    first_ns = frames[0].start_ns
    last = first_ns + -(-(end_ns - first_ns) // column_ns) * column_ns
    edges = last - column_ns * np.arange(columns, -1, -1)
    starts = np.array([frame.start_ns for frame in frames])
    ends = np.array([frame.end_ns for frame in frames])
    # The last column is not over yet: its middle may still be to come.
    middle = np.where(edges[:-1] < end_ns, np.minimum(edges[:-1] + column_ns // 2, end_ns - 1), -1)
    index = np.searchsorted(ends, middle, side="right")
    inside = (index < len(frames)) & (middle >= first_ns)
    inside[inside] = starts[index[inside]] <= middle[inside]
    return [
        frames[i] if known else None
        for i, known in zip(index.tolist(), inside.tolist(), strict=True)
    ], edges


def _placed(
    spans: Sequence[RateSpans], axis: AddressAxis
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Where spans begin and end on an axis, and their rates."""
    return (
        axis.position(np.concatenate([one.start for one in spans])),
        axis.position(np.concatenate([one.end for one in spans])),
        np.concatenate([one.rate for one in spans]).astype(np.float64),
    )


def _rates(
    spans: Sequence[RateSpans], axis: AddressAxis, row_edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The mean rate in each row for each of several lists of spans: shape (lists, rows).

    And of which rows nobody had looked at more than a half, of the same shape.
    """
    low, high, rate = _placed(spans, axis)
    line = np.repeat(np.arange(len(spans)), [len(one) for one in spans])

    def filled(weight: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return spread(low, high, weight, line=line, lines=len(spans), edges=row_edges)

    hidden = np.isnan(rate)
    heat, known = filled(np.where(hidden, 0, rate)), filled(None)
    unseen = filled(hidden.astype(np.float64)) if hidden.any() else np.zeros_like(known)
    is_unseen = unseen > known / 2
    rates = np.full(heat.shape, np.nan)
    is_known = (known > row_edges[1] * 1e-9) & ~is_unseen
    np.divide(heat, known - unseen, out=rates, where=is_known)
    clipped: NDArray[np.float64] = np.clip(np.round(rates, 6), 0, 1)
    return clipped, is_unseen


def _row_names(
    spans: RateSpans, names: Sequence[str], axis: AddressAxis, row_edges: NDArray[np.float64]
) -> tuple[str, ...]:
    """The name of the mapping that fills most of each row; "" where none does."""
    low, high, _ = _placed([spans], axis)
    filled = spread(
        low, high, None, line=spans.name.astype(np.int64), lines=len(names), edges=row_edges
    )
    most = filled.argmax(axis=0).tolist()
    return tuple(names[code] if filled[code, row] > 0 else "" for row, code in enumerate(most))
