"""The snapshots of damo's JSON as rows of a recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.formats.damo_passed import words_of_sizes
from pydamon._data.formats.damo_text import Age, DamoSnapshot, NrAccesses, Record, Region
from pydamon._data.recording.arrow import dictionary_array
from pydamon._data.recording.rows import ages_ns, batch_of
from pydamon._model.classify import UNKNOWN
from pydamon._model.damo_values import Misread, Value, bytes_of, integers, ns_of, number_of
from pydamon._model.runs import running_total

__all__ = ["rows_of"]

_MAX_LISTS = 1024
"""Targets whose regions a single record lists."""
_MAX_EXTRA_BYTES = 2**26
_NO_ACCESSES, _NO_AGE = NrAccesses(), Age()
_NOTHING_PASSED = (None, 0, "0", "0 B")


def rows_of(parsed: Sequence[tuple[Record, list[DamoSnapshot]]]) -> pa.RecordBatch:
    """The rows of some snapshots of each record.

    Raises `ValueError` that says where, if a number cannot be read.
    """
    snapshots = _Snapshots.of(parsed)
    for record, several in parsed:
        record.with_empty |= not all(snapshot.regions for snapshot in several)
    try:
        rows = batch_of(_columns(snapshots), len(snapshots.owner))
    except Misread as error:
        raise ValueError(f"{_place(snapshots, error)}: {error}") from error
    for record, several in parsed:
        record.snapshot_count += len(several)
    return rows


@dataclass(frozen=True, slots=True)
class _Snapshots:
    """Several snapshots, one after the other, with the record of each.

    `regions` has the regions of all snapshots. `lengths` says how many each snapshot has, and
    `owner` which snapshot each region is of.
    """

    records: list[Record]
    snapshots: list[DamoSnapshot]
    regions: list[Region]
    lengths: NDArray[np.int64]
    owner: NDArray[np.int64]

    @classmethod
    def of(cls, parsed: Sequence[tuple[Record, list[DamoSnapshot]]]) -> _Snapshots:
        records = [record for record, snapshots in parsed for _ in snapshots]
        snapshots = [snapshot for _, several in parsed for snapshot in several]
        regions = [region for snapshot in snapshots for region in snapshot.regions]
        lengths = np.array([len(snapshot.regions) for snapshot in snapshots], np.int64)
        owner = np.repeat(np.arange(len(snapshots)), lengths)
        return cls(records, snapshots, regions, lengths, owner)

    @property
    def begins(self) -> NDArray[np.int64]:
        """The index of the first region of each snapshot."""
        begins: NDArray[np.int64] = np.cumsum(self.lengths) - self.lengths
        return begins

    def record_of(self, region: int) -> Record:
        """The record of a region."""
        return self.records[int(self.owner[region])]


class _InSnapshot(Misread):
    """A number of a snapshot: `index` is that of the snapshot, not of a region."""


def _place(snapshots: _Snapshots, error: Misread) -> str:
    """Where a number stands that cannot be read, for people."""
    is_of_snapshot = isinstance(error, _InSnapshot)
    index = error.index if is_of_snapshot else int(snapshots.owner[error.index])
    record = snapshots.records[index]
    before = sum(other is record for other in snapshots.records[:index])
    place = f"record {record.number}, snapshot {record.snapshot_count + before + 1}"
    if is_of_snapshot:
        return place
    return f"{place}, region {error.index - int(snapshots.begins[index]) + 1}"


def _times(values: list[Value]) -> NDArray[np.int64]:
    """A time of each snapshot, in ns."""
    try:
        return integers(values, ns_of) if values else np.zeros(0, np.int64)
    except Misread as error:
        raise _InSnapshot(str(error), error.index) from error


def _columns(snapshots: _Snapshots) -> dict[str, Any]:
    regions, owner = snapshots.regions, snapshots.owner
    accesses = [region.nr_accesses or _NO_ACCESSES for region in regions]
    ages = [region.age or _NO_AGE for region in regions]
    nr_accesses = _nr_accesses(snapshots, accesses)
    age = _aggregations(snapshots, ages)
    start = _numbers([each.start for each in regions], lambda i: bytes_of(regions[i].start))
    end = _numbers([each.end for each in regions], lambda i: bytes_of(regions[i].end))
    # damo writes ns under a name that says us. Its own readers take the number as it is, too.
    sampling_ns = _times(
        [
            record.attrs.sampling_ns
            if snapshot.sample_interval_us is None
            else snapshot.sample_interval_us
            for record, snapshot in zip(snapshots.records, snapshots.snapshots, strict=True)
        ]
    )
    start_ns = np.maximum(_times([each.start_time for each in snapshots.snapshots]), 0)
    end_ns = _times([each.end_time for each in snapshots.snapshots])
    lists = _RegionLists.of(snapshots, start, end)
    told = [record.filtered_kind for record in snapshots.records]
    kinds = [told[snapshot] for snapshot in owner.tolist()] if any(told) else []
    undated = np.array([a.usec is None and a.aggr_intervals is None for a in ages], np.bool_)
    return {
        "start_ns": start_ns[owner],
        "end_ns": end_ns[owner],
        "pid": np.array(lists.pids, np.int64)[lists.codes],
        "target": dictionary_array(lists.codes, lists.names),
        "start": start,
        "end": end,
        "nr_accesses": nr_accesses,
        "max_nr_accesses": _max_nr_accesses(snapshots, nr_accesses)[owner],
        "age": age,
        "age_ns": np.where(undated, UNKNOWN, ages_ns(age, start_ns[owner], end_ns[owner])),
        "touched_bytes": np.where(nr_accesses > 0, end - start, 0),
        "sampling_ns": sampling_ns[owner],
        **({"passed": _passed(snapshots, kinds, end - start)} if kinds else {}),
        "extra": _extra(snapshots, lists, end - start, _unusual(regions, accesses, ages, kinds)),
    }


def _passed(snapshots: _Snapshots, kinds: list[str], size: NDArray[np.int64]) -> pa.Array:
    """The bytes of each region that the filter of its record let pass."""
    values = [region.sz_filter_passed for region in snapshots.regions]
    sizes = _numbers([value or 0 for value in values], lambda index: bytes_of(values[index] or 0))
    words: dict[str, int] = {}
    told = words_of_sizes(kinds, np.clip(sizes, 0, size))
    codes = [words.setdefault(word, len(words)) for word in told]
    return dictionary_array(np.array(codes, np.int32), words)


def _nr_accesses(snapshots: _Snapshots, accesses: list[NrAccesses]) -> NDArray[np.int64]:
    """The samples that found each region accessed, also where only a percentage is given."""

    def samples(index: int) -> int:
        given = accesses[index]
        if given.samples is not None or given.percent is None:
            return number_of(given.samples or 0)
        attrs = snapshots.record_of(index).attrs
        return number_of(given.percent) * attrs.samples_per_aggregation // 100

    return _numbers([each.samples for each in accesses], samples)


def _aggregations(snapshots: _Snapshots, ages: list[Age]) -> NDArray[np.int64]:
    """The age of each region in aggregations, also where only a time is given."""

    def aggregations(index: int) -> int:
        given = ages[index]
        if given.aggr_intervals is not None or given.usec is None:
            return number_of(given.aggr_intervals or 0)
        return ns_of(given.usec, 1000) // snapshots.record_of(index).attrs.aggregation_ns

    return _numbers([each.aggr_intervals for each in ages], aggregations)


def _max_nr_accesses(snapshots: _Snapshots, nr_accesses: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most that `nr_accesses` can be in each snapshot: never less than it is."""
    usual = [record.attrs.samples_per_aggregation for record in snapshots.records]
    most = np.array(usual, np.int64)
    np.maximum.at(most, snapshots.owner, nr_accesses)
    return most


@dataclass(frozen=True, slots=True)
class _RegionLists:
    """The targets of regions: `codes`, of shape (regions,), are indices into the other fields.

    The regions of several targets may follow one another in a snapshot without a word, each
    target's sorted: the next target begins where the addresses fall.
    """

    codes: NDArray[np.int32]
    pids: list[int]
    names: list[str]
    extras: list[dict[str, Any]]

    @classmethod
    def of(
        cls, snapshots: _Snapshots, start: NDArray[np.int64], end: NDArray[np.int64]
    ) -> _RegionLists:
        records, owner = snapshots.records, snapshots.owner
        has_no_id = np.array([record.target_id is None for record in records], np.bool_)
        falls = np.zeros(len(start), np.int64)
        falls[1:] = (start[1:] < end[:-1]) & (owner[1:] == owner[:-1]) & has_no_id[owner[1:]]
        # Which list of its snapshot each region is in: falls since the snapshot's first region.
        fallen = np.cumsum(falls)
        index = fallen - fallen[snapshots.begins[owner]]
        if index.max(initial=0) >= _MAX_LISTS:
            raise ValueError("regions overlap")
        numbers = {id(record): number for number, record in enumerate(records)}
        record_number = np.array([numbers[id(record)] for record in records], np.int64)
        keys, codes = np.unique(record_number[owner] * _MAX_LISTS + index, return_inverse=True)
        lists = [(records[key // _MAX_LISTS], key % _MAX_LISTS) for key in keys.tolist()]
        return cls(
            codes.astype(np.int32),
            [record.pid_of(number) for record, number in lists],
            [record.name_of(number) for record, number in lists],
            [record.extra_of(number) for record, number in lists],
        )


def _extra(
    snapshots: _Snapshots,
    lists: _RegionLists,
    size: NDArray[np.int64],
    unusual: dict[int, dict[str, Any]],
) -> pa.DictionaryArray:
    """The column `extra`: the facts of records; in the first region, also those of its snapshot."""
    facts: dict[int, dict[str, Any]] = {}
    bytes_before = running_total(size)
    begins, lengths = snapshots.begins, snapshots.lengths
    totals = bytes_before[begins + lengths] - bytes_before[begins]
    for first, snapshot, total in zip(
        begins.tolist(), snapshots.snapshots, totals.tolist(), strict=True
    ):
        of_snapshot = _snapshot_facts(snapshot, total)
        if of_snapshot and snapshot.regions:
            facts[first] = {"snapshot": of_snapshot}
    for index, of_region in unusual.items():
        facts.setdefault(index, {})["region"] = of_region
    words: dict[str, int] = {}
    of_lists = [
        words.setdefault(msgspec.json.encode(extra).decode(), len(words)) for extra in lists.extras
    ]
    codes = np.array(of_lists, np.int32)[lists.codes] if of_lists else lists.codes
    size_bytes = sum(map(len, words))
    for index, others in facts.items():
        word = msgspec.json.encode(lists.extras[lists.codes[index]] | others).decode()
        codes[index] = words.setdefault(word, len(words))
        size_bytes += len(word)
        if size_bytes > _MAX_EXTRA_BYTES:
            raise ValueError("it says more of its regions than any file does")
    return dictionary_array(codes, words)


def _snapshot_facts(snapshot: DamoSnapshot, total_bytes: int) -> dict[str, Any]:
    """The facts about a snapshot that no column holds."""
    facts: dict[str, Any] = {}
    if snapshot.damos_stats is not None:
        facts["damos_stats"] = snapshot.damos_stats
    if snapshot.sample_interval_us is not None:
        facts["sample_interval_us"] = snapshot.sample_interval_us
    if snapshot.total_bytes is not None and bytes_of(snapshot.total_bytes) != total_bytes:
        facts["total_bytes"] = snapshot.total_bytes
    return facts


def _region_facts(region: Region, kind: str) -> dict[str, Any]:
    """The facts about a region that no column holds, such as fields that are missing.

    *kind* is that of the pages that passed, if a column tells their bytes.
    """
    facts: dict[str, Any] = {}
    if region.probe_hits:
        facts["probe_hits"] = region.probe_hits
    if not kind and region.sz_filter_passed not in _NOTHING_PASSED:
        facts["sz_filter_passed"] = region.sz_filter_passed
    if region.nr_accesses is None:
        facts["nr_accesses"] = None
    elif region.nr_accesses.percent is not None:
        facts["nr_accesses"] = region.nr_accesses
    if region.nr_accesses is not None and (region.age is None or region.age.usec is not None):
        facts["age"] = region.age
    return facts


def _unusual(
    regions: list[Region], accesses: list[NrAccesses], ages: list[Age], kinds: list[str]
) -> dict[int, dict[str, Any]]:
    """What regions state more, or less, than most do, by their index."""
    all_are_usual = (
        not any(map(attrgetter("probe_hits"), regions))
        and (
            all(kinds)
            if kinds
            else {region.sz_filter_passed for region in regions} <= set(_NOTHING_PASSED)
        )
        and {each.percent for each in accesses} <= {None}
        and {each.usec for each in ages} <= {None}
        and all(map(attrgetter("nr_accesses"), regions))
        and all(map(attrgetter("age"), regions))
    )
    if all_are_usual:
        return {}
    facts = map(_region_facts, regions, kinds or [""] * len(regions))
    return {index: of_region for index, of_region in enumerate(facts) if of_region}


def _numbers(values: Sequence[Value], number: Callable[[int], int]) -> NDArray[np.int64]:
    """A column of numbers; if one is missing or odd, *number* makes each of them by its index."""
    types = set(map(type, values))
    if types <= {int} or types == {str}:
        try:
            return integers(list(values), _refuse)
        except Misread:
            if types == {int}:
                raise
    indices = iter(range(len(values)))
    return integers([None] * len(values), lambda _: number(next(indices)))


def _refuse(value: Value) -> int:
    raise ValueError(f"not only digits: {value!r}")
