"""Hot and cold bytes by what is mapped: files, the heap, stacks, named memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.temperature import HOT_RATE
from pydamon.core.errors import RecordingError
from pydamon.core.snapshot import Target
from pydamon.recording import Recording

__all__ = [
    "Bytes",
    "MappingHeat",
    "default_idle_ns",
    "kind_of",
    "mappings",
    "snapshot_weights",
    "together",
]

_IDLE_S = (1, 2, 5, 10, 30, 60)


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


def mappings(recording: Recording, idle_ns: int | None = None) -> tuple[MappingHeat, ...]:
    """The mappings of every target, added up by name, from the most hot bytes to the fewest.

    *idle_ns* is for how long memory must not have been accessed to be idle; by default a round
    number of seconds that the recording is at least twice as long as. Raises `RecordingError`
    where there are no snapshots.
    """
    if len(recording) == 0:
        raise RecordingError("the recording has no snapshots")
    start_ns, end_ns = recording.of_snapshots("start_ns"), recording.of_snapshots("end_ns")
    if idle_ns is None:
        idle_ns = default_idle_ns(int(end_ns.max()) - int(start_ns.min()))
    names = recording.names("mapping")
    lengths = np.diff(recording.snapshot_offsets)
    key = recording.column("pid").astype(np.int64) * len(names) + recording.codes("mapping")
    keys, place = np.unique(key, return_inverse=True)
    rate = recording.column("nr_accesses") / recording.column("max_nr_accesses")
    age_ns = recording.column("age") * np.repeat(np.maximum(end_ns - start_ns, 1), lengths)
    weights = np.repeat(snapshot_weights(recording), lengths)
    size = (recording.column("end") - recording.column("start")) * weights
    unobservable = recording.column("unobservable_bytes") * weights
    seen = size - unobservable

    def sums(values: NDArray[np.float64]) -> list[float]:
        found: list[float] = np.bincount(place, values, len(keys)).tolist()
        return found

    columns = (
        sums(size),
        sums(np.where(rate >= HOT_RATE, seen, 0)),
        sums(np.where((rate > 0) & (rate < HOT_RATE), seen, 0)),
        sums(np.where(rate == 0, seen, 0)),
        sums(np.where((rate == 0) & (age_ns >= idle_ns), seen, 0)),
        sums(unobservable),
    )
    sizes = [Bytes(*values) for values in zip(*columns, strict=True)]
    targets = {target.pid: target for target in recording.targets}
    found = [
        MappingHeat(
            targets[int(k) // len(names)],
            names[int(k) % len(names)],
            size,
            heat / size.total if size.total else 0.0,
        )
        for k, size, heat in zip(keys, sizes, sums(size * rate), strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-one.size.hot, -one.rate, -one.size.total)))


def snapshot_weights(recording: Recording) -> NDArray[np.float64]:
    """The share of each snapshot in the time that was watched: shape (snapshots,), sum 1."""
    window_ns = recording.of_snapshots("end_ns") - recording.of_snapshots("start_ns")
    if not window_ns.any():
        return np.full(len(window_ns), 1 / max(1, len(window_ns)))
    weights: NDArray[np.float64] = window_ns / window_ns.sum()
    return weights


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


def default_idle_ns(duration_ns: int) -> int:
    """A round number of seconds that a recording of *duration_ns* is at least twice as long as."""
    fitting = [s for s in _IDLE_S if 2 * s * 10**9 <= duration_ns]
    return (fitting[-1] if fitting else _IDLE_S[0]) * 10**9


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
