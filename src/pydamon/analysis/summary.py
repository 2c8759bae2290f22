"""What a recording says in a few numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from pydamon.analysis.courses import TimeSeriesFold, touched, unseen
from pydamon.analysis.folding import fold_some
from pydamon.analysis.mappings import Bytes, MappingHeat, MappingSums
from pydamon.analysis.workingset import WorkingSet
from pydamon.core.snapshot import Target
from pydamon.recording import Recorded, Recording

__all__ = ["MonitorCost", "Summaries", "Summary", "summary"]


@dataclass(frozen=True, slots=True)
class MonitorCost:
    """What monitoring cost.

    `cpu_ns` is CPU time of the monitor, and `cpu_share` the same as a share of the time recorded (1
    is one CPU); `interruption_share` is an upper estimate of what the target's threads lost to it.
    `sampling_ns` is the median of the intervals used, `named_sampling_ns` the one at the start.
    """

    cpu_ns: int
    cpu_share: float
    interruption_share: float
    late_ticks: int
    sampling_ns: int
    named_sampling_ns: int


@dataclass(frozen=True)
class Summary:
    """A recording in a few numbers. `mappings` are sorted from the most hot bytes to the fewest.

    It begins at `began_ns` (Unix time), with its first snapshot. `size` is of all targets together:
    memory that several share counts once there.
    """

    targets: tuple[Target, ...]
    snapshots: int
    began_ns: int
    duration_ns: int
    idle_ns: int
    size: Bytes
    working_set: WorkingSet
    mappings: tuple[MappingHeat, ...]
    cost: MonitorCost


def summary(recording: Recorded, idle_ns: int | None = None) -> Summary:
    """The recording in a few numbers.

    *idle_ns* is for how long memory must not have been accessed to be idle; by default a round
    number of seconds that the recording is at least twice as long as. Raises `RecordingError`
    where there are no snapshots.
    """
    return Summaries(recording, idle_ns).summary()


class Summaries:
    """What summaries of a recording are made of, which differ in what they take for idle."""

    def __init__(self, recorded: Recorded, idle_ns: int | None = None) -> None:
        self._courses, self._sums, self._costs = (
            TimeSeriesFold(touched, unseen),
            MappingSums(idle_ns),
            _Costs(),
        )
        self._outline = fold_some(recorded, self._courses, self._sums, self._costs)
        self._named_sampling_ns = recorded.info.attrs.sampling_ns
        self.idle_ns = self._sums.default_idle_ns(self._outline)

    def summary(self, idle_ns: int | None = None) -> Summary:
        """One, of which *idle_ns* is the default or a shorter one of these."""
        idle_ns = self.idle_ns if idle_ns is None else idle_ns
        outline = self._outline
        found = self._sums.mappings(outline, idle_ns)
        used = WorkingSet.of(self._courses)
        return Summary(
            outline.targets,
            len(used.total.end_ns),
            outline.begin_ns,
            outline.duration_ns,
            idle_ns,
            self._sums.together(outline, idle_ns),
            used,
            found,
            self._costs.cost(outline.recorded_ns, self._named_sampling_ns),
        )


class _Costs:
    def __init__(self) -> None:
        self._sums = np.zeros(3, np.int64)
        self._samplings: Counter[int] = Counter()

    def add(self, part: Recording) -> None:
        names = ("cpu_ns", "interruption_ns", "late_ticks")
        self._sums += [part.of_snapshots(name).sum(dtype=np.int64) for name in names]
        self._samplings.update(part.of_snapshots("sampling_ns").tolist())

    def cost(self, recorded_ns: float, named_sampling_ns: int) -> MonitorCost:
        cpu_ns, interruption_ns, late_ticks = self._sums.tolist()
        values, counts = np.array(sorted(self._samplings.items())).T
        median = values[np.searchsorted(np.cumsum(counts), counts.sum() / 2)]
        return MonitorCost(
            cpu_ns,
            cpu_ns / recorded_ns,
            interruption_ns / recorded_ns,
            late_ticks,
            int(median),
            named_sampling_ns,
        )
