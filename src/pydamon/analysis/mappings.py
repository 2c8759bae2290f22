"""Hot and cold bytes by what is mapped: files, the heap, stacks, named memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.folding import Outline, fold_some, row_weights
from pydamon.analysis.temperature import HOT_RATE
from pydamon.core.snapshot import Target
from pydamon.recording import Recorded, Recording

__all__ = ["Bytes", "MappingHeat", "MappingSums", "kind_of", "mappings", "together"]

_IDLE_NS = tuple(s * 10**9 for s in (1, 2, 5, 10, 30, 60))
_FIXED = 5
"""Columns of `MappingSums` before those of cold bytes by age."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Monitored bytes by how hot they are; their mean over the time that was recorded.

    Hot is what at least half of the samples found accessed, warm what fewer did, cold what none
    did; `idle` is the part of `cold` that has not been accessed for `Summary.idle_ns`. What could
    not be observed is in none of those.
    """

    total: float
    hot: float
    warm: float
    cold: float
    idle: float
    unobservable: float


@dataclass(frozen=True, slots=True)
class MappingHeat:
    """All mappings of one name in one target: `rate` (0 to 1) is the mean access rate by size."""

    target: Target
    name: str
    size: Bytes
    rate: float

    @property
    def kind(self) -> str:
        """What it is: see `kind_of`."""
        return kind_of(self.name)


def mappings(recording: Recorded, idle_ns: int | None = None) -> tuple[MappingHeat, ...]:
    """The mappings of every target, added up by name, from the most hot bytes to the fewest.

    *idle_ns* is for how long memory must not have been accessed to be idle; by default a round
    number of seconds that the recording is at least twice as long as. Raises `RecordingError`
    where there are no snapshots.
    """
    sums = MappingSums(idle_ns)
    outline = fold_some(recording, sums)
    return sums.mappings(outline, sums.default_idle_ns(outline))


class MappingSums:
    """Bytes by mapping, times ns: a fold that keeps a row for each mapping of a target.

    What is idle is *idle_ns*, or one of several durations, of which one is chosen at the end.
    """

    def __init__(self, idle_ns: int | None = None) -> None:
        self._ages_ns = _IDLE_NS if idle_ns is None else (idle_ns,)
        self._sums: dict[tuple[int, str], NDArray[np.float64]] = {}

    def add(self, part: Recording) -> None:
        names = part.names("mapping")
        key = part.column("pid").astype(np.int64) * len(names) + part.codes("mapping")
        keys, place = np.unique(key, return_inverse=True)
        rate = part.column("nr_accesses") / part.column("max_nr_accesses")
        weight = row_weights(part)
        size = (part.column("end") - part.column("start")) * weight
        unobservable = part.column("unobservable_bytes") * weight
        seen = size - unobservable
        cold = rate == 0
        # How many of the ages it has reached, where it is cold.
        idle = np.searchsorted(self._ages_ns, part.column("age") * weight, side="right")
        classes = len(self._ages_ns) + 1
        rows = len(keys)
        cold_by_age = np.bincount(place * classes + idle, np.where(cold, seen, 0), rows * classes)

        def sums(values: NDArray[np.float64]) -> NDArray[Any]:
            return np.bincount(place, values, rows)

        table = np.column_stack(
            [
                sums(size),
                sums(np.where(rate >= HOT_RATE, seen, 0)),
                sums(np.where(cold | (rate >= HOT_RATE), 0, seen)),
                sums(unobservable),
                sums(size * rate),
                cold_by_age.reshape(rows, classes),
            ]
        )
        for number, row in zip(keys.tolist(), table, strict=True):
            pid, code = divmod(number, len(names))
            known = self._sums.get((pid, names[code]))
            self._sums[pid, names[code]] = row if known is None else known + row

    def default_idle_ns(self, outline: Outline) -> int:
        """The longest of the durations that the recording is at least twice as long as."""
        fitting = [age for age in self._ages_ns if 2 * age <= outline.duration_ns]
        return (fitting or self._ages_ns[:1])[-1]

    def mappings(self, outline: Outline, idle_ns: int) -> tuple[MappingHeat, ...]:
        """Their means, from the most hot bytes to the fewest."""
        at = _FIXED + 1 + self._ages_ns.index(idle_ns)
        recorded_ns = outline.recorded_ns
        found = []
        for (pid, name), sums in self._sums.items():
            means = sums / recorded_ns
            total, hot, warm, unobservable, heat = means[:_FIXED].tolist()
            cold, idle = float(means[_FIXED:].sum()), float(means[at:].sum())
            size = Bytes(total, hot, warm, cold, idle, unobservable)
            rate = heat / total if total else 0.0
            found.append(MappingHeat(outline.targets[pid], name, size, rate))
        return tuple(sorted(found, key=lambda one: (-one.size.hot, -one.rate, -one.size.total)))


def together(found: Collection[MappingHeat]) -> tuple[Bytes, float]:
    """The bytes of several mappings, and their mean access rate (0 to 1) by size."""
    sizes = [one.size for one in found]
    size = Bytes(
        sum(one.total for one in sizes),
        sum(one.hot for one in sizes),
        sum(one.warm for one in sizes),
        sum(one.cold for one in sizes),
        sum(one.idle for one in sizes),
        sum(one.unobservable for one in sizes),
    )
    heat = sum(one.rate * one.size.total for one in found)
    return size, heat / size.total if size.total else 0.0


def kind_of(name: str) -> str:
    """The kind of a mapping: heap, stack, anonymous, shared, file, named, or not mapped."""
    if not name:
        return "not mapped"
    if name.startswith("[stack"):
        return "stack"
    if name.startswith(("/dev/shm/", "/memfd:", "/SYSV", "/dev/zero", "[anon_shmem:")):
        return "shared"
    if name.startswith("/"):
        return "file"
    return {"[heap]": "heap", "[anon]": "anonymous"}.get(name, "named")
