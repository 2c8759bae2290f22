"""Facts about processes and cgroups that change early in their life, and hardly ever later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["Remembered"]

K = TypeVar("K")
V = TypeVar("V")

_MOST_S = 30.0


class Remembered(Generic[K, V]):
    """Reads a value for each key, and again after a while: twice as long after each reading.

    A process calls exec and enters its cgroup right after it starts, and the files that name a
    container may be written after its cgroup. A pid that another process has taken within
    *most_s* keeps the value of its predecessor until then.
    """

    def __init__(
        self,
        read: Callable[[K], V],
        *,
        most_s: float = _MOST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._most_s = most_s
        self._clock = clock
        self._rows: dict[K, tuple[V, float, float]] = {}
        """The value of each key, when it was first read, and until when it holds."""

    def of(self, keys: Iterable[K]) -> dict[K, V]:
        """The values of these keys; all others are forgotten."""
        rows = {key: self._row(key) for key in keys}
        self._rows = rows
        return {key: row[0] for key, row in rows.items()}

    def _row(self, key: K) -> tuple[V, float, float]:
        now_s = self._clock()
        row = self._rows.get(key)
        if row is not None and now_s < row[2]:
            return row
        first_s = now_s if row is None else row[1]
        return self._read(key), first_s, now_s + min(now_s - first_s, self._most_s)
