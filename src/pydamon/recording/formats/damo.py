"""damo's record files: `json`, and `json_compressed`, which is the same text as one zlib stream.

Their records are per target: every snapshot of one, then every snapshot of the next. What damo
writes and no column of ours holds (filters, statistics of schemes, ...) is kept in the column
`extra`, so that nothing is lost on the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon.core.attrs import Attrs
from pydamon.core.classify import UNKNOWN
from pydamon.core.damo_values import Value, bytes_of, integers, ns_of, number_of
from pydamon.recording.arrays import batch_of, constant, named
from pydamon.recording.format import RecordingInfo
from pydamon.recording.formats import damo_json, damo_write
from pydamon.recording.formats.base import Incomplete
from pydamon.recording.recording import Recording

__all__ = ["DamoJson", "DamoJsonCompressed"]

_T = TypeVar("_T")


class DamoJson:
    """damo's `json`."""

    name = "json"
    suffixes: tuple[str, ...] = (".json",)
    is_text = True

    def matches(self, head: bytes) -> bool:
        return head.lstrip().startswith(b"[")

    def open(self, path: Path) -> DamoSource:
        return DamoSource(path, damo_json.plain)

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        for text in damo_write.json_text(parts):
            file.write(text)


class DamoJsonCompressed:
    """damo's `json_compressed`, its default."""

    name = "json_compressed"
    suffixes: tuple[str, ...] = (".data", ".json_compressed")
    is_text = False

    def matches(self, head: bytes) -> bool:
        """Whether it begins as a zlib stream does (RFC 1950)."""
        return (
            len(head) > 1 and head[0] & 0x8F == 0x08 and int.from_bytes(head[:2], "big") % 31 == 0
        )

    def open(self, path: Path) -> DamoSource:
        return DamoSource(path, damo_json.inflated)

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        damo_write.deflated(file, damo_write.json_text(parts))


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


class _Snapshot(msgspec.Struct):
    start_time: int | float | str
    end_time: int | float | str
    regions: list[_Region]
    total_bytes: Value = None
    damos_stats: Any = None
    sample_interval_us: Value = None


_SNAPSHOTS = msgspec.json.Decoder(list[_Snapshot])
_RECORD = msgspec.json.Decoder(dict[str, Any])
_NO_ACCESSES, _NO_AGE = _NrAccesses(), _Age()
_NOTHING_PASSED = (None, 0, "0", "0 B")


class DamoSource:
    """A file of damo's JSON."""

    ordered = False

    def __init__(self, path: Path, chunks: Callable[[Path], Iterator[bytes]]) -> None:
        self._path = path
        self._chunks = chunks
        attrs, started_ns = Attrs(), 0
        with suppress(Incomplete):
            for kind, text in damo_json.pieces(self._chunks(path)):
                if kind == "head":
                    attrs = _Record(_parsed(_RECORD, text + b"]}"), {}).attrs
                elif kind == "snapshots":
                    started_ns = max(
                        0, ns_of(_parsed(_SNAPSHOTS, b"[" + text + b"]")[0].start_time)
                    )
                    break
        self.info = RecordingInfo(attrs, "damo", started_ns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """A piece of text waits for the next, since the tail of a record may be about it."""
        pids: dict[str, int] = {}
        record = _Record({}, {})
        waiting: bytes | None = None
        for kind, text in damo_json.pieces(damo_json.ahead(self._chunks(self._path))):
            if kind == "tail":
                record.tail = _parsed(_RECORD, b'{"snapshots":[' + text)
            if waiting is not None:
                yield record.batch(_parsed(_SNAPSHOTS, b"[" + waiting + b"]"))
            waiting = text if kind == "snapshots" else None
            if kind == "head":
                record = _Record(_parsed(_RECORD, text + b"]}"), pids)


class _Record:
    """What a record says of all its snapshots, and their rows.

    A target's id serves as its pid, so that reports tell targets apart. *pids* are those of the
    records so far: what has the same indices and id is the same target, in files put together.
    """

    def __init__(self, head: dict[str, Any], pids: dict[str, int]) -> None:
        self._head = {key: value for key, value in head.items() if key != "snapshots"}
        self.tail: dict[str, Any] = {}
        target_id = head.get("target_id")
        names = ("kdamond_idx", "context_idx", "scheme_idx", "target_id")
        indices = [head.get(name) for name in names]
        nameless = indices == [None] * len(names)
        key = f"record {len(pids)}" if nameless else msgspec.json.encode(indices).decode()
        taken = set(pids.values())
        if key in pids:
            self.pid = pids[key]
        elif isinstance(target_id, int) and 0 <= target_id < 2**31 and target_id not in taken:
            self.pid = target_id
        else:
            self.pid = next(number for number in count() if number not in taken)
        pids[key] = self.pid
        parts = [(part, head.get(f"{part}_idx")) for part in ("kdamond", "context", "scheme")]
        of_scheme = ", ".join(f"{part} {index}" for part, index in parts if index is not None)
        self.name = of_scheme if target_id is None else f"target {target_id}"
        self.attrs = _attrs(head.get("intervals"))

    def batch(self, snapshots: list[_Snapshot]) -> pa.RecordBatch:
        """The rows of some of its snapshots; raises `ValueError` for what are no numbers."""
        regions = [region for snapshot in snapshots for region in snapshot.regions]
        lengths = np.array([len(snapshot.regions) for snapshot in snapshots], np.int64)
        accesses = [region.nr_accesses or _NO_ACCESSES for region in regions]
        ages = [region.age or _NO_AGE for region in regions]
        most = self.attrs.samples_per_aggregation
        aggregation_us = self.attrs.aggregation_ns // 1000

        def samples(index: int) -> int:
            one = accesses[index]
            if one.samples is not None or one.percent is None:
                return number_of(one.samples or 0)
            return number_of(one.percent) * most // 100

        def aggregations(index: int) -> int:
            one = ages[index]
            if one.aggr_intervals is not None or one.usec is None:
                return number_of(one.aggr_intervals or 0)
            return ns_of(one.usec) // 1000 // aggregation_us

        nr_accesses = _column([one.samples for one in accesses], samples)
        age = _column([one.aggr_intervals for one in ages], aggregations)
        start = integers([region.start for region in regions], bytes_of)
        end = integers([region.end for region in regions], bytes_of)
        touched = np.where(nr_accesses > 0, end - start, 0)
        sampling = [s.sample_interval_us for s in snapshots]

        def each(values: list[int]) -> NDArray[np.int64]:
            return np.repeat(np.array(values, np.int64), lengths)

        undated = np.array([one.usec is None and one.aggr_intervals is None for one in ages])
        windows = [max(0, ns_of(s.end_time)) - max(0, ns_of(s.start_time)) for s in snapshots]
        window_ns = each(windows)

        # Written as ns under a name that says us: damo's own readers take it for what it says.
        sampling_ns = [self.attrs.sampling_ns if v is None else ns_of(v) for v in sampling]
        ends = np.cumsum(lengths)
        heights = [
            max(most, int(nr_accesses[e - n : e].max(initial=0)))
            for e, n in zip(ends.tolist(), lengths.tolist(), strict=True)
        ]
        unusual = _unusual(regions, accesses, ages)
        columns = {
            "start_ns": each([max(0, ns_of(one.start_time)) for one in snapshots]),
            "end_ns": each([ns_of(one.end_time) for one in snapshots]),
            "pid": np.full(len(regions), self.pid, np.int32),
            "target": constant(self.name, len(regions)),
            "start": start,
            "end": end,
            "nr_accesses": nr_accesses,
            "max_nr_accesses": each(heights),
            "age": age,
            "age_ns": np.where(undated, UNKNOWN, age * window_ns),
            "touched_bytes": touched,
            "sampling_ns": each(sampling_ns),
            "extra": self._extra(snapshots, lengths, end - start, unusual),
        }
        return batch_of(columns, len(regions))

    def _extra(
        self,
        snapshots: list[_Snapshot],
        lengths: NDArray[np.int64],
        size: NDArray[np.int64],
        unusual: dict[int, _Region],
    ) -> pa.DictionaryArray:
        base: dict[str, Any] = {"record": self._head}
        if self.tail not in ({"snapshots": []}, {"snapshots": [], "data_source": "unknown"}):
            base["tail"] = {k: v for k, v in self.tail.items() if k != "snapshots"}
        found: dict[int, dict[str, Any]] = {}
        begins = (np.cumsum(lengths) - lengths).tolist()
        for first, length, snapshot in zip(begins, lengths.tolist(), snapshots, strict=True):
            rest: dict[str, Any] = {}
            if snapshot.damos_stats is not None:
                rest["damos_stats"] = snapshot.damos_stats
            if snapshot.sample_interval_us is not None:
                rest["sample_interval_us"] = snapshot.sample_interval_us
            total = int(size[first : first + length].sum())
            if snapshot.total_bytes is not None and bytes_of(snapshot.total_bytes) != total:
                rest["total_bytes"] = snapshot.total_bytes
            if rest and length:
                found[first] = {"snapshot": rest}
        for index, region in unusual.items():
            found.setdefault(index, {})["region"] = _rest(region)
        words = {msgspec.json.encode(base).decode(): 0}
        codes = np.zeros(len(size), np.int32)
        for index, rest in found.items():
            word = msgspec.json.encode(base | rest).decode()
            codes[index] = words.setdefault(word, len(words))
        return named(codes, words)


def _column(values: list[Value], slowly: Callable[[int], int]) -> NDArray[np.int64]:
    """A column of numbers; where one is missing or odd, each is made from other things."""
    if None not in values:
        return integers(values, number_of)
    return np.array([slowly(index) for index in range(len(values))], np.int64)


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


def _attrs(intervals: Any) -> Attrs:
    """The intervals of a record, or the usual ones where it does not say them."""
    if not isinstance(intervals, dict):
        return Attrs()
    try:
        sampling_ns, aggregation_ns, update_ns = (
            1000 * number_of(intervals[f"{name}_us"]) for name in ("sample", "aggr", "ops_update")
        )
        return Attrs(sampling_ns, aggregation_ns, max(update_ns, aggregation_ns))
    except (KeyError, ValueError, OverflowError):
        return Attrs()


def _parsed(decoder: msgspec.json.Decoder[_T], text: bytes) -> _T:
    try:
        return decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise ValueError(f"its JSON makes no sense: {error}") from error
