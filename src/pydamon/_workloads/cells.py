"""What a recording says of its memory, in cells of addresses by slots of time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import classes_of, fold
from pydamon._data.recording import AnyRecording, Recording, RecordingFile
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._model.errors import RecordingError
from pydamon._model.runs import expand, unique
from pydamon._model.snapshot import Target
from pydamon._workloads.merging import merge_neighbours
from pydamon._workloads.seldom import ReturnSums, returned_bytes

__all__ = ["Cells", "cells_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_EDGES = 1024
_MOST_SLOTS = 1024
_MOST_VALUES = 2**20
"""Cells times slots."""
_KEPT_EDGES = 2**16
"""Edges of a target to choose from; far more would not fit into memory."""
_COLUMNS = (
    *("start", "end", "nr_accesses", "max_nr_accesses", "age_ns"),
    *("access_share", "access_share_error"),
    *("touched_bytes", "unobservable_bytes", "resident_bytes", "unseen_bytes", "repeated_bytes"),
    *("looked_ns", "looked_since_ns", "page_ages"),
)
_MOST = 0.95
_CELL_LOSS, _SLOT_LOSS = 0.001, 0.01
"""Cells, and slots, that differ by less in all are merged. A run of hot pages among idle ones is a
cell of its own, however small it is: scattered over its neighbours, monitors would not find it."""


@dataclass(frozen=True)
class Cells:
    """Memory by cell of addresses and slot of time.

    Attributes
    ----------
    targets
        The target of each cell: shape (cells,). Cells are sorted by target and address.
    start
        The first address of each cell: shape (cells,).
    resident, touched, heat
        Bytes that were in memory, bytes that were accessed in a window, and bytes in memory times
        their access share. Each is a mean over the slot: shape (cells, slots).
    returned
        Bytes a second that were accessed again after each of `REST_EDGES`, NaN where that is not
        known: shape (rests, cells, slots).
    slot_ns, window_ns, sampling_ns
        How long each slot is, and the windows and sampling intervals in it: shape (slots,).
    """

    targets: tuple[Target, ...]
    start: Ints
    resident: Floats
    touched: Floats
    heat: Floats
    returned: Floats
    slot_ns: Floats
    window_ns: Floats
    sampling_ns: Floats

    def merged(self, most_cells: int, most_slots: int) -> Cells:
        """Merge neighbouring cells, and then slots, that are alike."""
        size = self.resident.max(axis=1, initial=0)
        rows = self._features(size)
        time = np.tile(self.slot_ns, 2)
        cells = self._merged_cells(merge_neighbours(rows, size, time, most_cells, _CELL_LOSS))
        size = cells.resident.max(axis=1, initial=0)
        columns = np.vstack(np.split(cells._features(size), 2, axis=1))
        heads = merge_neighbours(columns.T, self.slot_ns, np.tile(size, 2), most_slots, _SLOT_LOSS)
        return cells._merged_slots(heads)

    def _features(self, size: Floats) -> Floats:
        """Roots of shares: counts differ as much by chance whatever their size."""
        whole = np.maximum(size, 1)[:, None]
        return np.sqrt(np.hstack([self.heat / whole, self.touched / whole]))

    def _merged_cells(self, heads: NDArray[np.intp]) -> Cells:
        def total(amount: Floats) -> Floats:
            sums: Floats = np.add.reduceat(amount, heads, axis=0)
            return sums

        return replace(
            self,
            targets=tuple(self.targets[head] for head in heads.tolist()),
            start=self.start[heads],
            resident=total(self.resident),
            touched=total(self.touched),
            heat=total(self.heat),
            returned=np.add.reduceat(self.returned, heads, axis=1),
        )

    def _merged_slots(self, heads: NDArray[np.intp]) -> Cells:
        slot_ns = np.add.reduceat(self.slot_ns, heads)

        def mean(values: Floats) -> Floats:
            sums: Floats = np.add.reduceat(values * self.slot_ns, heads, axis=-1)
            return sums / slot_ns

        return replace(
            self,
            resident=mean(self.resident),
            touched=mean(self.touched),
            heat=mean(self.heat),
            returned=mean(self.returned),
            slot_ns=slot_ns,
            window_ns=mean(self.window_ns),
            sampling_ns=mean(self.sampling_ns),
        )


def cells_of(recording: AnyRecording) -> Cells:
    """Return what a recording says, in about a thousand cells and at most a thousand slots.

    The recording is read twice. Raises `RecordingError` if it has no snapshots.
    """
    if isinstance(recording, RecordingFile):
        recording = recording.sorted().held(*_COLUMNS)
    survey = _Survey()
    fold(recording, survey)
    if not len(survey.numbers):
        raise RecordingError("the recording has no snapshots")
    sums = _Sums(survey)
    fold(recording, sums)
    return sums.cells()


class _Survey:
    """The edges of regions and the times of snapshots, as a fold.

    An edge weighs as much as the memory on its sides differs.
    """

    def __init__(self) -> None:
        self.numbers = TargetNumbers()
        self._edges: dict[int, tuple[Ints, Floats]] = {}
        self._start_ns: list[Ints] = []
        self._end_ns: list[Ints] = []

    def add(self, chunk: Recording) -> None:
        self._start_ns.append(chunk.per_snapshot("start_ns"))
        self._end_ns.append(chunk.per_snapshot("end_ns"))
        target = self.numbers.per_region(chunk)
        edges = np.concatenate([chunk.column("start"), chunk.column("end")])
        weights = _edge_weights(chunk)
        for number in unique(target).tolist():
            of_target = np.tile(target == number, 2)
            known = self._edges.get(number, (np.empty(0, np.int64), np.empty(0)))
            self._edges[number] = _summed(
                np.append(known[0], edges[of_target]), np.append(known[1], weights[of_target])
            )

    def slots(self, most: int) -> tuple[NDArray[np.intp], Floats]:
        """The slot of each snapshot, and how long each snapshot counts (ns).

        A snapshot counts from the end of the snapshot before.
        """
        start_ns, end_ns = np.concatenate(self._start_ns), np.concatenate(self._end_ns)
        begin_ns = np.append(start_ns[0], np.maximum.accumulate(end_ns)[:-1])
        length_ns = np.maximum(end_ns - begin_ns, 1).astype(float)
        count = len(length_ns)
        return np.arange(count) * min(most, count) // count, length_ns

    def edges(self) -> dict[int, Ints]:
        """The edges of the cells of each target: the weightiest, and the outermost."""
        weights = np.concatenate([weights for _, weights in self._edges.values()])
        least = np.sort(weights)[-_MOST_EDGES] if len(weights) > _MOST_EDGES else 0.0
        return {
            number: edges[_outermost(weights) | (weights >= least) & (weights > 0)]
            for number, (edges, weights) in sorted(self._edges.items())
        }


def _edge_weights(chunk: Recording) -> Floats:
    """How much the memory on the sides of each start, then of each end, differs."""
    start, end = chunk.column("start"), chunk.column("end")
    classes = classes_of(chunk, with_pages=False).once()
    size = classes.total.astype(float)
    touched = classes.accessed / np.maximum(size, 1)
    features = np.stack([np.sqrt(chunk.access_share), np.sqrt(touched), np.ones(len(size))])
    touches = np.append(start[1:] == end[:-1], False)
    inner = chunk.target_offsets[1:-1]
    touches[inner[inner > 0] - 1] = False
    lower, upper = features[:, :-1], features[:, 1:]
    between = ((upper - lower) ** 2).sum(axis=0) * np.minimum(size[1:], size[:-1])
    alone = (features**2).sum(axis=0) * size
    at_end = np.where(touches, np.append(between, 0.0), alone)
    at_start = np.where(np.append(False, touches[:-1]), np.append(0.0, between), alone)
    length_ns = chunk.per_snapshot("window_ns").astype(float)
    windows = np.repeat(length_ns, np.diff(chunk.snapshot_offsets))
    return np.concatenate([at_start * windows, at_end * windows])


def _summed(edges: Ints, weights: Floats) -> tuple[Ints, Floats]:
    """Sorted edges with the sums of their weights; the weightiest where there are too many."""
    distinct, place = np.unique(edges, return_inverse=True)
    sums: Floats = np.bincount(place, weights, len(distinct)).astype(float)
    if len(distinct) > 2 * _KEPT_EDGES:
        kept = _outermost(sums) | (sums >= np.sort(sums)[-_KEPT_EDGES])
        distinct, sums = distinct[kept], sums[kept]
    return distinct, sums


def _outermost(values: Floats) -> NDArray[np.bool_]:
    """Mark the first and the last value."""
    marks = np.zeros(len(values), np.bool_)
    marks[[0, -1]] = True
    return marks


class _Sums:
    """Sums over the regions in each cell and slot, weighted by time, as a fold."""

    def __init__(self, survey: _Survey) -> None:
        self._numbers = survey.numbers
        self._edges = survey.edges()
        counts = [len(edges) - 1 for edges in self._edges.values()]
        self._first = dict(zip(self._edges, np.cumsum([0, *counts]).tolist(), strict=False))
        self._cells = sum(counts)
        most = min(_MOST_SLOTS, max(1, _MOST_VALUES // max(1, self._cells)))
        self._slot, self._length_ns = survey.slots(most)
        self._slots = int(self._slot[-1]) + 1
        self._amounts = np.zeros((3, self._slots * self._cells))
        self._returns = ReturnSums(len(self._numbers), self._slots, self._cells)
        self._windows = np.zeros((2, self._slots))
        self._snapshots = 0
        self._guessed: dict[int, int] = {}
        """The first slot of each target, or -1 if it tells how often memory was accessed."""

    def add(self, chunk: Recording) -> None:
        here = slice(self._snapshots, self._snapshots + len(chunk))
        self._snapshots += len(chunk)
        slot, length_ns = self._slot[here], self._length_ns[here]
        for row, name in enumerate(("window_ns", "sampling_ns")):
            values = chunk.per_snapshot(name) * length_ns
            self._windows[row] += np.bincount(slot, values, self._slots)
        all_classes = classes_of(chunk, with_pages=False)
        classes = all_classes.once()
        regions = np.diff(chunk.snapshot_offsets)
        # Shares are estimates from a few pages: no more can be in use at a time than was touched.
        heat = np.minimum(classes.total * chunk.access_share, classes.accessed)
        amounts = np.stack([classes.total, classes.accessed, heat])
        amounts = amounts * np.repeat(length_ns, regions)
        slot = np.repeat(slot, regions)
        target = self._numbers.per_region(chunk)
        returned = returned_bytes(chunk)
        if returned is not None:
            self._add_looks(chunk, target, slot)
            returned *= classes.total / np.maximum(all_classes.total, 1)
            amounts = np.concatenate([amounts, returned])
        start, end = chunk.column("start"), chunk.column("end")
        for number in unique(target).tolist():
            rows = np.flatnonzero(target == number)
            if number not in self._guessed:
                first = rows[slot[rows] == slot[rows[0]]]
                is_uncertain = chunk.column("access_share_error") >= chunk.access_share
                is_guess = heat[first] @ is_uncertain[first] >= _MOST * heat[first].sum()
                self._guessed[number] = int(slot[first[0]]) if is_guess else -1
            self._spread(number, start[rows], end[rows], slot[rows], amounts[:, rows])

    def _add_looks(
        self, chunk: Recording, target: NDArray[np.int32], slot: NDArray[np.intp]
    ) -> None:
        offsets = chunk.target_offsets
        first = offsets[:-1][offsets[1:] > offsets[:-1]]
        looked_s = (chunk.column("looked_ns") - chunk.column("looked_since_ns"))[first] / 1e9
        self._returns.add_looks(target[first], slot[first], looked_s)

    def _spread(
        self, number: int, start: Ints, end: Ints, slot: NDArray[np.intp], amounts: Floats
    ) -> None:
        """Add the amounts of regions of a target to the cells that they overlap, by bytes."""
        edges = self._edges[number]
        first = np.searchsorted(edges, start, side="right") - 1
        counts = np.searchsorted(edges, end, side="left") - first
        row, place = expand(np.maximum(counts, 0))
        cell = first[row] + place
        overlap = np.minimum(end[row], edges[cell + 1]) - np.maximum(start[row], edges[cell])
        share = overlap / np.maximum(end - start, 1)[row]
        place = slot[row] * self._cells + self._first[number] + cell
        for kind, amount in enumerate(amounts[: len(self._amounts)]):
            counted = np.bincount(place, amount[row] * share, self._amounts.shape[1])
            self._amounts[kind] += counted
        if len(amounts) > len(self._amounts):
            self._returns.add(place, amounts[len(self._amounts) :, row] * share)

    def cells(self) -> Cells:
        targets = self._numbers.targets
        slot_ns: Floats = np.bincount(self._slot, self._length_ns, self._slots).astype(float)
        resident, touched, heat = (
            sums.reshape(self._slots, -1).T / slot_ns for sums in self._amounts
        )
        target = np.repeat(list(self._edges), [len(edges) - 1 for edges in self._edges.values()])
        for number, slot in self._guessed.items():
            if 0 <= slot < self._slots - 1:
                # Nothing was sampled yet, but all memory was looked at once: that tells no rate.
                of_target = target == number
                heat[of_target, slot] = np.minimum(
                    heat[of_target, slot + 1], touched[of_target, slot]
                )
        return Cells(
            tuple(targets[number] for number in target.tolist()),
            np.concatenate([edges[:-1] for edges in self._edges.values()]),
            resident,
            touched,
            heat,
            self._returns.bytes_per_s(target, slot_ns),
            slot_ns,
            self._windows[0] / slot_ns,
            self._windows[1] / slot_ns,
        )
