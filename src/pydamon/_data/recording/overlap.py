"""Whether a target was recorded twice at the same time: then what is added up is not what was."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording.recording import Recording
from pydamon._data.recording.targets import TargetNumbers
from pydamon._model.names import printable

if TYPE_CHECKING:
    from pydamon._data.recording.recording import Recording

__all__ = ["Coverage", "Overlap"]

_PAUSE_WINDOWS = 8

"""Windows of a target follow one another with at most so many of their length in between."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """A target that has two windows at *time_ns*; `source` is where the first of them came from.

    They are the same where both sources begin with the same window.
    """

    target: str
    time_ns: int
    source: int
    same: bool

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.time_ns / 1e9).astimezone()
        return f"{self.target} is in it twice at {at:%Y-%m-%d %H:%M:%S.%f}"


class Coverage:
    """When each target was recorded, in stretches of windows that follow one another.

    `source` numbers what is put together: recordings, say.
    """

    def __init__(self) -> None:
        self._numbers = TargetNumbers()
        self._stretches: dict[int, list[tuple[int, int, int]]] = {}
        """Of each target: start, end and source, sorted."""

    def add(self, part: Recording, source: int = 0) -> Overlap | None:
        """Take the windows of a part; the first that overlaps with what was there, if any does."""
        found: Overlap | None = None
        for number, start_ns, end_ns, within, usual_ns in self._pieces(part):
            mine = self._stretches.setdefault(number, [])
            place = bisect_left(mine, (start_ns, end_ns, source))
            for low, high, other in mine[max(0, place - 1) : place + 1]:
                shared_ns = min(end_ns, high) - max(start_ns, low)
                if shared_ns > usual_ns // 2 and found is None:
                    same = start_ns == low
                    found = self._overlap(number, max(start_ns, low), other, same=same)
            if within >= 0 and found is None:
                found = self._overlap(number, within, source, same=False)
            before = mine[place - 1] if place else None
            if before and before[2] == source and start_ns - before[1] <= _PAUSE_WINDOWS * usual_ns:
                mine[place - 1] = before[0], max(before[1], end_ns), source
            else:
                insort(mine, (start_ns, end_ns, source))
        return found

    def _pieces(self, part: Recording) -> Iterator[tuple[int, int, int, int, int]]:
        """Stretches of a part: target, start, end, when one overlaps itself, and usual window."""
        target = self._numbers.of_parts(part)
        start_ns, end_ns = part.of_parts("start_ns"), part.of_parts("end_ns")
        if len(target) == 0:
            return
        order = np.lexsort((start_ns, target))
        target, start_ns, end_ns = target[order], start_ns[order], end_ns[order]
        length_ns = end_ns - start_ns
        same = target[1:] == target[:-1]
        shorter_ns = np.minimum(length_ns[1:], length_ns[:-1])
        shared_ns = np.minimum(end_ns[1:], end_ns[:-1]) - start_ns[1:]
        twice = np.append(False, same & (shared_ns > shorter_ns // 2) & (shared_ns > 0))
        longer_ns = np.maximum(length_ns[1:], length_ns[:-1])
        pause_ns = start_ns[1:] - end_ns[:-1]
        apart = ~same | (pause_ns // _PAUSE_WINDOWS > longer_ns)
        heads = np.flatnonzero(np.append(True, apart))
        bounds = np.append(heads, len(target))
        columns = (
            target[heads],
            start_ns[heads],
            np.maximum.reduceat(end_ns, heads),
            _first_time(twice, start_ns, bounds),
            np.maximum.reduceat(length_ns, heads),
        )
        yield from zip(*(column.tolist() for column in columns), strict=True)

    def _overlap(self, number: int, time_ns: int, source: int, *, same: bool) -> Overlap:
        target = self._numbers.targets[number]
        name = printable(target.name)
        label = f"{name} (pid {target.pid})" if target.pid else name or "a target"
        label = f"{label} on {printable(target.host)}" if target.host else label
        return Overlap(label, time_ns, source, same)


def _first_time(
    twice: NDArray[np.bool_], start_ns: NDArray[np.int64], bounds: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The first time in each stretch at which something is there twice; -1 for none."""
    times = np.where(twice, start_ns, np.iinfo(np.int64).max)
    first = np.minimum.reduceat(times, bounds[:-1])
    return np.where(first == np.iinfo(np.int64).max, -1, first)
