"""What a recording says in a few numbers, and two recordings side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pydamon._data.analysis.folding import Outline, fold_some
from pydamon._data.analysis.mappings import Bytes, MappingHeat, Mappings, MappingSums, together
from pydamon._data.analysis.working_set import TimeSeriesFold, WorkingSet, touched, unseen
from pydamon._data.recording import Recorded, Recording, RecordingFile
from pydamon._data.recording.parts import DerivedFile
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError
from pydamon._model.names import printable
from pydamon._model.snapshot import Target
from pydamon._model.units import format_duration

__all__ = [
    "Diff",
    "MappingDiff",
    "MonitorCost",
    "Summaries",
    "Summary",
    "diff",
    "never_empty",
    "summary",
]

_SHOWN = 10


def never_empty(part: RecordingFile, whole: RecordingFile) -> RecordingFile:
    """A part of a recording; reading it raises `RecordingError` where nothing is in it.

    The error says what the *whole* has.
    """
    return _NeverEmpty(part, whole)


class _NeverEmpty(DerivedFile):
    def __init__(self, part: RecordingFile, whole: RecordingFile) -> None:
        super().__init__(part)
        self._every = whole

    def __iter__(self) -> Iterator[Recording]:
        empty = True
        for part in super().__iter__():
            empty = empty and not len(part.table)
            yield part
        if empty:
            raise RecordingError(f"nothing of {self.path} is in that part", hint=_of(self._every))


def _of(file: RecordingFile) -> str:
    """How long a recording is, and of what."""
    outline, hosts = Outline(file), dict[str, None]()
    low, high = 2**63 - 1, 0
    for part in file:
        outline.add(part)
        hosts |= dict.fromkeys(part.hosts)
        low = min(low, int(part.column("start").min(initial=low)))
        high = max(high, int(part.column("end").max(initial=0)))
    if not outline.targets:
        return "the recording has no snapshots"
    pids = _some(dict.fromkeys(str(target.pid) for target in outline.targets))
    named = _some(printable(host) for host in hosts if host)
    return (
        f"the recording is {format_duration(outline.duration_ns)} long, of addresses "
        f"{low:x}-{high:x} and pid {pids}" + (f", of host {named}" if named else "")
    )


def _some(words: Iterable[str]) -> str:
    every = list(words)
    return ", ".join(every[:_SHOWN]) + (", ..." if len(every) > _SHOWN else "")


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
class Summary(Displayable):
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
    mappings: Mappings
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


@dataclass(frozen=True, slots=True)
class MappingDiff:
    """All mappings of one name in the processes of one name, in two recordings.

    Sizes are zeros, and rates (0 to 1) 0, where there is no such mapping.
    """

    target_name: str
    name: str
    before: Bytes
    after: Bytes
    rate_before: float
    rate_after: float


@dataclass(frozen=True)
class Diff(Displayable):
    """What two recordings say; `mappings` are sorted by the change of hot bytes, largest first."""

    before: Summary
    after: Summary
    mappings: tuple[MappingDiff, ...]


def diff(before: Recorded, after: Recorded, idle_ns: int | None = None) -> Diff:
    """Compare two recordings, which may be of different processes, kernels or machines.

    Processes are matched by name and memory by the name of the mapping, since pids and addresses
    differ from run to run. *idle_ns* is as for `summary`; by default what fits the shorter of the
    two. Raises `RecordingError` where one has no snapshots.
    """
    one, other = Summaries(before, idle_ns), Summaries(after, idle_ns)
    shorter_ns = min(one.idle_ns, other.idle_ns)
    first, second = one.summary(shorter_ns), other.summary(shorter_ns)
    old, new = _by_name(first.mappings), _by_name(second.mappings)
    found = []
    for key in dict.fromkeys([*old, *new]):
        (size_before, rate_before), (size_after, rate_after) = (
            together(each.get(key, ())) for each in (old, new)
        )
        found.append(MappingDiff(*key, size_before, size_after, rate_before, rate_after))
    found.sort(key=lambda one: (-abs(one.after.hot - one.before.hot), -_moved(one)))
    return Diff(first, second, tuple(found))


def _by_name(found: Iterable[MappingHeat]) -> dict[tuple[str, str], list[MappingHeat]]:
    named: dict[tuple[str, str], list[MappingHeat]] = {}
    for one in found:
        named.setdefault((one.target.name, one.name), []).append(one)
    return named


def _moved(one: MappingDiff) -> float:
    return abs(one.after.total - one.before.total)
