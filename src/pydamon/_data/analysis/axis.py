"""An address axis without the gaps between mappings, and the regions on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording.recording import Recording
from pydamon._model.classify import UNKNOWN
from pydamon._model.ranges import EMPTY, address_at, bytes_below, size_of, union
from pydamon._model.regions import Ranges
from pydamon._model.runs import Runs, running_total

__all__ = [
    "SURVEY_WINDOWS",
    "AddressAxis",
    "AxisSpans",
    "Blocks",
    "blocks_of",
    "spans_of",
    "spread",
]

SURVEY_WINDOWS = 4
"""A survey takes at most so many windows of the snapshot behind it; on busy machines up to 3.6."""


@dataclass(frozen=True)
class AddressAxis:
    """Segments of an address space put end to end: a position on the axis counts bytes from 0.

    Parameters
    ----------
    segments
        Address ranges in bytes, half open, sorted, without overlap: shape (n, 2).

    Examples
    --------
    >>> import numpy as np
    >>> from pydamon.analysis import AddressAxis
    >>> axis = AddressAxis(np.array([[0x1000, 0x3000], [0x8000, 0x9000]]))
    >>> axis.length
    12288
    >>> axis.position(np.array([0x8000])).tolist()
    [8192]
    >>> axis.address(np.array([8192])).tolist() == [0x8000]
    True
    """

    segments: Ranges

    @classmethod
    def covering(cls, start: NDArray[np.int64], end: NDArray[np.int64]) -> AddressAxis:
        """Return the axis of all addresses in some ranges, in any order; they may overlap."""
        return cls(union(np.column_stack([start, end])) if len(start) else EMPTY)

    @property
    def length(self) -> int:
        """Bytes of all segments together."""
        return size_of(self.segments)

    @property
    def begins(self) -> NDArray[np.int64]:
        """The position at which each segment begins: shape (n,)."""
        begins: NDArray[np.int64] = running_total(self.segments[:, 1] - self.segments[:, 0])[:-1]
        return begins

    def position(self, address: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of addresses; in a gap, where the next segment begins."""
        return bytes_below(self.segments, address)

    def address(self, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the addresses at positions; at the end of a segment, where the next begins."""
        return address_at(self.segments, position)

    def part(self, low: int, high: int) -> AddressAxis:
        """Return the part of the axis between two positions."""
        begins = self.begins
        size = self.segments[:, 1] - self.segments[:, 0]
        start = self.segments[:, 0] + np.clip(low - begins, 0, size)
        end = self.segments[:, 0] + np.clip(high - begins, 0, size)
        return AddressAxis(np.column_stack([start, end])[start < end])


@dataclass(frozen=True)
class Blocks:
    """Regions side by side taken together: the first of each block, its start and its end."""

    heads: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]


def blocks_of(recording: Recording) -> Blocks:
    """The blocks of each target of each snapshot."""
    start, end = recording.column("start"), recording.column("end")
    apart = start[1:] != end[:-1]
    begins = recording.target_offsets[1:-1]
    apart[begins[(begins > 0) & (begins < len(start))] - 1] = True
    runs = Runs.split(apart, len(start))
    return Blocks(runs.heads, start[runs.heads], end[runs.tails])


@dataclass(frozen=True)
class AxisSpans:
    """The regions of one target in a row of snapshots, by their position on an axis.

    `low`, `high` (bytes on the axis), `rate` (0 to 1), `mapping` and `unseen` (the share that
    no probe had looked at yet, 0 to 1) have one entry a region, `start_ns` and `end_ns` one a
    snapshot. Snapshot i has the regions from `offsets[i]` to before `offsets[i + 1]`.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    rate: NDArray[np.float64]
    mapping: NDArray[np.int32]
    offsets: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    unseen: NDArray[np.float64]

    def between(self, low: int, high: int) -> AxisSpans:
        """The regions on the part of the axis between two positions; others become empty."""
        return AxisSpans(
            np.clip(self.low, low, high) - low,
            np.clip(self.high, low, high) - low,
            self.rate,
            self.mapping,
            self.offsets,
            self.start_ns,
            self.end_ns,
            self.unseen,
        )

    def chunks(self, snapshots: int) -> Iterator[AxisSpans]:
        """The same regions, so many snapshots at a time."""
        for first in range(0, len(self.start_ns), snapshots):
            offsets = self.offsets[first : first + snapshots + 1]
            rows = slice(int(offsets[0]), int(offsets[-1]))
            yield AxisSpans(
                self.low[rows],
                self.high[rows],
                self.rate[rows],
                self.mapping[rows],
                offsets - offsets[0],
                self.start_ns[first : first + snapshots],
                self.end_ns[first : first + snapshots],
                self.unseen[rows],
            )

    def blocks(
        self, line: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Low and high of regions side by side taken together, and the line of each block.

        *line* has one entry a region; regions of different lines stay apart.
        """
        apart = (self.low[1:] != self.high[:-1]) | (line[1:] != line[:-1])
        runs = Runs.split(apart, len(self.low))
        return self.low[runs.heads], self.high[runs.tails], line[runs.heads]


def spans_of(recording: Recording, axis: AddressAxis, before_ns: int = 0) -> AxisSpans:
    """The regions of a single target on an axis; *before_ns* is when the snapshot before ended."""
    # Between two snapshots there may have been a survey: its time counts for the later of them.
    start_ns, end_ns = recording.per_snapshot("start_ns"), recording.per_snapshot("end_ns")
    ended_ns = np.append(before_ns, end_ns[:-1])
    pause_ns = start_ns - ended_ns
    surveyed = (pause_ns > 0) & (pause_ns <= SURVEY_WINDOWS * (end_ns - start_ns))
    start, end = recording.column("start"), recording.column("end")
    # Blocks are few: only their positions are looked up.
    blocks = blocks_of(recording)
    shift = axis.position(blocks.start) - blocks.start
    shift = np.repeat(shift, np.diff(blocks.heads, append=len(start)))
    return AxisSpans(
        start + shift,
        end + shift,
        recording.access_share,
        recording.codes("mapping"),
        recording.snapshot_offsets,
        np.where(surveyed, ended_ns, start_ns),
        end_ns,
        _unseen_shares(recording),
    )


def _unseen_shares(recording: Recording) -> NDArray[np.float64]:
    """The share of each region that no probe had looked at yet."""
    unseen, resident = recording.column("unseen_bytes"), recording.column("resident_bytes")
    if not unseen.any():
        return np.zeros(len(unseen))
    size = recording.column("end") - recording.column("start")
    whole = np.where(resident == UNKNOWN, size, resident)
    return np.minimum(unseen / np.maximum(whole, 1), 1.0)


def spread(
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    *,
    line: NDArray[np.int64],
    lines: int,
    edges: NDArray[np.float64],
) -> NDArray[np.float64]:
    """How many bytes of equal cells spans fill, times their weight: shape (lines, cells).

    *low*, *high*, *weight* (1 if it is `None`) and *line* have one entry a span; *edges* bound the
    cells, from 0 on.
    """
    # A span is the difference of two spans that both reach to the end of the axis. Such a span
    # fills a share of the cell that it starts in, and all cells behind: two counts a span's end.
    cells = len(edges) - 1
    width = float(edges[-1]) / cells
    wide = cells + 1
    count = lines * wide
    filled, whole = np.zeros(count), np.zeros(count)
    for end, sign in ((low, 1.0), (high, -1.0)):
        position = end / width
        cell = position.astype(np.int64)
        share = cell + 1 - position
        if weight is not None:
            share *= weight
        cell += line * wide
        filled += sign * np.bincount(cell, share, count)
        whole += sign * np.bincount(cell, weight, count)
    behind = np.cumsum(whole.reshape(lines, wide), axis=1)
    total = filled.reshape(lines, wide)
    total[:, 1:] += behind[:, :-1]
    spread_bytes: NDArray[np.float64] = total[:, :-1] * width
    return spread_bytes
