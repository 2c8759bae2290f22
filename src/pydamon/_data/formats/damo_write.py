"""Recordings as damo's JSON text."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pydamon._data.formats.base import ids_of
from pydamon._data.formats.damo_passed import filters_of, region_facts
from pydamon._data.formats.damo_text import attrs_of
from pydamon._data.formats.output import (
    Holds,
    TargetKeys,
    extra_codes,
    extras_of,
    lost_ages,
    lost_names,
    lost_touched,
    target_begins,
)
from pydamon._data.recording.arrow import unique_rows
from pydamon._data.recording.recording import Recording
from pydamon._model.classify import UNKNOWN
from pydamon._model.runs import running_total

__all__ = ["HOLDS", "SplitRegions", "deflate", "json_text"]

_LEVEL = 6


def deflate(file: BinaryIO, chunks: Iterable[bytes]) -> None:
    """Write a text as a zlib stream."""
    deflater = zlib.compressobj(_LEVEL)
    for chunk in chunks:
        file.write(deflater.compress(chunk))
    file.write(deflater.flush())


def json_text(chunks: Iterable[Recording]) -> Iterator[bytes]:
    """The text, record by record: *chunks* are read once for all records, and once for each."""
    yield b"["
    for number, (key, record) in enumerate(_records(chunks).items()):
        opening = msgspec.json.encode(record.head | {"snapshots": []})
        yield (b",\n" if number else b"\n") + opening[:-2]
        separator = b"\n"
        for chunk in chunks:
            for text in _snapshots(chunk, key, record.with_empty):
                yield separator + text.encode()
                separator = b",\n"
        yield b"]," + msgspec.json.encode(record.tail)[1:]
    yield b"\n]\n"


class _Key(NamedTuple):
    """The key of a record: a host, a pid, and the JSON of the head if the file came from damo."""

    host: str
    pid: int
    head: str


@dataclass(slots=True)
class _Record:
    """A record to be written: its JSON before and behind the snapshots.

    With *with_empty* it has all snapshots of its host.
    """

    head: dict[str, Any]
    tail: dict[str, Any]
    with_empty: bool


@dataclass(frozen=True, slots=True)
class _Extra:
    """A word of the column `extra`: the head of its record as JSON, and the other facts."""

    head: str
    facts: dict[str, Any]


def _extras(chunk: Recording) -> list[_Extra]:
    extras = []
    for facts in extras_of(chunk):
        others = dict(facts)
        head = others.pop("record", None)
        extras.append(_Extra(msgspec.json.encode(head).decode() if head else "", others))
    return extras


def _records(chunks: Iterable[Recording]) -> dict[_Key, _Record]:
    """The records of a recording, in the order of appearance."""
    records: dict[_Key, _Record] = {}
    for chunk in chunks:
        begins = target_begins(chunk)
        columns = (chunk.codes("host"), chunk.column("pid"), extra_codes(chunk))
        values = [column[begins].astype(np.int64) for column in columns]
        index, _ = unique_rows(*values)
        hosts, extras = chunk.names("host"), _extras(chunk)
        for number in np.sort(index).tolist():
            host, pid, code = (int(column[number]) for column in values)
            extra = extras[code]
            key = _Key(hosts[host], extra.facts.get("with_pid", pid), extra.head)
            if key not in records:
                head = msgspec.json.decode(extra.head) if extra.head else None
                head = head or _head(chunk, int(begins[number]))
                records[key] = _Record(head, {}, not extra.head)
            records[key].with_empty |= extra.facts.get("with_empty", False)
            tail = extra.facts.get("tail") or records[key].tail
            records[key].tail = tail or {"data_source": "unknown"}
    ids = ids_of(key.pid for key in records)
    for (key, record), target_id in zip(records.items(), ids, strict=True):
        if not key.head:
            record.head["target_id"] = target_id
    return records


def _head(chunk: Recording, row: int) -> dict[str, Any]:
    """The facts about a target, with the intervals of the window that *row* is in."""
    window_ns = int(chunk.column("end_ns")[row]) - int(chunk.column("start_ns")[row])
    samples = int(chunk.column("max_nr_accesses")[row])
    kinds = chunk.passed_kinds
    aggregation_us = max(samples, round(window_ns / 1000))
    intervals = {
        "sample_us": str(aggregation_us // samples),
        "aggr_us": str(aggregation_us),
        "ops_update_us": str(max(aggregation_us, chunk.info.attrs.update_ns // 1000)),
        "intervals_goal": {
            "access_bp": "0.000000",
            "aggrs": "0",
            "min_sample_us": "0",
            "max_sample_us": "0",
        },
    }
    return {
        "kdamond_idx": None,
        "context_idx": None,
        "intervals": intervals,
        "scheme_idx": None,
        "target_id": None,
        "scheme_filters": filters_of(kinds[0]) if len(kinds) == 1 else [],
    }


def _snapshots(chunk: Recording, key: _Key, with_empty: bool) -> Iterator[str]:
    """The snapshots of one record.

    A snapshot of its host in which the target has no regions is written without any: damo adds up
    the working sets of several targets by the number of the snapshot. Records of damo's own are
    as they were.
    """
    extras, codes = _extras(chunk), extra_codes(chunk)
    rows = _rows_of(chunk, key, extras, codes)
    split = SplitRegions.of(chunk, rows)
    rows = rows[split.index]
    of_kinds = region_facts(chunk, rows, split.end - split.start)
    texts = _region_texts(split, of_kinds, extras, codes[rows])
    bounds = np.searchsorted(rows, chunk.snapshot_offsets)
    totals = np.diff(running_total(split.end - split.start)[bounds])
    has_regions = np.diff(bounds) > 0
    is_written = has_regions | _has_host(chunk, key.host) if with_empty else has_regions
    # Targets of a snapshot may have windows that differ a little.
    heads = chunk.snapshot_heads
    start_ns, end_ns = (chunk.per_target(name)[heads] for name in ("start_ns", "end_ns"))
    own_rows = rows[bounds[:-1][has_regions]]
    start_ns[has_regions] = chunk.column("start_ns")[own_rows]
    end_ns[has_regions] = chunk.column("end_ns")[own_rows]
    columns = (start_ns, end_ns, totals, bounds[:-1], bounds[1:])
    for start, stop, total, first, end in zip(
        *(column[is_written].tolist() for column in columns), strict=True
    ):
        facts = {"total_bytes": str(total), "damos_stats": None, "sample_interval_us": None}
        if first < end:
            facts |= extras[codes[rows[first]]].facts.get("snapshot", {})
        yield (
            f'{{"start_time":"{start}","end_time":"{stop}",'
            f'"regions":[{",".join(texts[first:end])}],'
            f"{msgspec.json.encode(facts).decode()[1:]}"
        )


def _rows_of(
    chunk: Recording, key: _Key, extras: list[_Extra], codes: NDArray[np.int32]
) -> NDArray[np.int64]:
    """The rows that belong to a record."""
    of_host = np.array([name == key.host for name in chunk.names("host")])[chunk.codes("host")]
    has_head = np.array([extra.head == key.head for extra in extras])[codes]
    with_pid = np.array([extra.facts.get("with_pid", -1) for extra in extras], np.int64)[codes]
    pids = np.where(with_pid >= 0, with_pid, chunk.column("pid"))
    return np.flatnonzero(of_host & has_head & (pids == key.pid))


def _has_host(chunk: Recording, host: str) -> NDArray[np.bool_]:
    """Whether each snapshot has a target of that host."""
    codes = [code for code, name in enumerate(chunk.names("host")) if name == host]
    has_host = np.zeros(len(chunk), np.bool_)
    has_host[chunk.target_snapshots[np.isin(chunk.per_target("host"), codes)]] = True
    return has_host


def _region_texts(
    split: SplitRegions,
    of_kinds: tuple[list[str], list[str]],
    extras: list[_Extra],
    codes: NDArray[np.int32],
) -> list[str]:
    """Regions as JSON; *codes* say which extra each has, *of_kinds* what `region_facts` does."""
    columns = (split.start, split.end, split.nr_accesses, split.age)
    numbers = (column.tolist() for column in columns)
    texts = [
        f'{{"start":"{start}","end":"{end}",'
        f'"nr_accesses":{{"samples":{nr_accesses},"percent":null}},'
        f'"age":{{"usec":null,"aggr_intervals":{_quoted(age)}}},'
        f'"probe_hits":{hits},"sz_filter_passed":{passed}}}'
        for start, end, nr_accesses, age, hits, passed in zip(*numbers, *of_kinds, strict=True)
    ]
    has_facts = np.array(["region" in extra.facts for extra in extras], np.bool_)[codes]
    for index in np.flatnonzero(has_facts).tolist():
        facts = extras[codes[index]].facts["region"]
        region = msgspec.json.decode(texts[index]) | facts
        texts[index] = msgspec.json.encode(region).decode()
    return texts


def _quoted(age: int) -> str:
    return "null" if age == UNKNOWN else f'"{age}"'


@dataclass(frozen=True, slots=True)
class SplitRegions:
    """Regions that were touched as a whole or not at all: shape (regions,) each.

    damo knows no other regions. A region that was touched in part becomes two, so that the working
    set stays the same; the first has all the accesses, so that the heat does too. `age` is
    `UNKNOWN` where it is not known. `index` says which of the rows each region is.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_accesses: NDArray[np.int64]
    age: NDArray[np.int64]
    index: NDArray[np.int64]

    @classmethod
    def of(cls, chunk: Recording, rows: NDArray[np.int64] | slice = slice(None)) -> SplitRegions:
        """The regions in some rows of a chunk."""
        names = ("start", "end", "nr_accesses", "age", "touched_bytes", "max_nr_accesses", "age_ns")
        start, end, nr_accesses, age, touched, most, age_ns = (
            chunk.column(name)[rows].astype(np.int64) for name in names
        )
        age = np.where(age_ns == UNKNOWN, UNKNOWN, age)
        size = end - start
        is_whole = (touched == 0) | (touched == size)
        scaled = np.rint(nr_accesses * size / np.maximum(touched, 1))
        nr_accesses = np.where(is_whole, nr_accesses, scaled)
        nr_accesses = np.where(touched > 0, np.clip(nr_accesses, 1, most), 0).astype(np.int64)
        if is_whole.all():
            return cls(start, end, nr_accesses, age, np.arange(len(start)))
        index = np.repeat(np.arange(len(start)), np.where(is_whole, 1, 2))
        is_second = np.append(False, index[1:] == index[:-1])
        is_first = np.append(is_second[1:], False)
        border = (start + touched)[index]
        return cls(
            np.where(is_second, border, start[index]),
            np.where(is_first, border, end[index]),
            np.where(is_second, 0, nr_accesses[index]),
            age[index],
            index,
        )


def _partly_lost(chunk: Recording, memory: dict[Any, Any]) -> Iterator[str]:
    """The columns in which damo's JSON loses something: it has intervals only once a target."""
    yield from lost_touched(chunk)
    yield from lost_ages(chunk)
    if len(chunk.passed_kinds) > 1:  # probes count samples, not bytes
        yield "passed"
    targets = TargetKeys.of(chunk)
    extras, codes = _extras(chunk), extra_codes(chunk)
    for key, row in zip(targets.keys, targets.first_rows, strict=True):
        if key not in memory:
            head = extras[codes[row]].head
            intervals = (msgspec.json.decode(head) if head else _head(chunk, row)).get("intervals")
            attrs = attrs_of(intervals)
            memory[key] = attrs.sampling_ns, attrs.samples_per_aggregation
    if not any(extra.head for extra in extras):
        yield from lost_names(chunk, targets, memory)
    per_key = np.array([memory[key] for key in targets.keys], np.int64).reshape(-1, 2)
    sampling_ns, samples = per_key[targets.index].T
    begins = targets.begins
    states_it = np.array(["sample_interval_us" in e.facts.get("snapshot", {}) for e in extras])
    differs = chunk.column("sampling_ns")[begins] != sampling_ns
    if (~states_it[codes[begins]] & differs).any():
        yield "sampling_ns"
    highest = np.maximum.reduceat(chunk.column("nr_accesses"), begins) if len(begins) else samples
    if (chunk.column("max_nr_accesses")[begins] != np.maximum(samples, highest)).any():
        yield "max_nr_accesses"


HOLDS = Holds(
    columns=frozenset(
        {
            *("start_ns", "end_ns", "pid", "target", "start", "end", "nr_accesses", "age"),
            *("age_ns", "touched_bytes", "sampling_ns", "max_nr_accesses", "passed"),
        }
    ),
    extra_keys=frozenset({"record", "tail", "snapshot", "region", "with_pid", "with_empty"}),
    attrs=frozenset({"sampling_ns", "aggregation_ns", "update_ns"}),
    partly_lost=_partly_lost,
)
"""The facts that damo's JSON holds."""
