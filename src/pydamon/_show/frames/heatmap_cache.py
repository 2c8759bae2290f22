"""Heat maps of frames, one after the other, which reuse the columns that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis import AddressAxis, HeatMap
from pydamon._data.analysis.axis import spread
from pydamon._data.analysis.heat import Range, hottest
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.snapshot import Target
from pydamon._show.frames.frame import Frame
from pydamon._show.frames.spans import RateSpans

__all__ = ["HeatMapCache", "frames_at"]

_FINE = 4096
"""Cells in which to look for the hottest addresses."""
_NEARLY_ALL = 0.95
_TOO_WIDE = 2.0
_NEGLIGIBLE = 1e-9

_Column = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""The rates of a frame by row, and which rows no probe had looked at yet."""


@dataclass(frozen=True)
class _Part:
    """The addresses that are drawn: the positions `low` to `high` of the axis `whole`."""

    whole: AddressAxis
    low: int
    high: int


class HeatMapCache:
    """Renders heat maps of a target, computing only the columns that it has not rendered before.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> from pydamon.live import History
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> history, cache = History(), HeatMapCache()
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
    ...     for snapshot in mon.run("8s"):
    ...         history.add(snapshot)
    >>> frames = history.frames()
    >>> heatmap = cache.render(
    ...     frames, frames[-1].targets[0], rows=4, columns=8,
    ...     end_ns=frames[-1].end_ns, column_ns=10**9, addresses="all",
    ... )
    >>> heatmap.rates.shape
    (4, 8)
    """

    def __init__(self) -> None:
        self._target: Target | None = None
        self._axis = AddressAxis(np.empty((0, 2), np.int64))
        self._part = _Part(self._axis, 0, 0)
        self._columns: dict[Frame, _Column] = {}
        self._hottest = (0, 0)

    def render(
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
        """The heat map of a target up to a time.

        Parameters
        ----------
        frames
            What there is to show, in the order of time.
        target
            Whose memory to show.
        rows, columns
            The size of the heat map.
        end_ns, column_ns
            The time at its right edge (Unix time), and how long a column is. A column shows the
            frame in its middle; columns begin at multiples of *column_ns* from the first frame
            on, so that they stay the same while time goes on.
        addresses
            `"all"`, `"hottest"` or a range. `"hottest"` stays where it is for as long as it holds
            nearly all accesses, and not much else.

        Returns
        -------
        HeatMap or None
            `None` where the target has no memory at these addresses and times.
        """
        shown, edges = frames_at(frames, columns, end_ns, column_ns)
        spans = {frame: frame.spans_of(target) for frame in dict.fromkeys(shown) if frame}
        spans = {frame: part for frame, part in spans.items() if len(part)}
        if not spans:
            return None
        self._choose(target)
        part = self._part_of(list(spans.values()), addresses)
        if part.low >= part.high:
            return None
        self._part = part
        row_edges = np.linspace(0, part.high - part.low, rows + 1)
        self._update(spans, part.whole.part(part.low, part.high), row_edges)
        nothing = np.full(rows, np.nan), np.zeros(rows, np.bool_)
        cells = [self._columns.get(frame, nothing) if frame else nothing for frame in shown]
        newest = next(reversed(spans))
        return HeatMap(
            target,
            np.stack([rates for rates, _ in cells], axis=1),
            self._axis,
            row_edges,
            edges,
            _row_names(spans[newest], newest.names, self._axis, row_edges),
            part.whole.length - (part.high - part.low),
            unseen=np.stack([unseen for _, unseen in cells], axis=1),
        )

    def beside(self, share: float) -> tuple[tuple[int, int], float]:
        """The range beside the last heat map, with as many addresses.

        Parameters
        ----------
        share
            How far away, as a share of the heat map; negative is towards lower addresses.

        Returns
        -------
        tuple
            The range of addresses, and the share by which it really moved: at the ends of the
            memory it is less.
        """
        low, high, whole = self._part.low, self._part.high, self._part.whole
        pages = round(share * (high - low)) // SMALLEST_PAGE
        by = min(max(pages * SMALLEST_PAGE, -low), whole.length - high)
        last = np.array([low + by, high + by - 1])
        start, end = whole.address(last).tolist() if high > low else (0, -1)
        return (start, end + 1), by / max(1, high - low)

    def _choose(self, target: Target) -> None:
        """Forget the hottest addresses of another target."""
        if self._target is None or target.key != self._target.key:
            self._target, self._hottest = target, (0, 0)

    def _part_of(self, spans: Sequence[RateSpans], addresses: Range) -> _Part:
        """The axis of all spans, and which part of it is asked for."""
        starts, ends = zip(*(part.blocks() for part in spans), strict=True)
        whole = AddressAxis.covering(np.concatenate(starts), np.concatenate(ends))
        if addresses == "all":
            return _Part(whole, 0, whole.length)
        if addresses == "hottest":
            return _Part(whole, *self._follow(whole, spans))
        return _Part(whole, *whole.position(np.array(addresses)).tolist())

    def _update(
        self,
        spans: dict[Frame, RateSpans],
        axis: AddressAxis,
        row_edges: NDArray[np.float64],
    ) -> None:
        """Compute the missing columns; forget the columns of frames that are not shown."""
        rows = len(row_edges) - 1
        kept_rows = next((len(rates) for rates, _ in self._columns.values()), rows)
        if kept_rows != rows or not np.array_equal(axis.segments, self._axis.segments):
            self._columns = {}
        self._axis = axis
        missing = [frame for frame in spans if frame not in self._columns]
        if missing:
            columns = _columns([spans[frame] for frame in missing], axis, row_edges)
            self._columns |= zip(missing, columns, strict=True)
        self._columns = {frame: self._columns[frame] for frame in spans}

    def _follow(self, whole: AddressAxis, spans: Sequence[RateSpans]) -> tuple[int, int]:
        """The positions between which nearly all accesses are."""
        edges = np.linspace(0, whole.length, min(_FINE, whole.length) + 1)
        low, high, rate = _placed(spans, whole)
        rate = np.nan_to_num(rate)
        heat = spread(low, high, rate, line=np.zeros(len(low), np.int64), lines=1, edges=edges)[0]
        wanted = hottest(heat, edges)
        first, beyond = whole.position(np.array(self._hottest)).tolist()
        inside = heat[(edges[:-1] >= first) & (edges[1:] <= beyond)].sum()
        enough = inside >= _NEARLY_ALL * heat.sum()
        if enough and 0 < beyond - first <= _TOO_WIDE * (wanted[1] - wanted[0]):
            return first, beyond
        last = np.array([wanted[0], max(wanted[0], wanted[1] - 1)])
        start, end = whole.address(last).tolist()
        self._hottest = (start, end + 1)
        return wanted


def frames_at(
    frames: Sequence[Frame], columns: int, end_ns: int, column_ns: int
) -> tuple[list[Frame | None], NDArray[np.int64]]:
    """The frame of each column of a heat map.

    Parameters
    ----------
    frames
        In the order of time.
    columns, end_ns, column_ns
        As in `HeatMapCache.render`.

    Returns
    -------
    tuple
        A frame for each column, `None` where there is none, and the times that bound the columns.

    Examples
    --------
    >>> shown, edges = frames_at([], 2, end_ns=0, column_ns=10**9)
    >>> shown, edges.tolist()
    ([None, None], [0, 0, 0])
    """
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
    shown = zip(index.tolist(), inside.tolist(), strict=True)
    return [frames[i] if known else None for i, known in shown], edges


def _placed(
    spans: Sequence[RateSpans], axis: AddressAxis
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Where spans begin and end on an axis, and their rates."""
    return (
        axis.position(np.concatenate([part.start for part in spans])),
        axis.position(np.concatenate([part.end for part in spans])),
        np.concatenate([part.rate for part in spans]).astype(np.float64),
    )


def _columns(
    spans: Sequence[RateSpans], axis: AddressAxis, row_edges: NDArray[np.float64]
) -> list[_Column]:
    """A column for each list of spans: the mean rate in each row, and which rows are unseen."""
    low, high, rate = _placed(spans, axis)
    line = np.repeat(np.arange(len(spans)), [len(part) for part in spans])

    def filled(weight: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return spread(low, high, weight, line=line, lines=len(spans), edges=row_edges)

    hidden = np.isnan(rate)
    heat, known = filled(np.where(hidden, 0, rate)), filled(None)
    unseen = filled(hidden.astype(np.float64)) if hidden.any() else np.zeros_like(known)
    is_unseen = unseen > known / 2
    rates = np.full(heat.shape, np.nan)
    is_known = (known > row_edges[1] * _NEGLIGIBLE) & ~is_unseen
    np.divide(heat, known - unseen, out=rates, where=is_known)
    return list(zip(np.clip(np.round(rates, 6), 0, 1), is_unseen, strict=True))


def _row_names(
    spans: RateSpans, names: Sequence[str], axis: AddressAxis, row_edges: NDArray[np.float64]
) -> tuple[str, ...]:
    """The name of the mapping that fills most of each row; "" for rows without one."""
    low, high, _ = _placed([spans], axis)
    filled = spread(
        low, high, None, line=spans.name.astype(np.int64), lines=len(names), edges=row_edges
    )
    most = filled.argmax(axis=0).tolist()
    return tuple(names[code] if filled[code, row] > 0 else "" for row, code in enumerate(most))
