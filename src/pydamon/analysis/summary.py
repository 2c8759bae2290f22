"""What a recording says in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydamon.analysis.mappings import Bytes, MappingHeat, default_idle_ns, mappings, together
from pydamon.analysis.workingset import WorkingSet, working_set
from pydamon.core.errors import RecordingError
from pydamon.core.snapshot import Target
from pydamon.recording import Recording

__all__ = ["MonitorCost", "Summary", "summary"]


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
    duration_ns = int(end_ns.max()) - int(start_ns.min())
    idle_ns = default_idle_ns(duration_ns) if idle_ns is None else idle_ns
    found = mappings(recording, idle_ns)
    return Summary(
        recording.targets,
        len(recording),
        duration_ns,
        idle_ns,
        together(found)[0],
        working_set(recording),
        found,
        _cost(recording, max(1.0, float((end_ns - start_ns).sum()))),
    )


def _cost(recording: Recording, recorded_ns: float) -> MonitorCost:
    def added(name: str) -> int:
        return int(recording.of_snapshots(name).sum(dtype=np.int64))

    return MonitorCost(
        added("cpu_ns") / recorded_ns,
        added("interruption_ns") / recorded_ns,
        added("late_ticks"),
        int(np.median(recording.of_snapshots("sampling_ns"))),
        recording.info.attrs.sampling_ns,
    )
