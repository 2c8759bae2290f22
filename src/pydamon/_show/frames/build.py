"""Frames made of a monitor's snapshots, and of recordings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import classes_of
from pydamon._data.recording import Recording
from pydamon._model.classify import RegionClasses, joined_classes
from pydamon._model.mappings import MappingTable
from pydamon._model.runs import Runs, running_total
from pydamon._model.snapshot import Snapshot, Target
from pydamon._show.frames.ages import AgeSplit, HeldAges, Looks, WindowAges, Windows
from pydamon._show.frames.frame import IDLE_NS, SUMS, Frame, Timing
from pydamon._show.frames.spans import RateSpans, union

__all__ = ["frame_after", "frame_of", "frames_of"]


@dataclass(frozen=True, slots=True)
class _Regions:
    """The regions of several windows, one behind the other.

    `window_ns` and `end_ns` have an entry a window, whose regions begin at its entry of `offsets`;
    `target` and `name` are indices.
    """

    window_ns: NDArray[np.int64]
    offsets: NDArray[np.int64]
    target: NDArray[np.int32]
    name: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    rate: NDArray[np.float64]
    classes: RegionClasses
    looks: Looks
    end_ns: NDArray[np.int64]


def frame_of(snapshots: Sequence[Snapshot], start_ns: int | None = None) -> Frame:
    """One frame of neighbouring snapshots.

    Parameters
    ----------
    snapshots
        At least one, in the order of time.
    start_ns
        When the frame begins: by default with the first window.

    Returns
    -------
    Frame
        Means over their windows.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
    ...     snapshots = list(mon.run("2s"))
    >>> frame_of(snapshots).timing.snapshots == len(snapshots)
    True
    """
    return frame_after(HeldAges(), snapshots, start_ns)


def frame_after(
    held: HeldAges, snapshots: Sequence[Snapshot], start_ns: int | None = None
) -> Frame:
    """The same, where the ages of earlier looks hold until the next."""
    tables, table = _tables(snapshots)
    start = np.concatenate([s.start for s in snapshots])
    end = np.concatenate([s.end for s in snapshots])
    names, name = _names(tables, table, start, end)
    targets = {target.key: replace(target, mappings=MappingTable()) for target in tables}
    index = {key: index for index, key in enumerate(targets)}
    lengths = [len(s) for s in snapshots]
    window_ns = np.array([max(1, s.window_ns) for s in snapshots], np.int64)
    return _frame(
        Timing(
            snapshots[0].start_ns if start_ns is None else start_ns,
            snapshots[-1].end_ns,
            len(snapshots),
            int(window_ns.sum()),
            snapshots[-1].sampling_ns,
            sum(s.cost.cpu_ns for s in snapshots),
            sum(s.cost.late_ticks for s in snapshots),
        ),
        tuple(targets.values()),
        names,
        _Regions(
            window_ns,
            running_total(np.array(lengths)),
            np.array([index[target.key] for target in tables], np.int32)[table],
            name,
            start,
            end,
            np.concatenate([s.access_share for s in snapshots]),
            joined_classes([s.classes for s in snapshots]),
            Looks.in_snapshots(snapshots),
            np.array([s.end_ns for s in snapshots], np.int64),
        ),
        held,
    )


def frames_of(recording: Recording, most: int) -> Iterator[Frame]:
    """A recording as frames of about the same length.

    Parameters
    ----------
    recording
        What to show.
    most
        How many frames to make at most.

    Yields
    ------
    Frame
        In the order of time; together they cover the whole recording.

    Examples
    --------
    >>> import pathlib, tempfile, pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     file = pathlib.Path(directory, "run.damon")
    ...     with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
    ...         info = pydamon.RecordingInfo(mon.attrs, mon.probe_name, 0)
    ...         with pydamon.Recorder(file, info) as recorder:
    ...             for snapshot in mon.run("8s"):
    ...                 recorder.write(snapshot)
    ...     len(list(frames_of(pydamon.read_recording(file), 4)))
    4
    """
    if len(recording) == 0:
        return
    names = ("start_ns", "end_ns", "window_ns", "sampling_ns", "cpu_ns", "late_ticks")
    facts = {name: recording.per_snapshot(name) for name in names}
    begin_ns = end_ns = int(facts["start_ns"][0])
    frame_ns = max(1, -(-int(facts["end_ns"][-1] - begin_ns) // most))
    slot = (facts["end_ns"] - 1 - begin_ns) // frame_ns
    regions_of, held = _RecordedRegions(recording), HeldAges()
    for first, beyond in Runs.of(slot):
        window_ns = np.maximum(1, facts["window_ns"][first:beyond])
        begin_ns, end_ns = end_ns, int(facts["end_ns"][beyond - 1])
        timing = Timing(
            begin_ns,
            end_ns,
            beyond - first,
            int(window_ns.sum()),
            int(facts["sampling_ns"][beyond - 1]),
            int(facts["cpu_ns"][first:beyond].sum(dtype=np.int64)),
            int(facts["late_ticks"][first:beyond].sum(dtype=np.int64)),
        )
        yield _frame(timing, *regions_of(first, beyond, window_ns), held)


class _RecordedRegions:
    """The columns of a recording, cut into runs of snapshots."""

    def __init__(self, recording: Recording) -> None:
        self._start, self._end = recording.column("start"), recording.column("end")
        self._rate = recording.access_share
        self._mapping, self._names = recording.codes("mapping"), recording.names("mapping")
        self._targets = recording.targets
        self._target = np.repeat(recording.target_indices, np.diff(recording.target_offsets))
        self._classes = classes_of(recording)
        self._offsets = recording.snapshot_offsets
        self._looks = Looks.in_recording(recording)
        self._end_ns = recording.per_snapshot("end_ns")

    def __call__(
        self, first: int, beyond: int, window_ns: NDArray[np.int64]
    ) -> tuple[tuple[Target, ...], tuple[str, ...], _Regions]:
        """Targets, names and regions of the snapshots from *first* to before *beyond*."""
        bounds = self._offsets[first : beyond + 1]
        rows = slice(int(bounds[0]), int(bounds[-1]))
        numbers, target = np.unique(self._target[rows], return_inverse=True)
        codes, name = np.unique(self._mapping[rows], return_inverse=True)
        regions = _Regions(
            window_ns,
            bounds - bounds[0],
            target.astype(np.int32),
            name.astype(np.int32),
            self._start[rows],
            self._end[rows],
            self._rate[rows],
            self._classes.rows(rows),
            self._looks.rows(rows),
            self._end_ns[first:beyond],
        )
        targets = tuple(self._targets[number] for number in numbers.tolist())
        return targets, tuple(self._names[code] for code in codes.tolist()), regions


def _frame(
    timing: Timing,
    targets: tuple[Target, ...],
    names: tuple[str, ...],
    regions: _Regions,
    held: HeldAges,
) -> Frame:
    window_ns = regions.window_ns.astype(np.float64)
    row_ns = np.repeat(window_ns, np.diff(regions.offsets))
    key = regions.target.astype(np.int64) * len(names) + regions.name
    used, place = np.unique(key, return_inverse=True)
    share = row_ns / window_ns.sum()
    classes = regions.classes
    columns = (
        classes.total,
        classes.hot,
        classes.warm,
        classes.cold,
        classes.idle(IDLE_NS),
        classes.unobservable,
        classes.unseen,
        classes.accessed,
        classes.total * regions.rate,
    )
    rate = np.where(classes.mostly_unseen, np.nan, regions.rate)
    parts = [
        RateSpans(
            regions.target[low:high],
            regions.start[low:high],
            regions.end[low:high],
            rate[low:high].astype(np.float32),
            regions.name[low:high],
        )
        for low, high in itertools.pairwise(regions.offsets.tolist())
    ]
    sum_target = (used // max(1, len(names))).astype(np.int32)
    sum_name = (used % max(1, len(names))).astype(np.int32)
    sums: NDArray[np.float64] = np.stack(
        [np.bincount(place, column * share, len(used)) for column in columns], axis=1
    )
    ages = _WindowAges.of(regions, len(targets))
    split = ages.split(targets, held)
    rows = _Rows(targets, names, sum_target, sum_name, place)
    _put_idle_pages(sums, rows, regions, ages, held)
    spans = union(parts, window_ns.tolist())
    return Frame(timing, targets, names, spans, sum_target, sum_name, sums, split)


class _WindowAges(NamedTuple):
    """The ages in the windows of a frame, and how long each of these windows is."""

    ages: WindowAges
    window_ns: NDArray[np.float64]
    all_ns: float

    @classmethod
    def of(cls, regions: _Regions, targets: int) -> _WindowAges:
        """The ages of regions, by window and target."""
        number = np.repeat(np.arange(len(regions.window_ns)), np.diff(regions.offsets))
        pairs, window = np.unique(number * targets + regions.target, return_inverse=True)
        number, target = np.divmod(pairs, max(1, targets))
        windows = Windows(target, regions.end_ns[number])
        ages = WindowAges.of(windows, window, regions.classes, regions.looks)
        return cls(ages, regions.window_ns[number].astype(float), float(regions.window_ns.sum()))

    def split(self, targets: Sequence[Target], held: HeldAges) -> AgeSplit:
        """The mean split of each target, over all windows of the frame."""
        windows = held.split([target.key for target in targets], self.ages)
        number = self.ages.windows.target
        sizes = np.zeros((len(targets), windows.sizes.shape[1]))
        np.add.at(sizes, number, windows.sizes * self.window_ns[:, None] / self.all_ns)
        followed_share = np.zeros(len(targets))
        followed_share[number] = windows.followed_share
        return AgeSplit(sizes, followed_share)

    def looked_ns(self, targets: int) -> NDArray[np.float64]:
        """How long the windows of each target are in which somebody looked at its pages."""
        looked_ns = np.where(self.ages.followed_share > 0, self.window_ns, 0.0)
        sums = np.zeros(targets)
        np.add.at(sums, self.ages.windows.target, looked_ns)
        return sums


class _Rows(NamedTuple):
    """What the rows of a frame's sums are about, and the row of each region."""

    targets: tuple[Target, ...]
    names: tuple[str, ...]
    target: NDArray[np.int32]
    name: NDArray[np.int32]
    of_region: NDArray[np.intp]


def _put_idle_pages(
    sums: NDArray[np.float64], rows: _Rows, regions: _Regions, ages: _WindowAges, held: HeldAges
) -> None:
    """Let idle bytes be those of the last look, where somebody looks at pages."""
    looked_ns = ages.looked_ns(len(rows.targets))
    row_ns = np.repeat(regions.window_ns, np.diff(regions.offsets)).astype(np.float64)
    idle = np.where(regions.classes.is_looked, regions.classes.idle(IDLE_NS) * row_ns, 0.0)
    idle = np.bincount(rows.of_region, idle, len(sums)) / np.maximum(looked_ns[rows.target], 1)
    for index, target in enumerate(rows.targets):
        mine = np.flatnonzero(rows.target == index).tolist()
        names = [rows.names[rows.name[row]] for row in mine]
        if looked_ns[index]:
            held.hold_idle(target.key, dict(zip(names, idle[mine].tolist(), strict=True)))
        known = held.idle(target.key)
        if known is not None:
            amounts = np.array([known.get(name, 0.0) for name in names])
            sums[mine, _IDLE] = np.minimum(amounts, sums[mine, _TOTAL])


_IDLE, _TOTAL = SUMS.index("idle"), SUMS.index("total")


def _tables(snapshots: Sequence[Snapshot]) -> tuple[list[Target], NDArray[np.int64]]:
    """The targets with different mappings, and for each region the index of its own.

    A monitor reads mappings only now and then: most snapshots share their tables, and each table
    has to be searched once only.
    """
    index: dict[tuple[tuple[str, int, int, str], int], int] = {}
    tables: list[Target] = []
    of_regions = []
    for snapshot in snapshots:
        keys = [(target.key, id(target.mappings)) for target in snapshot.targets]
        for target, key in zip(snapshot.targets, keys, strict=True):
            if key not in index:
                index[key] = len(tables)
                tables.append(target)
        of_regions.append(np.array([index[key] for key in keys], np.int64)[snapshot.target])
    return tables, np.concatenate(of_regions)


def _names(
    tables: Sequence[Target],
    table: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The names of mappings, sorted, and the index of each region's name; "" means no mapping."""
    names = tuple(sorted({m.name for target in tables for m in target.mappings.mappings} | {""}))
    codes = {name: index for index, name in enumerate(names)}
    name = np.zeros(len(start), np.int32)
    for index, target in enumerate(tables):
        mine = np.flatnonzero(table == index)
        # The last code is for regions without a mapping, whose index is -1.
        code = np.array([*(codes[m.name] for m in target.mappings.mappings), codes[""]], np.int32)
        name[mine] = code[target.mappings.largest_in(start[mine], end[mine])]
    used, inverse = np.unique(name, return_inverse=True)
    return tuple(names[code] for code in used.tolist()), inverse.astype(np.int32)
