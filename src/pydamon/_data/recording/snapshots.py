"""Snapshots as rows of a recording, and rows as snapshots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.accessed_within import packed, unpacked
from pydamon._data.recording.ages import age_words, sums_of_words
from pydamon._data.recording.arrow import (
    Numbers,
    column_array,
    dictionary_array,
    string_array,
    to_arrow,
    to_numpy,
)
from pydamon._data.recording.cpu_use import use_of_words, use_words
from pydamon._data.recording.layout import Layout
from pydamon._data.recording.page_maps import map_of_words, map_words
from pydamon._data.recording.passed import passed_of_words, passed_words
from pydamon._data.recording.rows import batch_of
from pydamon._model.cpu_use import CpuUse
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.page_ages import PageAges
from pydamon._model.page_map import PageMap
from pydamon._model.passed import PassedBytes
from pydamon._model.runs import Runs
from pydamon._model.shares import stored_shares
from pydamon._model.snapshot import Cost, Footprint, Snapshot, Target

__all__ = ["RowBuilder", "SnapshotReader"]

_MAX_NAMES = 1000
"""A dictionary of more names begins anew, so that it does not grow for as long as it records."""
_INT32_MAX = 2**31 - 1
_NAMES = ("target", "host", "container")
"""Columns of names of targets."""


class RowBuilder:
    """Makes batches of rows from snapshots; names keep their codes from batch to batch."""

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._names = {name: _Names() for name in (*_NAMES, "mapping", "perms")}

    def batch(self, snapshots: Sequence[Snapshot]) -> pa.RecordBatch:
        """The rows of at least one snapshot."""
        targets, target = _targets_of(snapshots)
        regions = _Columns(snapshots)
        start, end = regions.of(lambda s: s.start), regions.of(lambda s: s.end)
        mapping, perms = self._mapping_codes(targets, target, start, end)
        codes = [self._names["target"].code(each.name) for each in targets]
        places = [self._names["container"].code(each.container) for each in targets]
        self._names["host"].code(self._hostname)
        columns: dict[str, Numbers | pa.Array] = {
            "start_ns": regions.each(lambda s: s.start_ns),
            "end_ns": regions.each(lambda s: s.end_ns),
            "pid": np.array([each.pid for each in targets], np.int32)[target],
            "target": self._names["target"].array(np.array(codes, np.int32)[target]),
            "start": start,
            "end": end,
            "nr_accesses": regions.of(lambda s: s.nr_accesses).astype(np.int32),
            "max_nr_accesses": regions.each(lambda s: s.max_nr_accesses).astype(np.int32),
            "age": np.minimum(regions.of(lambda s: s.age), _INT32_MAX).astype(np.int32),
            "touched_bytes": regions.of(lambda s: s.touched_bytes),
            "unobservable_bytes": regions.of(lambda s: s.unobservable_bytes),
            "mapping": self._names["mapping"].array(mapping),
            "perms": self._names["perms"].array(perms),
            "sampling_ns": regions.each(lambda s: s.sampling_ns),
            "cpu_ns": regions.each(lambda s: s.cost.cpu_ns),
            "interruption_ns": regions.each(lambda s: s.cost.interruption_ns),
            "late_ticks": regions.each(lambda s: s.cost.late_ticks).astype(np.int32),
            "container": self._names["container"].array(np.array(places, np.int32)[target]),
            "host": self._names["host"].array(np.zeros(len(start), np.int32)),
            "vsz_bytes": regions.of(lambda s: _footprint_column(s, "vsz_bytes")),
            "rss_bytes": regions.of(lambda s: _footprint_column(s, "rss_bytes")),
            "process_started_ns": np.array([t.started_ns for t in targets], np.int64)[target],
            "age_ns": regions.of(lambda s: s.age_ns),
            "resident_bytes": regions.of(lambda s: s.resident_bytes),
            "unseen_bytes": regions.of(lambda s: s.unseen_bytes),
            "repeated_bytes": regions.of(lambda s: s.repeated_bytes),
            "access_share": regions.reals(lambda s: s.access_share.clip(0, 1)),
            "access_share_error": regions.reals(lambda s: s.access_share_error),
            "accessed_within": regions.of(lambda s: packed(s.accessed_within)),
            **_age_columns(snapshots, regions),
            **_passed_column(snapshots),
            **_map_column(snapshots),
            **_use_column(snapshots),
        }
        return batch_of(columns, len(start))

    def _mapping_codes(
        self,
        targets: Sequence[Target],
        target: NDArray[np.int64],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The codes of each region's mapping and of its permissions."""
        mapping = np.full(len(start), self._names["mapping"].code(""), np.int32)
        perms = np.full(len(start), self._names["perms"].code(""), np.int32)
        for index, each in enumerate(targets):
            rows = np.flatnonzero(target == index)
            largest = each.mappings.largest_in(start[rows], end[rows])
            rows, largest = rows[largest >= 0], largest[largest >= 0]
            if not len(rows):
                continue
            used, code = np.unique(largest, return_inverse=True)
            mappings = [each.mappings.mappings[number] for number in used.tolist()]
            names = [self._names["mapping"].code(each.name) for each in mappings]
            mapping[rows] = np.array(names, np.int32)[code]
            names = [self._names["perms"].code(each.perms) for each in mappings]
            perms[rows] = np.array(names, np.int32)[code]
        return mapping, perms


class _Columns:
    """The columns of several snapshots, one snapshot after the other."""

    def __init__(self, snapshots: Sequence[Snapshot]) -> None:
        self._snapshots = snapshots
        self._lengths = [len(snapshot) for snapshot in snapshots]

    def of(self, column: Callable[[Snapshot], NDArray[np.int64]]) -> NDArray[np.int64]:
        """A column that snapshots have."""
        return np.concatenate([column(snapshot) for snapshot in self._snapshots])

    def reals(self, column: Callable[[Snapshot], NDArray[np.float64]]) -> NDArray[np.float32]:
        """A column of real numbers that snapshots have, as precise as files hold them."""
        columns = [column(snapshot).astype(np.float32) for snapshot in self._snapshots]
        return np.concatenate(columns)

    def each(self, value: Callable[[Snapshot], int]) -> NDArray[np.int64]:
        """A value of each snapshot, repeated for each of its regions."""
        values = np.array([value(snapshot) for snapshot in self._snapshots], np.int64)
        return np.repeat(values, self._lengths)


class _Names:
    """The words of a dictionary column.

    Arrow writes a dictionary as a whole, whenever it has changed. Deltas would be smaller, but
    Polars cannot read them.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._words: pa.Array | None = None

    def code(self, word: str) -> int:
        """The code of a word, which is added where it is new."""
        return self._codes.setdefault(word, len(self._codes))

    def array(self, codes: NDArray[np.int32]) -> pa.DictionaryArray:
        """A column of these codes; all codes change afterwards if there are too many words."""
        if self._words is None or len(self._codes) != len(self._words):
            self._words = string_array(self._codes)
        array = pa.DictionaryArray.from_arrays(to_arrow(codes), self._words)
        if len(self._codes) > _MAX_NAMES:
            self._codes.clear()
            self._words = None
        return array


def _age_columns(snapshots: Sequence[Snapshot], regions: _Columns) -> dict[str, Numbers | pa.Array]:
    """The columns of page ages; none where no snapshot has any."""
    if not any(snapshot.page_ages for snapshot in snapshots):
        return {}
    words = age_words((snapshot.page_ages, len(snapshot)) for snapshot in snapshots)
    return {
        "looked_ns": regions.each(lambda s: s.page_ages.looked_ns if s.page_ages else 0),
        "looked_since_ns": regions.each(lambda s: s.page_ages.since_ns if s.page_ages else 0),
        "looks": regions.each(lambda s: s.page_ages.looks if s.page_ages else 0).astype(np.int32),
        "followed_share": regions.reals(
            lambda s: np.full(len(s), s.page_ages.followed_share if s.page_ages else 1.0)
        ),
        "page_ages": _word_column(words),
    }


def _passed_column(snapshots: Sequence[Snapshot]) -> dict[str, Numbers | pa.Array]:
    """The column of bytes that pass filters; none where no snapshot has any."""
    if not any(snapshot.passed for snapshot in snapshots):
        return {}
    return {"passed": _word_column(passed_words((s.passed, len(s)) for s in snapshots))}


def _map_column(snapshots: Sequence[Snapshot]) -> dict[str, Numbers | pa.Array]:
    """The column of maps of pages; none where no snapshot has any."""
    if not any(snapshot.page_maps for snapshot in snapshots):
        return {}
    words: list[str] = []
    for snapshot in snapshots:
        rows = np.bincount(snapshot.target, minlength=len(snapshot.targets)).tolist()
        maps = snapshot.page_maps or (None,) * len(rows)
        words += map_words(zip(maps, rows, strict=True))
    return {"page_map": _word_column(words)}


def _use_column(snapshots: Sequence[Snapshot]) -> dict[str, Numbers | pa.Array]:
    """The column of functions that ran; none where no snapshot has any."""
    if not any(snapshot.cpu_use for snapshot in snapshots):
        return {}
    words: list[str] = []
    for snapshot in snapshots:
        rows = np.bincount(snapshot.target, minlength=len(snapshot.targets)).tolist()
        words += use_words(zip(snapshot.cpu_use or (None,) * len(rows), rows, strict=True))
    return {"cpu_use": _word_column(words)}


def _word_column(words: Sequence[str]) -> pa.DictionaryArray:
    """A column of words that hardly ever come again."""
    codes: dict[str, int] = {}
    code = np.array([codes.setdefault(word, len(codes)) for word in words], np.int32)
    return dictionary_array(code, codes)


def _with_own_words(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """A part of a column, without the words of all other rows."""
    return column.cast(pa.string()).dictionary_encode()


def _footprint_column(snapshot: Snapshot, name: str) -> NDArray[np.int64]:
    """The footprint of each region's target; 0 where it is not known."""
    known = [getattr(footprint, name) for footprint in snapshot.footprints]
    return np.array(known or [0] * len(snapshot.targets), np.int64)[snapshot.target]


def _targets_of(snapshots: Sequence[Snapshot]) -> tuple[list[Target], NDArray[np.int64]]:
    """The targets of several snapshots, and for each region the index of its target.

    Mappings are read once in a while only: a second of snapshots has one or two tables of them for
    each process, and each table is searched once.
    """
    indices: dict[tuple[int, int, str, int], int] = {}
    targets: list[Target] = []
    columns = []
    for snapshot in snapshots:
        of_snapshot = []
        for target in snapshot.targets:
            key = (target.pid, target.started_ns, target.name, id(target.mappings))
            if key not in indices:
                indices[key] = len(targets)
                targets.append(target)
            of_snapshot.append(indices[key])
        columns.append(np.array(of_snapshot, np.int64)[snapshot.target])
    return targets, np.concatenate(columns)


class SnapshotReader:
    """Makes snapshots from the rows of a recording."""

    def __init__(self, table: pa.Table, layout: Layout, targets: Sequence[Target]) -> None:
        self._table = table
        self._layout = layout
        self._targets = targets
        mapping, perms = (column_array(table, name) for name in ("mapping", "perms"))
        self._mapping, self._perms = to_numpy(mapping.indices), to_numpy(perms.indices)
        self._mapping_names: list[str] = mapping.dictionary.to_pylist()
        self._perms_names: list[str] = perms.dictionary.to_pylist()

    def snapshot(self, index: int) -> Snapshot:
        """The snapshot of that number."""
        layout = self._layout
        first, end = layout.snapshot_runs.bounds[index : index + 2].tolist()
        rows = slice(*layout.snapshot_offsets[index : index + 2].tolist())

        def fact(name: str) -> int:
            return int(layout.per_snapshot(name)[index])

        def column(name: str) -> NDArray[np.int64]:
            return self._column(name)[rows].astype(np.int64)

        most, nr_accesses, each_most = (
            fact("max_nr_accesses"),
            column("nr_accesses"),
            column("max_nr_accesses"),
        )
        if (each_most != most).any():  # several hosts, say: access rates stay the same
            nr_accesses = np.ceil(nr_accesses / each_most * most - 1e-9).astype(np.int64)
        shares = stored_shares(column("nr_accesses"), each_most, self._column("access_share")[rows])
        lengths = np.diff(layout.target_offsets[first : end + 1])
        return Snapshot(
            fact("start_ns"),
            fact("end_ns"),
            fact("sampling_ns"),
            most,
            tuple(map(self._target, range(first, end))),
            np.repeat(np.arange(end - first, dtype=np.int32), lengths),
            column("start"),
            column("end"),
            nr_accesses,
            column("age"),
            column("touched_bytes"),
            column("unobservable_bytes"),
            Cost(fact("cpu_ns"), fact("interruption_ns"), fact("late_ticks")),
            self._footprints(slice(first, end)),
            column("age_ns"),
            column("resident_bytes"),
            column("unseen_bytes"),
            column("repeated_bytes"),
            access_share=shares,
            access_share_error=self._column("access_share_error")[rows].astype(np.float64),
            accessed_within=unpacked(column("accessed_within")),
            page_ages=self._page_ages(rows),
            passed=self._passed(rows),
            page_maps=self._page_maps(slice(first, end)),
            cpu_use=self._cpu_use(slice(first, end)),
        )

    def _page_ages(self, rows: slice) -> PageAges | None:
        """The ages of the pages of some rows, as of the last look if there were several."""
        looked_ns = self._column("looked_ns")[rows]
        last = int(looked_ns.max(initial=0))
        if not last:
            return None
        words = column_array(self._table, "page_ages")[rows.start : rows.stop]
        sums = sums_of_words(_with_own_words(words))
        of_last = looked_ns == last
        return PageAges(
            sums.region,
            sums.bucket,
            sums.resident_bytes,
            sums.returned_bytes,
            looked_ns=last,
            since_ns=int(self._column("looked_since_ns")[rows][of_last].min()),
            looks=max(1, int(self._column("looks")[rows].max())),
            followed_share=float(self._column("followed_share")[rows].min()),
        )

    def _passed(self, rows: slice) -> PassedBytes | None:
        """How much of the regions of some rows passes filters."""
        words = column_array(self._table, "passed")
        if len(words.dictionary) < 2:  # nothing is known of any row
            return passed_of_words(words[rows.start : rows.stop])
        return passed_of_words(_with_own_words(words[rows.start : rows.stop]))

    def _page_maps(self, targets: slice) -> tuple[PageMap | None, ...]:
        """The maps of the pages of some targets; empty if none has any."""
        words = column_array(self._table, "page_map")
        if len(words.dictionary) < 2:  # there is no map at all
            return ()
        bounds = self._layout.target_offsets[targets.start : targets.stop + 1].tolist()
        maps = tuple(map_of_words(words[low:high].to_pylist()) for low, high in pairwise(bounds))
        return maps if any(maps) else ()

    def _cpu_use(self, targets: slice) -> tuple[CpuUse | None, ...]:
        """The functions that some targets ran; empty if nobody sampled them."""
        words = column_array(self._table, "cpu_use")
        if len(words.dictionary) < 2:  # nothing is known of any row
            return ()
        bounds = self._layout.target_offsets[targets.start : targets.stop + 1].tolist()
        use = tuple(use_of_words(words[low:high].to_pylist()) for low, high in pairwise(bounds))
        return use if any(use) else ()

    def _column(self, name: str) -> NDArray[Any]:
        return to_numpy(column_array(self._table, name))

    def _target(self, number: int) -> Target:
        """A target of a snapshot, with a mapping for each run of regions that name the same."""
        layout = self._layout
        rows = slice(*layout.target_offsets[number : number + 2].tolist())
        start, end = (self._column(name)[rows] for name in ("start", "end"))
        name, perms = self._mapping[rows], self._perms[rows]
        apart = (start[1:] != end[:-1]) | (name[1:] != name[:-1]) | (perms[1:] != perms[:-1])
        runs = Runs.split(apart, len(start))
        columns = start[runs.heads], end[runs.tails], perms[runs.heads], name[runs.heads]
        mappings = [
            Mapping(low, high, self._perms_names[perms_code], self._mapping_names[name_code])
            for low, high, perms_code, name_code in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]
        table = MappingTable(tuple(each for each in mappings if each.perms or each.name))
        target = self._targets[int(layout.target_indices[number])]
        name_then = layout.names["target"][int(layout.values["target"][number])]
        return Target(
            target.pid, name_then, table, target.started_ns, target.host, target.container
        )

    def _footprints(self, targets: slice) -> tuple[Footprint, ...]:
        """Footprints of some targets of snapshots; none if none is known."""
        columns = [
            self._layout.values[name][targets].tolist() for name in ("vsz_bytes", "rss_bytes")
        ]
        return tuple(map(Footprint, *columns)) if any(map(any, columns)) else ()
