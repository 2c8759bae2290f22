"""Frames of snapshots, as a monitor yields them, and of recordings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import classes_of
from pydamon._data.recording import Recording
from pydamon._model.classify import RegionClasses, joined_classes
from pydamon._model.mappings import MappingTable
from pydamon._model.snapshot import Snapshot, Target
from pydamon._show.frames.frames import IDLE_NS, Frame, RateSpans, Timing, union

__all__ = ["frame_of", "frames_of"]


@dataclass(frozen=True, slots=True)
class _Regions:
    """The regions of several windows, one after the other, and where those of each begin.

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


def frame_of(snapshots: Sequence[Snapshot], start_ns: int | None = None) -> Frame:
    """One frame of neighbouring snapshots, of one at least; it begins at *start_ns*, if given."""
    known: dict[tuple[tuple[str, int, int, str], int], int] = {}
    tables: list[Target] = []
    which = []
    for snapshot in snapshots:
        keys = [(one.key, id(one.mappings)) for one in snapshot.targets]
        for one, key in zip(snapshot.targets, keys, strict=True):
            # Mappings are read once in a while only: each table of them is searched once.
            if key not in known:
                known[key] = len(tables)
                tables.append(one)
        which.append(np.array([known[key] for key in keys], np.int64)[snapshot.target])
    table = np.concatenate(which)
    start = np.concatenate([s.start for s in snapshots])
    end = np.concatenate([s.end for s in snapshots])
    names, name = _names(tables, table, start, end)
    targets = {one.key: replace(one, mappings=MappingTable()) for one in tables}
    order = {key: index for index, key in enumerate(targets)}
    lengths = [len(s) for s in snapshots]
    window_ns = np.array([max(1, s.window_ns) for s in snapshots], np.int64)
    samples = np.repeat([s.max_nr_accesses for s in snapshots], lengths)
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
            np.append(0, np.cumsum(lengths)),
            np.array([order[one.key] for one in tables], np.int32)[table],
            name,
            start,
            end,
            np.concatenate([s.nr_accesses for s in snapshots]) / samples,
            joined_classes([s.classes for s in snapshots]),
        ),
    )


def frames_of(recording: Recording, most: int) -> Iterator[Frame]:
    """A recording as at most *most* frames of about the same length."""
    offsets = recording.snapshot_offsets
    if len(recording) == 0:
        return
    wanted = ("start", "end", "nr_accesses", "max_nr_accesses")
    column = {name: recording.column(name) for name in wanted}
    mapping, all_names = recording.codes("mapping"), recording.names("mapping")
    targets = recording.targets
    of_rows = np.repeat(recording.target_indices, np.diff(recording.target_offsets))
    classes = classes_of(recording)
    starts, ends, windows_ns, sampling_ns, cpu_ns, late_ticks = (
        recording.per_snapshot(name)
        for name in ("start_ns", "end_ns", "window_ns", "sampling_ns", "cpu_ns", "late_ticks")
    )
    frame_ns = max(1, -(-int(ends[-1] - starts[0]) // most))
    slot = (ends - 1 - starts[0]) // frame_ns
    heads = np.append(np.flatnonzero(np.diff(slot, prepend=-1)), len(starts)).tolist()
    end_ns = int(starts[0])
    for first, beyond in itertools.pairwise(heads):
        bounds = offsets[first : beyond + 1]
        rows = slice(int(bounds[0]), int(bounds[-1]))
        numbers, target = np.unique(of_rows[rows], return_inverse=True)
        codes, name = np.unique(mapping[rows], return_inverse=True)
        window_ns = np.maximum(1, windows_ns[first:beyond])
        begin_ns, end_ns = end_ns, int(ends[beyond - 1])
        yield _frame(
            Timing(
                begin_ns,
                end_ns,
                beyond - first,
                int(window_ns.sum()),
                int(sampling_ns[beyond - 1]),
                int(cpu_ns[first:beyond].sum(dtype=np.int64)),
                int(late_ticks[first:beyond].sum(dtype=np.int64)),
            ),
            tuple(targets[number] for number in numbers.tolist()),
            tuple(all_names[code] for code in codes.tolist()),
            _Regions(
                window_ns,
                bounds - bounds[0],
                target.astype(np.int32),
                name.astype(np.int32),
                column["start"][rows],
                column["end"][rows],
                column["nr_accesses"][rows] / column["max_nr_accesses"][rows],
                classes.rows(rows),
            ),
        )


def _frame(
    timing: Timing, targets: tuple[Target, ...], names: tuple[str, ...], regions: _Regions
) -> Frame:
    window_ns = regions.window_ns.astype(np.float64)
    row_ns = np.repeat(window_ns, np.diff(regions.offsets))
    key = regions.target.astype(np.int64) * len(names) + regions.name
    used, place = np.unique(key, return_inverse=True)
    share = row_ns / window_ns.sum()
    rate, classes = regions.rate, regions.classes
    columns = (
        classes.total,
        classes.hot,
        classes.warm,
        classes.cold,
        classes.idle(IDLE_NS),
        classes.unobservable,
        classes.unseen,
        classes.accessed,
        classes.total * rate,
    )
    # A region of which more than a half was never looked at has no rate.
    rate = np.where(2 * classes.unseen > classes.total, np.nan, rate)
    bounds = regions.offsets.tolist()
    parts = [
        RateSpans(
            regions.target[low:high],
            regions.start[low:high],
            regions.end[low:high],
            rate[low:high].astype(np.float32),
            regions.name[low:high],
        )
        for low, high in itertools.pairwise(bounds)
    ]
    return Frame(
        timing,
        targets,
        names,
        union(parts, window_ns.tolist()),
        (used // max(1, len(names))).astype(np.int32),
        (used % max(1, len(names))).astype(np.int32),
        np.stack([np.bincount(place, column * share, len(used)) for column in columns], axis=1),
    )


def _names(
    tables: Sequence[Target],
    table: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The names of mappings, sorted, and for each region the index of its own; "" for none."""
    names = tuple(sorted({m.name for one in tables for m in one.mappings.mappings} | {""}))
    codes = {name: index for index, name in enumerate(names)}
    name = np.zeros(len(start), np.int32)
    for index, one in enumerate(tables):
        mine = np.flatnonzero(table == index)
        # The last one is for regions without a mapping, whose index is -1.
        code = np.array([*(codes[m.name] for m in one.mappings.mappings), codes[""]], np.int32)
        name[mine] = code[one.mappings.largest_in(start[mine], end[mine])]
    used, inverse = np.unique(name, return_inverse=True)
    return tuple(names[code] for code in used.tolist()), inverse.astype(np.int32)
