"""The records, snapshots and regions of damo's JSON as rows of a recording."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.formats.damo_pids import Numbering
from pydamon._data.recording.arrays import ages_ns, batch_of, named
from pydamon._model.attrs import Attrs
from pydamon._model.classify import UNKNOWN
from pydamon._model.damo_values import Misread, Value, bytes_of, integers, ns_of, number_of

__all__ = ["TARGET_ID", "Record", "Snapshot", "attrs_of", "rows_of"]

TARGET_ID = re.compile(rb'"target_id"\s*:\s*"?(\d{1,20})')
_INDICES = ("kdamond_idx", "context_idx", "scheme_idx", "target_id")
_MOST_LISTS = 1024
"""Targets whose regions one record lists."""
_MOST_EXTRA_BYTES = 2**26
_LONGEST_US = 2**50


class _NrAccesses(msgspec.Struct, gc=False):
    samples: Value = None
    percent: Value = None


class _Age(msgspec.Struct, gc=False):
    usec: Value = None
    aggr_intervals: Value = None


class _Region(msgspec.Struct, gc=False):
    start: int | str
    end: int | str
    nr_accesses: _NrAccesses | None = None
    age: _Age | None = None
    probe_hits: tuple[Any, ...] = ()
    sz_filter_passed: Value = None


class Snapshot(msgspec.Struct):
    start_time: int | float | str
    end_time: int | float | str
    regions: list[_Region]
    total_bytes: Value = None
    damos_stats: Any = None
    sample_interval_us: Value = None


_NO_ACCESSES, _NO_AGE = _NrAccesses(), _Age()
_NOTHING_PASSED = (None, 0, "0", "0 B")


@dataclass(slots=True)
class Record:
    """What a record says of all its snapshots.

    A target's id serves as its pid, so that reports tell targets apart.
    """

    head: dict[str, Any]
    numbering: Numbering
    number: int = 1
    tail: dict[str, Any] = field(default_factory=dict)
    snapshot_count: int = 0
    """Those that were made rows of already."""
    target_id: int | None = None
    name: str = ""
    attrs: Attrs = field(default_factory=Attrs)
    pids: list[int] = field(default_factory=list)
    """Of each target that its snapshots list regions of; more than one only where no id says it."""

    def __post_init__(self) -> None:
        target_id = self.head.get("target_id")
        if isinstance(target_id, str | int) and not isinstance(target_id, bool):
            self.target_id = number_of(target_id)
        parts = [(part, self.head.get(f"{part}_idx")) for part in ("kdamond", "context", "scheme")]
        of_scheme = ", ".join(f"{part} {index}" for part, index in parts if index is not None)
        self.name = of_scheme if self.target_id is None else f"target {self.target_id}"
        try:
            self.attrs = attrs_of(self.head.get("intervals"))
        except ValueError as error:
            raise ValueError(f"record {self.number}: its intervals: {error}") from error
        indices = [self.head.get(name) for name in _INDICES]
        # What has the same indices and id is the same target, in files put together.
        key = None if indices == [None] * len(_INDICES) else msgspec.json.encode(indices)
        self.pids.append(self.numbering.pid(self.target_id, key))

    def pid_of(self, index: int) -> int:
        """The pid of the target whose regions come at that place."""
        while len(self.pids) <= index:
            self.pids.append(self.numbering.pid(None))
        return self.pids[index]

    def name_of(self, index: int) -> str:
        """Its name."""
        return ", ".join(filter(None, [self.name, f"target {index}"])) if index else self.name

    def extra_of(self, index: int) -> dict[str, Any]:
        """What no column holds: the record, as it is to be written again."""
        extra: dict[str, Any] = {"record": {k: v for k, v in self.head.items() if k != "snapshots"}}
        if self.tail not in ({}, {"snapshots": []}, {"snapshots": [], "data_source": "unknown"}):
            extra["tail"] = {k: v for k, v in self.tail.items() if k != "snapshots"}
        if index:
            extra["with_pid"] = self.pids[0]
        return extra


def rows_of(parsed: Sequence[tuple[Record, list[Snapshot]]]) -> pa.RecordBatch:
    """The rows of some snapshots; raises `ValueError` that says where, for what is no number."""
    records = [record for record, snapshots in parsed for _ in snapshots]
    snapshots = [snapshot for _, several in parsed for snapshot in several]
    lengths = np.array([len(snapshot.regions) for snapshot in snapshots], np.int64)
    owner = np.repeat(np.arange(len(snapshots)), lengths)
    try:
        rows = batch_of(_columns(records, snapshots, lengths, owner), len(owner))
    except Misread as error:
        of_snapshot = isinstance(error, _InSnapshot)
        which = error.index if of_snapshot else int(owner[error.index])
        record = records[which]
        counted = record.snapshot_count + sum(r is record for r in records[:which])
        place = f"record {record.number}, snapshot {counted + 1}"
        if not of_snapshot:
            place += f", region {error.index - int(lengths[:which].sum()) + 1}"
        raise ValueError(f"{place}: {error}") from error
    for record, several in parsed:
        record.snapshot_count += len(several)
    return rows


class _InSnapshot(Misread):
    """Its index is that of a snapshot."""


def _of_snapshots(values: list[Value]) -> NDArray[np.int64]:
    try:
        return integers(values, ns_of) if values else np.zeros(0, np.int64)
    except Misread as error:
        raise _InSnapshot(str(error), error.index) from error


def _columns(
    records: list[Record],
    snapshots: list[Snapshot],
    lengths: NDArray[np.int64],
    owner: NDArray[np.int64],
) -> dict[str, Any]:
    regions = [region for snapshot in snapshots for region in snapshot.regions]
    accesses = [region.nr_accesses or _NO_ACCESSES for region in regions]
    ages = [region.age or _NO_AGE for region in regions]

    def samples(index: int) -> int:
        one = accesses[index]
        if one.samples is not None or one.percent is None:
            return number_of(one.samples or 0)
        attrs = records[int(owner[index])].attrs
        return number_of(one.percent) * attrs.samples_per_aggregation // 100

    def aggregations(index: int) -> int:
        one = ages[index]
        if one.aggr_intervals is not None or one.usec is None:
            return number_of(one.aggr_intervals or 0)
        return ns_of(one.usec, 1000) // records[int(owner[index])].attrs.aggregation_ns

    nr_accesses = _column([one.samples for one in accesses], samples)
    age = _column([one.aggr_intervals for one in ages], aggregations)
    start = _column([region.start for region in regions], lambda i: bytes_of(regions[i].start))
    end = _column([region.end for region in regions], lambda i: bytes_of(regions[i].end))
    # Written as ns under a name that says us: damo's own readers take it for what it says.
    sampling_ns = _of_snapshots(
        [
            record.attrs.sampling_ns if (value := one.sample_interval_us) is None else value
            for record, one in zip(records, snapshots, strict=True)
        ]
    )
    start_ns = np.maximum(_of_snapshots([one.start_time for one in snapshots]), 0)
    end_ns = _of_snapshots([one.end_time for one in snapshots])
    most = np.array([record.attrs.samples_per_aggregation for record in records], np.int64)
    ends = np.cumsum(lengths)
    heights = [
        max(least, int(nr_accesses[end - count : end].max(initial=0)))
        for least, end, count in zip(most.tolist(), ends.tolist(), lengths.tolist(), strict=True)
    ]
    lists = _Lists.of(records, lengths, owner, start, end)
    undated = np.array([one.usec is None and one.aggr_intervals is None for one in ages], np.bool_)
    return {
        "start_ns": start_ns[owner],
        "end_ns": end_ns[owner],
        "pid": np.array(lists.pids, np.int64)[lists.codes],
        "target": named(lists.codes, lists.names),
        "start": start,
        "end": end,
        "nr_accesses": nr_accesses,
        "max_nr_accesses": np.array(heights, np.int64)[owner],
        "age": age,
        "age_ns": np.where(undated, UNKNOWN, ages_ns(age, start_ns[owner], end_ns[owner])),
        "touched_bytes": np.where(nr_accesses > 0, end - start, 0),
        "sampling_ns": sampling_ns[owner],
        "extra": _extra(lists, snapshots, lengths, end - start, _unusual(regions, accesses, ages)),
    }


@dataclass(frozen=True, slots=True)
class _Lists:
    """Whose regions they are: `codes`, of shape (regions,), index the rest.

    A scheme's regions of several targets follow one another without a word, each target's sorted:
    where the addresses fall, the next target begins.
    """

    codes: NDArray[np.int32]
    pids: list[int]
    names: list[str]
    extras: list[dict[str, Any]]

    @classmethod
    def of(
        cls,
        records: list[Record],
        lengths: NDArray[np.int64],
        owner: NDArray[np.int64],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
    ) -> _Lists:
        unnamed = np.array([record.target_id is None for record in records], np.bool_)
        falls = np.zeros(len(start), np.int64)
        falls[1:] = (start[1:] < end[:-1]) & (owner[1:] == owner[:-1]) & unnamed[owner[1:]]
        place = np.cumsum(falls)
        heads = (np.cumsum(lengths) - lengths)[lengths > 0]
        place -= np.repeat(place[heads], lengths[lengths > 0])
        if place.max(initial=0) >= _MOST_LISTS:
            raise ValueError("regions overlap")
        index = {id(record): number for number, record in enumerate(records)}
        whose = np.array([index[id(record)] for record in records], np.int64)
        keys, codes = np.unique(whose[owner] * _MOST_LISTS + place, return_inverse=True)
        lists = [(records[key // _MOST_LISTS], key % _MOST_LISTS) for key in keys.tolist()]
        return cls(
            codes.astype(np.int32),
            [record.pid_of(at) for record, at in lists],
            [record.name_of(at) for record, at in lists],
            [record.extra_of(at) for record, at in lists],
        )


def _extra(
    lists: _Lists,
    snapshots: list[Snapshot],
    lengths: NDArray[np.int64],
    size: NDArray[np.int64],
    unusual: dict[int, _Region],
) -> pa.DictionaryArray:
    found: dict[int, dict[str, Any]] = {}
    begins = (np.cumsum(lengths) - lengths).tolist()
    sums = np.append(0, np.cumsum(size))
    totals = (sums[np.cumsum(lengths)] - sums[np.cumsum(lengths) - lengths]).tolist()
    for first, snapshot, total in zip(begins, snapshots, totals, strict=True):
        rest: dict[str, Any] = {}
        if snapshot.damos_stats is not None:
            rest["damos_stats"] = snapshot.damos_stats
        if snapshot.sample_interval_us is not None:
            rest["sample_interval_us"] = snapshot.sample_interval_us
        if snapshot.total_bytes is not None and bytes_of(snapshot.total_bytes) != total:
            rest["total_bytes"] = snapshot.total_bytes
        if rest and snapshot.regions:
            found[first] = {"snapshot": rest}
    for index, region in unusual.items():
        found.setdefault(index, {})["region"] = _rest(region)
    words: dict[str, int] = {}
    usual = [
        words.setdefault(msgspec.json.encode(extra).decode(), len(words)) for extra in lists.extras
    ]
    codes = np.array(usual, np.int32)[lists.codes] if usual else lists.codes
    size_bytes = sum(map(len, words))
    for index, rest in found.items():
        word = msgspec.json.encode(lists.extras[lists.codes[index]] | rest).decode()
        codes[index] = words.setdefault(word, len(words))
        size_bytes += len(word)
        if size_bytes > _MOST_EXTRA_BYTES:
            raise ValueError("it says more of its regions than any file does")
    return named(codes, words)


def _column(values: Sequence[Value], slowly: Callable[[int], int]) -> NDArray[np.int64]:
    """A column of numbers; where one is missing or odd, each is made from other things."""
    kinds = set(map(type, values))
    if kinds <= {int} or kinds == {str}:
        try:
            return integers(list(values), _not_plain)
        except Misread:
            if kinds == {int}:
                raise
    indices = iter(range(len(values)))
    return integers([None] * len(values), lambda _: slowly(next(indices)))


def _not_plain(value: Value) -> int:
    raise ValueError(f"not only digits: {value!r}")


def _unusual(
    regions: list[_Region], accesses: list[_NrAccesses], ages: list[_Age]
) -> dict[int, _Region]:
    """Regions that say more, or less, than most do, by their index."""
    plain = (
        not any(map(attrgetter("probe_hits"), regions))
        and {region.sz_filter_passed for region in regions} <= set(_NOTHING_PASSED)
        and {one.percent for one in accesses} <= {None}
        and {one.usec for one in ages} <= {None}
        and all(map(attrgetter("nr_accesses"), regions))
        and all(map(attrgetter("age"), regions))
    )
    return {} if plain else {i: region for i, region in enumerate(regions) if _rest(region)}


def _rest(region: _Region) -> dict[str, Any]:
    rest: dict[str, Any] = {}
    if region.probe_hits:
        rest["probe_hits"] = region.probe_hits
    if region.sz_filter_passed not in _NOTHING_PASSED:
        rest["sz_filter_passed"] = region.sz_filter_passed
    if region.nr_accesses is None:
        rest["nr_accesses"] = None
    elif region.nr_accesses.percent is not None:
        rest["nr_accesses"] = region.nr_accesses
    if region.nr_accesses is not None and (region.age is None or region.age.usec is not None):
        rest["age"] = region.age
    return rest


def attrs_of(intervals: Any) -> Attrs:
    """The intervals of a record, or the usual ones where it does not say them."""
    names = ("sample_us", "aggr_us", "ops_update_us")
    if not isinstance(intervals, dict) or any(intervals.get(name) is None for name in names):
        return Attrs()
    values = integers([str(intervals[name]) for name in names], number_of).tolist()
    if max(values) > _LONGEST_US:
        raise ValueError("intervals are too long")
    sampling_ns, aggregation_ns, update_ns = (1000 * value for value in values)
    return Attrs(sampling_ns, aggregation_ns, max(update_ns, aggregation_ns))
