"""Recordings as damo's JSON text."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from pydamon._data.formats.damo_pids import ids_of
from pydamon._data.formats.damo_rows import attrs_of
from pydamon._data.formats.extras import extras_of
from pydamon._data.formats.holds import Holds, TargetKeys, lost_ages, lost_names, lost_touched
from pydamon._data.recording.arrays import distinct
from pydamon._data.recording.format import EXTRA
from pydamon._data.recording.recording import Recording
from pydamon._model.classify import UNKNOWN

__all__ = ["HOLDS", "deflated", "json_text", "split_touched"]


_LEVEL = 6
_Key: TypeAlias = tuple[str, int, str]
"""A record of its own: host, pid, and what damo itself once said of it, as JSON."""


def deflated(file: BinaryIO, chunks: Iterable[bytes]) -> None:
    """Write a text as one zlib stream."""
    deflater = zlib.compressobj(_LEVEL)
    for chunk in chunks:
        file.write(deflater.compress(chunk))
    file.write(deflater.flush())


def json_text(parts: Iterable[Recording]) -> Iterator[bytes]:
    """The text, record by record: *parts* are asked for once to find these, and once for each."""
    yield b"["
    for number, (key, record) in enumerate(_records(parts).items()):
        opening = msgspec.json.encode(record.head | {"snapshots": []})
        yield (b",\n" if number else b"\n") + opening[:-2]
        separator = b"\n"
        for part in parts:
            for text in _snapshots(part, key):
                yield separator + text.encode()
                separator = b",\n"
        yield b"]," + msgspec.json.encode(record.tail)[1:]
    yield b"\n]\n"


@dataclass(slots=True)
class _Record:
    head: dict[str, Any]
    tail: dict[str, Any]


def _records(parts: Iterable[Recording]) -> dict[_Key, _Record]:
    """Every record that there is to write, in the order of appearance."""
    found: dict[_Key, _Record] = {}
    for part in parts:
        first = part.part_offsets[:-1]
        columns = (part.codes("host"), part.column("pid"), _extra_codes(part))
        codes = [column[first].astype(np.int64) for column in columns]
        index, _ = distinct(*codes)
        hosts, extras = part.names("host"), _extras(part)
        for which in np.sort(index).tolist():
            host, pid, extra = (int(values[which]) for values in codes)
            said = extras[extra]
            key = hosts[host], said.rest.get("with_pid", pid), said.record
            if key not in found:
                head = msgspec.json.decode(said.record) if said.record else None
                found[key] = _Record(head or _head(part, int(first[which])), {})
            tail = said.rest.get("tail")
            found[key].tail = tail or found[key].tail or {"data_source": "unknown"}
    ids = ids_of(pid for _, pid, _ in found)
    for (_, _, record), target_id, one in zip(found, ids, found.values(), strict=True):
        if not record:
            one.head["target_id"] = target_id
    return found


def _head(part: Recording, row: int) -> dict[str, Any]:
    """What damo says of a target; intervals are those that were used, not those asked for."""
    window_ns = int(part.column("end_ns")[row]) - int(part.column("start_ns")[row])
    most = int(part.column("max_nr_accesses")[row])
    aggregation_us = max(most, round(window_ns / 1000))
    intervals = {
        "sample_us": str(aggregation_us // most),
        "aggr_us": str(aggregation_us),
        "ops_update_us": str(max(aggregation_us, part.info.attrs.update_ns // 1000)),
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
        "scheme_filters": [],
    }


@dataclass(frozen=True, slots=True)
class _Extra:
    """A word of the column `extra`: the record it names, as JSON, and the rest."""

    record: str
    rest: dict[str, Any]


def _extras(part: Recording) -> list[_Extra]:
    found = []
    for said in extras_of(part):
        rest = dict(said)
        record = rest.pop("record", None)
        found.append(_Extra(msgspec.json.encode(record).decode() if record else "", rest))
    return found


def _extra_codes(part: Recording) -> NDArray[np.int32]:
    if EXTRA.name not in part.table.column_names:
        return np.zeros(len(part.table), np.int32)
    return part.codes(EXTRA.name)


def _snapshots(part: Recording, key: _Key) -> Iterator[str]:
    """The snapshots of one record.

    Where a target has no regions in a snapshot of its host, it gets one without: damo adds up the
    working sets of several targets by their number.
    """
    host, pid, record = key
    extras, codes = _extras(part), _extra_codes(part)
    ours = np.array([extra.record == record for extra in extras])[codes]
    of_host = np.array([name == host for name in part.names("host")])[part.codes("host")]
    with_pid = np.array([extra.rest.get("with_pid", -1) for extra in extras], np.int64)[codes]
    pids = np.where(with_pid >= 0, with_pid, part.column("pid"))
    rows = np.flatnonzero(ours & of_host & (pids == pid))
    start, end, rate, age, index = split_touched(part, rows)
    regions = _regions(start, end, rate, age)
    rows = rows[index]
    says_more = np.array(["region" in extra.rest for extra in extras], np.bool_)[codes[rows]]
    for at in np.flatnonzero(says_more).tolist():
        said = extras[codes[rows[at]]].rest["region"]
        regions[at] = msgspec.json.encode(msgspec.json.decode(regions[at]) | said).decode()
    offsets = part.snapshot_offsets
    first = offsets[:-1]
    bounds = np.searchsorted(rows, offsets)
    sums = np.concatenate([[0], np.cumsum(end - start)])[bounds]
    # A target's own window may be a little different from that of others in its snapshot.
    has_own = np.diff(bounds) > 0
    timed = first.copy()
    timed[has_own] = rows[bounds[:-1][has_own]]
    is_here = np.logical_or.reduceat(of_host, first) if len(first) else has_own
    windows = zip(
        part.column("start_ns")[timed].tolist(),
        part.column("end_ns")[timed].tolist(),
        np.diff(sums).tolist(),
        is_here.tolist(),
        bounds[:-1].tolist(),
        bounds[1:].tolist(),
        strict=True,
    )
    for start_ns, end_ns, total, here, low, high in windows:
        if not here or (record and low == high):
            continue
        facts: dict[str, Any] = {
            "total_bytes": str(total),
            "damos_stats": None,
            "sample_interval_us": None,
        }
        if low < high:
            facts |= extras[codes[rows[low]]].rest.get("snapshot", {})
        yield (
            f'{{"start_time":"{start_ns}","end_time":"{end_ns}",'
            f'"regions":[{",".join(regions[low:high])}],'
            f"{msgspec.json.encode(facts).decode()[1:]}"
        )


def _regions(*columns: NDArray[np.int64]) -> list[str]:
    return [
        f'{{"start":"{start}","end":"{end}",'
        f'"nr_accesses":{{"samples":{rate},"percent":null}},'
        f'"age":{{"usec":null,"aggr_intervals":{_quoted(age)}}},'
        f'"probe_hits":[],"sz_filter_passed":"0 B"}}'
        for start, end, rate, age in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _quoted(age: int) -> str:
    return "null" if age == UNKNOWN else f'"{age}"'


def split_touched(
    part: Recording, rows: NDArray[np.int64] | slice = slice(None)
) -> tuple[NDArray[np.int64], ...]:
    """Regions (start, end, nr_accesses, age, index) that are either all touched or not at all.

    damo takes a region for touched as a whole, or not. One that was touched in part becomes two,
    so that the working set stays what it was; the first has all the accesses, so that the heat
    does too. An age that is not known is `UNKNOWN`; *index* is that into *rows*.
    """
    names = ("start", "end", "nr_accesses", "age", "touched_bytes", "max_nr_accesses", "age_ns")
    start, end, nr_accesses, age, touched, most, age_ns = (
        part.column(name)[rows].astype(np.int64) for name in names
    )
    age = np.where(age_ns == UNKNOWN, UNKNOWN, age)
    size = end - start
    whole = (touched == 0) | (touched == size)
    rate = np.where(whole, nr_accesses, np.rint(nr_accesses * size / np.maximum(touched, 1)))
    rate = np.where(touched > 0, np.clip(rate, 1, most), 0).astype(np.int64)
    if whole.all():
        return start, end, rate, age, np.arange(len(start))
    index = np.repeat(np.arange(len(start)), np.where(whole, 1, 2))
    second = np.append(False, index[1:] == index[:-1])
    first = np.append(second[1:], False)
    border = (start + touched)[index]
    return (
        np.where(second, border, start[index]),
        np.where(first, border, end[index]),
        np.where(second, 0, rate[index]),
        age[index],
        index,
    )


def _partly_lost(part: Recording, memory: dict[Any, Any]) -> Iterator[str]:
    yield from lost_touched(part)
    yield from lost_ages(part)
    targets = TargetKeys.of(part)
    extras, codes = _extras(part), _extra_codes(part)
    heads = []
    for key, row in zip(targets.keys, targets.first, strict=True):
        record = extras[codes[row]].record
        if key not in memory:
            head = msgspec.json.decode(record) if record else _head(part, row)
            attrs = attrs_of(head.get("intervals"))
            memory[key] = attrs.sampling_ns, attrs.samples_per_aggregation
        heads.append(memory[key])
    if not any(extra.record for extra in extras):
        yield from lost_names(part, targets, memory)
    sampling_ns, most = np.array(heads, np.int64).reshape(-1, 2)[targets.which].T
    says_it = np.array(["sample_interval_us" in e.rest.get("snapshot", {}) for e in extras])
    begins = targets.begins
    if (~says_it[codes[begins]] & (part.column("sampling_ns")[begins] != sampling_ns)).any():
        yield "sampling_ns"
    highest = np.maximum.reduceat(part.column("nr_accesses"), begins) if len(begins) else most
    if (part.column("max_nr_accesses")[begins] != np.maximum(most, highest)).any():
        yield "max_nr_accesses"


HOLDS = Holds(
    columns=frozenset(
        {
            *("start_ns", "end_ns", "pid", "target", "start", "end", "nr_accesses", "age"),
            *("age_ns", "touched_bytes", "sampling_ns", "max_nr_accesses"),
        }
    ),
    extra_keys=frozenset({"record", "tail", "snapshot", "region", "with_pid"}),
    attrs=frozenset({"sampling_ns", "aggregation_ns", "update_ns"}),
    partly=_partly_lost,
)
"""What damo's JSON holds: a target's intervals once for all its snapshots."""
