"""A recording in a few numbers, and two recordings side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pydamon._data.analysis.folding import fold_with_outline
from pydamon._data.analysis.mappings import Bytes, MappingHeat, Mappings, MappingSums, together
from pydamon._data.analysis.series import (
    TimeSeriesFold,
    region_counts,
    touched_bytes,
    unseen_bytes,
)
from pydamon._data.analysis.working_set import PERCENTILES, WorkingSet, percentiles_of
from pydamon._data.recording import AnyRecording, Recording
from pydamon._model.display import Displayable
from pydamon._model.snapshot import Target

__all__ = ["Diff", "MappingDiff", "MonitorCost", "Summary", "diff", "summary"]


@dataclass(frozen=True, slots=True)
class MonitorCost:
    """The cost of monitoring.

    Attributes
    ----------
    cpu_ns : int
        CPU time of the monitor.
    cpu_share : float
        The same as a share of the recorded time: 1 is one CPU.
    interruption_share : float
        An upper estimate of the time that the target's threads lost, as a share.
    late_ticks : int
        Samples that could not be taken in time.
    sampling_ns : int
        The median of the sampling intervals that were used.
    named_sampling_ns : int
        The sampling interval when the recording began.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> cost = pydamon.analysis.summary(recording).cost
    >>> cost.late_ticks  # in a simulation none is late
    0
    """

    cpu_ns: int
    cpu_share: float
    interruption_share: float
    late_ticks: int
    sampling_ns: int
    named_sampling_ns: int


@dataclass(frozen=True)
class Summary(Displayable):
    """A recording in a few numbers: see `summary`.

    Attributes
    ----------
    targets : tuple of Target
        The processes.
    snapshots : int
        How many snapshots there are.
    began_ns : int
        When the first snapshot began, in Unix time.
    duration_ns : int
        From there to the end of the last snapshot.
    idle_ns : int
        For how long memory must not have been accessed to count as idle.
    size : Bytes
        The bytes of all targets together, by class; memory that targets share counts once.
    working_set : WorkingSet
        The working sets.
    mappings : tuple of MappingHeat
        The mappings, from the most hot bytes to the fewest.
    cost : MonitorCost
        The cost of monitoring.
    regions : tuple of (float, int)
        Pairs of a percentage from 0 to 100 and a number of regions: so many percent of the
        snapshots have at most as many regions.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> summary = pydamon.analysis.summary(recording)
    >>> summary.snapshots == len(recording)
    True
    >>> most = max(len(snapshot) for snapshot in recording.snapshots())
    >>> summary.regions[-1] == (100.0, most)
    True
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
    regions: tuple[tuple[float, int], ...]


def summary(recording: AnyRecording, idle_ns: int | None = None) -> Summary:
    """Summarize a recording.

    Parameters
    ----------
    recording
        The recording.
    idle_ns
        For how long memory must not have been accessed to count as idle: by default a round number
        of seconds, of which the recording is at least twice as long.

    Returns
    -------
    Summary
        The numbers.

    Raises
    ------
    RecordingError
        If there are no snapshots.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> size = pydamon.analysis.summary(recording).size
    >>> pydamon.format_size(size.total), pydamon.format_size(size.hot)
    ('256 MiB', '64 MiB')
    """
    return _SummaryFold(recording, idle_ns).summary()


class _SummaryFold:
    """All figures of a recording; `summary` chooses for how long idle memory must be idle."""

    def __init__(self, recording: AnyRecording, idle_ns: int | None = None) -> None:
        self._series = TimeSeriesFold(touched_bytes, unseen_bytes, region_counts)
        self._sums = MappingSums(idle_ns)
        self._costs = _CostSums()
        self._outline = fold_with_outline(recording, self._series, self._sums, self._costs)
        self._named_sampling_ns = recording.info.attrs.sampling_ns
        self.idle_ns = self._sums.default_idle_ns(self._outline)

    def summary(self, idle_ns: int | None = None) -> Summary:
        """The summary; *idle_ns* is the default, or a shorter duration of `MappingSums`."""
        idle_ns = self.idle_ns if idle_ns is None else idle_ns
        outline = self._outline
        series = list(self._series.series())
        working_set = WorkingSet._of(series)
        (regions,) = percentiles_of(series[:1], PERCENTILES, amount=2)
        return Summary(
            outline.targets,
            len(working_set.total.end_ns),
            outline.begin_ns,
            outline.duration_ns,
            idle_ns,
            self._sums.together(outline, idle_ns),
            working_set,
            self._sums.mappings(outline, idle_ns),
            self._costs.cost(outline.recorded_ns, self._named_sampling_ns),
            tuple(zip(PERCENTILES, regions, strict=True)),
        )


class _CostSums:
    """The costs of all snapshots, and how often each sampling interval was used."""

    def __init__(self) -> None:
        self._sums = np.zeros(3, np.int64)
        self._samplings: Counter[int] = Counter()

    def add(self, chunk: Recording) -> None:
        names = ("cpu_ns", "interruption_ns", "late_ticks")
        self._sums += [chunk.per_snapshot(name).sum(dtype=np.int64) for name in names]
        self._samplings.update(chunk.per_snapshot("sampling_ns").tolist())

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
    """All mappings of one name in the processes of one name, in two recordings: see `diff`.

    Attributes
    ----------
    target_name, name : str
        The names of the processes and of the mappings.
    before, after : Bytes
        Their bytes by class; zeros if there are no such mappings.
    rate_before, rate_after : float
        Their access rates, from 0 to 1; 0 if there are no such mappings.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> (memory,) = pydamon.analysis.diff(recording, recording).mappings
    >>> memory.rate_before == memory.rate_after
    True
    """

    target_name: str
    name: str
    before: Bytes
    after: Bytes
    rate_before: float
    rate_after: float


@dataclass(frozen=True)
class Diff(Displayable):
    """Two recordings compared: see `diff`.

    Attributes
    ----------
    before, after : Summary
        Their summaries, with the same `idle_ns`.
    mappings : tuple of MappingDiff
        The mappings, from the largest change of hot bytes to the smallest.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> diff = pydamon.analysis.diff(recording, recording)
    >>> diff.before.size == diff.after.size
    True
    """

    before: Summary
    after: Summary
    mappings: tuple[MappingDiff, ...]


def diff(before: AnyRecording, after: AnyRecording, idle_ns: int | None = None) -> Diff:
    """Compare two recordings, which may be of different processes, kernels or machines.

    Processes are matched by name and memory by the name of the mapping, since pids and addresses
    differ from run to run.

    Parameters
    ----------
    before, after
        The recordings.
    idle_ns
        As in `summary`; by default as for the shorter recording.

    Returns
    -------
    Diff
        The comparison.

    Raises
    ------
    RecordingError
        If one of them has no snapshots.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> def recording(hot_bytes):
    ...     trace = Trace((Phase(10**9, (Access(0, hot_bytes, rate_hz=1000),)),))
    ...     monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    ...     return pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> diff = pydamon.analysis.diff(recording(64 << 20), recording(32 << 20))
    >>> pydamon.format_size(diff.after.size.hot - diff.before.size.hot)
    '-32 MiB'
    """
    folds = _SummaryFold(before, idle_ns), _SummaryFold(after, idle_ns)
    shorter_ns = min(fold.idle_ns for fold in folds)
    old, new = (fold.summary(shorter_ns) for fold in folds)
    old_by_name, new_by_name = _by_name(old.mappings), _by_name(new.mappings)
    mappings = []
    for key in dict.fromkeys([*old_by_name, *new_by_name]):
        size_before, rate_before = together(old_by_name.get(key, ()))
        size_after, rate_after = together(new_by_name.get(key, ()))
        mappings.append(MappingDiff(*key, size_before, size_after, rate_before, rate_after))
    mappings.sort(key=_change, reverse=True)
    return Diff(old, new, tuple(mappings))


def _by_name(mappings: Iterable[MappingHeat]) -> dict[tuple[str, str], list[MappingHeat]]:
    by_name: dict[tuple[str, str], list[MappingHeat]] = {}
    for mapping in mappings:
        by_name.setdefault((mapping.target.name, mapping.name), []).append(mapping)
    return by_name


def _change(mapping: MappingDiff) -> tuple[float, float]:
    """By how much the hot bytes have changed, and all bytes."""
    before, after = mapping.before, mapping.after
    return abs(after.hot - before.hot), abs(after.total - before.total)
