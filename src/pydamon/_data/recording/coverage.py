"""The targets of a recording that comes in chunks: their numbers, and when each was recorded."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording.recording import Recording
from pydamon._data.recording.targets import without_single_host
from pydamon._model.display import printable
from pydamon._model.runs import Runs
from pydamon._model.snapshot import Target

__all__ = ["Coverage", "Overlap", "TargetNumbers"]

_PAUSE_WINDOWS = 8
"""Windows of a target are one stretch if the pause between them is at most so many windows."""
_NEVER = -1


class TargetNumbers:
    """Numbers targets in the order in which they appear in the chunks of a recording."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, int, int, str], int] = {}
        self._targets: list[Target] = []

    def __len__(self) -> int:
        return len(self._targets)

    def per_target(self, chunk: Recording) -> NDArray[np.int32]:
        """The number of each target of each snapshot of a chunk."""
        numbers = []
        for target in chunk.located_targets:
            number = self._numbers.setdefault(target.key, len(self._targets))
            if number == len(self._targets):
                self._targets.append(target)
            self._targets[number] = target
            numbers.append(number)
        per_target: NDArray[np.int32] = np.array(numbers, np.int32)[chunk.target_indices]
        return per_target

    def per_region(self, chunk: Recording) -> NDArray[np.int32]:
        """The number of each region's target: shape (rows,)."""
        return np.repeat(self.per_target(chunk), np.diff(chunk.target_offsets))

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets by number, with their last names, and their hosts if there are several."""
        return without_single_host(self._targets)


@dataclass(frozen=True, slots=True)
class Overlap:
    """A target that has two windows at *time_ns*.

    `source` is where the first of the two came from. `same` says that both sources begin with the
    same window.
    """

    target: str
    time_ns: int
    source: int
    same: bool

    def __str__(self) -> str:
        time = datetime.fromtimestamp(self.time_ns / 1e9).astimezone()
        return f"{self.target} is in it twice at {time:%Y-%m-%d %H:%M:%S.%f}"


class _Stretch(NamedTuple):
    """Windows of one target and source that follow one another."""

    start_ns: int
    end_ns: int
    source: int


class _Piece(NamedTuple):
    """A stretch of a chunk, and the first time at which it overlaps with itself, or `_NEVER`."""

    target: int
    start_ns: int
    end_ns: int
    twice_ns: int
    longest_window_ns: int


class Coverage:
    """Finds targets that were recorded twice at the same time.

    Sources are numbered: the recordings that are put together, say.
    """

    def __init__(self) -> None:
        self._numbers = TargetNumbers()
        self._stretches: dict[int, list[_Stretch]] = {}
        """Of each target, sorted."""

    def add(self, chunk: Recording, source: int = 0) -> Overlap | None:
        """Add the windows of a chunk; return its first overlap with earlier ones, if any."""
        first: Overlap | None = None
        for piece in self._pieces(chunk):
            stretches = self._stretches.setdefault(piece.target, [])
            place = bisect_left(stretches, (piece.start_ns, piece.end_ns, source))
            if first is None:
                first = self._overlap(piece, stretches[max(0, place - 1) : place + 1], source)
            before = stretches[place - 1] if place else None
            if before and before.source == source and _follows(before, piece):
                end_ns = max(before.end_ns, piece.end_ns)
                stretches[place - 1] = _Stretch(before.start_ns, end_ns, source)
            else:
                insort(stretches, _Stretch(piece.start_ns, piece.end_ns, source))
        return first

    def _overlap(self, piece: _Piece, neighbours: list[_Stretch], source: int) -> Overlap | None:
        """The overlap of a piece with a neighbour, or with itself."""
        for start_ns, end_ns, other in neighbours:
            shared_ns = min(piece.end_ns, end_ns) - max(piece.start_ns, start_ns)
            if shared_ns > piece.longest_window_ns // 2:
                time_ns = max(piece.start_ns, start_ns)
                same = piece.start_ns == start_ns
                return Overlap(self._label(piece.target), time_ns, other, same)
        if piece.twice_ns != _NEVER:
            return Overlap(self._label(piece.target), piece.twice_ns, source, same=False)
        return None

    def _pieces(self, chunk: Recording) -> Iterator[_Piece]:
        """The stretches of a chunk, target by target."""
        target = self._numbers.per_target(chunk)
        start_ns, end_ns = chunk.per_target("start_ns"), chunk.per_target("end_ns")
        if len(target) == 0:
            return
        order = np.lexsort((start_ns, target))
        target, start_ns, end_ns = target[order], start_ns[order], end_ns[order]
        length_ns = end_ns - start_ns
        is_same_target = target[1:] == target[:-1]
        shorter_ns = np.minimum(length_ns[1:], length_ns[:-1])
        shared_ns = np.minimum(end_ns[1:], end_ns[:-1]) - start_ns[1:]
        overlaps = is_same_target & (shared_ns > shorter_ns // 2) & (shared_ns > 0)
        longer_ns = np.maximum(length_ns[1:], length_ns[:-1])
        pause_ns = start_ns[1:] - end_ns[:-1]
        runs = Runs.split(~is_same_target | (pause_ns // _PAUSE_WINDOWS > longer_ns), len(target))
        columns = (
            target[runs.heads],
            start_ns[runs.heads],
            runs.max(end_ns),
            _first_times(np.append(False, overlaps), start_ns, runs),
            runs.max(length_ns),
        )
        yield from map(_Piece, *(column.tolist() for column in columns))

    def _label(self, number: int) -> str:
        target = self._numbers.targets[number]
        name = printable(target.name)
        label = f"{name} (pid {target.pid})" if target.pid else name or "a target"
        return f"{label} on {printable(target.host)}" if target.host else label


def _follows(stretch: _Stretch, piece: _Piece) -> bool:
    """Whether the pause between the two is short enough for one stretch."""
    return piece.start_ns - stretch.end_ns <= _PAUSE_WINDOWS * piece.longest_window_ns


def _first_times(
    overlaps: NDArray[np.bool_], start_ns: NDArray[np.int64], runs: Runs
) -> NDArray[np.int64]:
    """When the first window of each run begins that overlaps with its predecessor; or `_NEVER`."""
    latest = np.iinfo(np.int64).max
    first = runs.min(np.where(overlaps, start_ns, latest))
    return np.where(first == latest, _NEVER, first)
