"""What a recording says in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.temperature import HOT_RATE
from pydamon.analysis.workingset import WorkingSet, working_set
from pydamon.core.errors import RecordingError
from pydamon.core.snapshot import Target
from pydamon.recording import Recording

__all__ = ["Bytes", "MappingHeat", "MonitorCost", "Summary", "summary"]

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


@dataclass(frozen=True, slots=True)
class MonitorCost:
    """What monitoring cost.

    `cpu_share` is CPU time of the monitor, `interruption_share` an upper estimate of what the
    target's threads lost to it, both as shares of the time recorded (1 is one CPU). `sampling_ns`
    is the median of the intervals used, `named_sampling_ns` the one at the start.
    """

    cpu_share: float
    interruption_share: float
    late_ticks: int
    sampling_ns: int
    named_sampling_ns: int


@dataclass(frozen=True)
class Summary:
    """A recording in a few numbers. `mappings` are sorted from the most hot bytes to the fewest."""

    targets: tuple[Target, ...]
    snapshots: int
    duration_ns: int
    idle_ns: int
    size: Bytes
    working_set: WorkingSet
    mappings: tuple[MappingHeat, ...]
    cost: MonitorCost


def summary(recording: Recording, idle_ns: int | None = None) -> Summary:
    """The recording in a few numbers.

    *idle_ns* is for how long memory must not have been accessed to be idle; by default a round
    number of seconds that the recording is at least twice as long as. Raises `RecordingError`
    where there are no snapshots.
    """
    if len(recording) == 0:
        raise RecordingError("the recording has no snapshots")
    start_ns, end_ns = recording.of_snapshots("start_ns"), recording.of_snapshots("end_ns")
    window_ns = (end_ns - start_ns).astype(np.float64)
    duration_ns = int(end_ns.max()) - int(start_ns.min())
    if idle_ns is None:
        fitting = [s for s in _IDLE_S if 2 * s * 10**9 <= duration_ns]
        idle_ns = (fitting[-1] if fitting else _IDLE_S[0]) * 10**9
    weight = window_ns / window_ns.sum() if window_ns.any() else window_ns + 1 / len(window_ns)
    mappings = _mappings(recording, np.maximum(window_ns, 1), weight, idle_ns)
    parts = np.array([_parts(one.size) for one in mappings])
    return Summary(
        recording.targets,
        len(recording),
        duration_ns,
        idle_ns,
        Bytes(*parts.sum(axis=0).tolist()),
        working_set(recording),
        mappings,
        _cost(recording, max(1.0, float(window_ns.sum()))),
    )


def _parts(size: Bytes) -> tuple[float, ...]:
    return (size.total, size.hot, size.warm, size.cold, size.idle, size.unobservable)


def _mappings(
    recording: Recording,
    window_ns: NDArray[np.float64],
    weight: NDArray[np.float64],
    idle_ns: int,
) -> tuple[MappingHeat, ...]:
    names = recording.names("mapping")
    lengths = np.diff(recording.snapshot_offsets)
    key = recording.column("pid").astype(np.int64) * len(names) + recording.codes("mapping")
    keys, place = np.unique(key, return_inverse=True)
    rate = recording.column("nr_accesses") / recording.column("max_nr_accesses")
    age_ns = recording.column("age") * np.repeat(window_ns, lengths)
    unobservable = recording.column("unobservable_bytes")
    weights = np.repeat(weight, lengths)
    total = (recording.column("end") - recording.column("start")) * weights
    seen = total - unobservable * weights

    def sums(values: NDArray[np.float64]) -> list[float]:
        found: list[float] = np.bincount(place, values, len(keys)).tolist()
        return found

    columns = (
        sums(total),
        sums(np.where(rate >= HOT_RATE, seen, 0)),
        sums(np.where((rate > 0) & (rate < HOT_RATE), seen, 0)),
        sums(np.where(rate == 0, seen, 0)),
        sums(np.where((rate == 0) & (age_ns >= idle_ns), seen, 0)),
        sums(unobservable * weights),
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
        for k, size, heat in zip(keys, sizes, sums(total * rate), strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-one.size.hot, -one.rate, -one.size.total)))


def _cost(recording: Recording, recorded_ns: float) -> MonitorCost:
    def total(name: str) -> int:
        return int(recording.of_snapshots(name).sum(dtype=np.int64))

    return MonitorCost(
        total("cpu_ns") / recorded_ns,
        total("interruption_ns") / recorded_ns,
        total("late_ticks"),
        int(np.median(recording.of_snapshots("sampling_ns"))),
        recording.info.attrs.sampling_ns,
    )
