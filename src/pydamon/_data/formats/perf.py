"""`perf script` text of DAMON's tracepoint, one line a region: read and written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.formats.base import ids_of
from pydamon._data.formats.content import Content, line_chunks
from pydamon._data.formats.damo_write import SplitRegions
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
from pydamon._data.formats.perf_rows import Aggregations, Lines
from pydamon._data.recording.arrow import to_numpy
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.schema import RecordingInfo
from pydamon._model.attrs import Attrs
from pydamon._model.classify import UNKNOWN
from pydamon._model.damo_values import Misread

__all__ = ["PerfScript"]

_TASK = "kdamond.0     0 [000]"
"""Stands before the time in our own lines: the thread, its id, the CPU."""
_PRINTED_EVENT = "damon:damon_aggregated:"


def _write(file: BinaryIO, chunks: Iterable[Recording]) -> None:
    """Write a recording: *chunks* are read once to number the targets, and once for the rows."""
    writer = _Writer(file, chunks)
    for chunk in chunks:
        writer.write(chunk)
    writer.close()


@dataclass(frozen=True, slots=True)
class _Aggregations:
    """The aggregations of single targets in a chunk.

    Each begins at a row of `begins`; `keys` are host and pid. `facts` come from the line of the
    first region, if the recording came from perf.
    """

    begins: NDArray[np.int64]
    keys: list[tuple[str, int]]
    facts: list[dict[str, Any]]

    @classmethod
    def of(cls, chunk: Recording) -> _Aggregations:
        begins = target_begins(chunk)
        hosts, facts = chunk.names("host"), _perf_facts(chunk)
        host, pid = chunk.codes("host")[begins].tolist(), chunk.column("pid")[begins].tolist()
        return cls(
            begins,
            [(hosts[code], number) for code, number in zip(host, pid, strict=True)],
            [facts[code] for code in extra_codes(chunk)[begins].tolist()],
        )


class _Writer:
    def __init__(self, file: BinaryIO, chunks: Iterable[Recording]) -> None:
        self._file = file
        self._endings: dict[tuple[str, int], str] = {}
        """Of each target: a line that follows its only aggregation; empty if it has several."""
        target_ids: dict[tuple[str, int], int] = {}
        for chunk in chunks:
            aggregations = _Aggregations.of(chunk)
            for key, facts in zip(aggregations.keys, aggregations.facts, strict=True):
                target_ids.setdefault(key, facts.get("target_id", key[1]))
        self._ids = dict(zip(target_ids, ids_of(target_ids.values()), strict=True))

    def write(self, chunk: Recording) -> None:
        """Write a line for each region of a chunk."""
        split = SplitRegions.of(chunk)
        aggregations = _Aggregations.of(chunk)
        begins = aggregations.begins
        bounds = split.index.searchsorted(np.append(begins, len(chunk.table)))
        columns = (split.start, split.end, split.nr_accesses, split.age)
        regions = list(zip(*(column.tolist() for column in columns), strict=True))
        suffixes = [
            f" {facts['more']}" if facts.get("more") else "" for facts in _perf_facts(chunk)
        ]
        codes = extra_codes(chunk)[split.index].tolist()
        lines: list[str] = []
        for key, facts, start_ns, end_ns, low, high in zip(
            aggregations.keys,
            aggregations.facts,
            chunk.column("start_ns")[begins].tolist(),
            chunk.column("end_ns")[begins].tolist(),
            bounds[:-1].tolist(),
            bounds[1:].tolist(),
            strict=True,
        ):
            task = f"{facts.get('task', _TASK)} ".lstrip(" ")
            target = f"target_id={self._ids[key]}"
            if key in self._endings:
                self._endings[key] = ""
            else:
                # As damo does: an empty aggregation after it tells how long an only one took.
                next_ns = 2 * end_ns - start_ns
                ending = (
                    f"{task}{_time(next_ns)}: {_PRINTED_EVENT} {target} nr_regions=1 0-0: -1 -1\n"
                )
                self._endings[key] = ending
            before = f"{task}{_time(end_ns)}: {_PRINTED_EVENT} {target} nr_regions={high - low} "
            for (start, end, nr_accesses, age), code in zip(
                regions[low:high], codes[low:high], strict=True
            ):
                known_age = "" if age == UNKNOWN else f" {age}"
                lines.append(f"{before}{start}-{end}: {nr_accesses}{known_age}{suffixes[code]}\n")
        self._file.write("".join(lines).encode())

    def close(self) -> None:
        """Write the lines that follow only aggregations."""
        self._file.write("".join(self._endings.values()).encode())


def _perf_facts(chunk: Recording) -> list[dict[str, Any]]:
    """The facts in lines of perf that the recording came from, for each of `extra_codes`."""
    return [facts.get("perf", {}) for facts in extras_of(chunk)]


def _partly_lost(chunk: Recording, memory: dict[Any, Any]) -> Iterator[str]:
    """The columns in which lines of perf lose something: they have no start and no intervals."""
    yield from lost_touched(chunk)
    yield from lost_ages(chunk)
    targets = TargetKeys.of(chunk)
    if not any(_perf_facts(chunk)):
        yield from lost_names(chunk, targets, memory)
    attrs = Attrs()
    if (chunk.column("sampling_ns") != attrs.sampling_ns).any():
        yield "sampling_ns"
    highest = np.maximum(chunk.column("nr_accesses"), attrs.samples_per_aggregation)
    if (chunk.column("max_nr_accesses") != highest).any():
        yield "max_nr_accesses"
    # A reader lets an aggregation begin when its predecessor ended, and the first aggregation last
    # as long as the second.
    order = np.argsort(targets.index, kind="stable")
    keys = [targets.keys[number] for number in targets.index[order].tolist()]
    times = (chunk.column(name)[targets.begins][order].tolist() for name in ("start_ns", "end_ns"))
    known = memory.setdefault("windows", {})
    for key, start_ns, end_ns in zip(keys, *times, strict=True):
        ended_ns, first_length_ns = known.get(key, (None, None))
        length_ns = end_ns - start_ns
        if ended_ns not in (None, start_ns) or first_length_ns not in (None, length_ns):
            yield "start_ns"
        known[key] = end_ns, length_ns if ended_ns is None else None


_HOLDS = Holds(
    columns=frozenset(
        {
            *("start_ns", "end_ns", "pid", "target", "start", "end", "nr_accesses", "age"),
            *("age_ns", "touched_bytes", "sampling_ns", "max_nr_accesses"),
        }
    ),
    extra_keys=frozenset({"perf"}),
    attrs=frozenset(),
    partly_lost=_partly_lost,
)
"""The facts that lines of perf hold."""


def _time(time_ns: int) -> str:
    """Seconds, with the microseconds that perf prints, or nanoseconds if they say more."""
    seconds, rest_ns = divmod(time_ns, 10**9)
    return f"{seconds}.{rest_ns:09d}" if rest_ns % 1000 else f"{seconds}.{rest_ns // 1000:06d}"


_LINE = re.compile(
    # perf script, trace-cmd report and ftrace's own file differ before the time.
    rb"^[ \t]*+(?:(\S[^\n]{0,400}?)(?<![ \t])[ \t]++)?(\d{1,15})\.(\d{1,9}):[ \t]++"
    rb"(?:damon:)?damon_aggregated:[ \t]++"
    rb"target_id=(\d{1,20})[ \t]++nr_regions=(\d{1,20})[ \t]++(\d{1,40})-(\d{1,40}):"
    rb"[ \t]++(-?\d{1,40})(?:[ \t]++(-?\d{1,40}))?"
    # Newer kernels add fields, and perf script an instruction's address and symbol.
    rb"(?:[ \t]++([A-Za-z_]\w*+=[^\n\r]*+|[0-9a-f]{8,16}[ \t][^\n\r]*+))?[ \t]*+\r?$",
    re.MULTILINE,
)
_EVENT = b"damon_aggregated:"
_AGGREGATION = re.compile(rb"^[^#\n]*?damon_aggregated:", re.MULTILINE)
_FIELDS = re.compile(rb"target_id=\d+[ \t]+nr_regions=\d+")
_ANY_EVENT = re.compile(
    rb"^[ \t]*+\S[^\n]{0,200}?(?<=[ \t])\d{1,15}\.\d{6,9}:[ \t]++[\w:.-]{1,100}:", re.MULTILINE
)
_TIME = re.compile(rb"\d\.\d+:")
_NO_TIME = "it has no time, which perf script -F +time prints"
_NOT_A_LINE = "not what perf script prints of an aggregation"
_MAX_ROWS = 2**20
"""Of one aggregation of one target."""


class PerfScript:
    """Text that `perf script` prints of `perf record -e damon:damon_aggregated`; or `trace-cmd`."""

    holds: Holds | None = _HOLDS

    def matches(self, head: bytes) -> bool:
        return any(
            pattern.search(head) is not None for pattern in (_AGGREGATION, _FIELDS, _ANY_EVENT)
        )

    def open(self, content: Content) -> _PerfReader:
        return _PerfReader(content)

    def write(self, file: BinaryIO, info: RecordingInfo, chunks: Iterable[Recording]) -> None:
        _write(file, chunks)


class _PerfReader:
    """Reads lines of aggregations; lines of other events are skipped."""

    ordered = False

    def __init__(self, content: Content) -> None:
        self._content = content
        first = next(self.batches(), None)
        if first is None:
            if _FIELDS.search(content.head):
                raise ValueError(_NO_TIME)
            raise ValueError("it has no aggregations, which the event damon:damon_aggregated tells")
        self.info = RecordingInfo(Attrs(), "damo", int(to_numpy(first.column("start_ns"))[0]))

    def batches(self) -> Iterator[pa.RecordBatch]:
        aggregations = Aggregations(self._content.chunks)
        rest = Lines.none()
        problem = ""
        line_count = 0
        for chunk in line_chunks(self._content.chunks()):
            added, problem = _lines_in(chunk, line_count, aggregations)
            line_count += chunk.count(b"\n")
            lines = Lines.joined([rest, added])
            begins = lines.aggregations()
            cut = int(begins[-1]) if len(begins) else 0  # the last aggregation may go on
            rest = lines.take(slice(cut, None))
            if cut:
                yield from aggregations.batches(lines.take(slice(cut)), begins[:-1])
            aggregations.forget(rest)
            if problem:
                break
            if len(rest.start) > _MAX_ROWS:
                raise ValueError("an aggregation has no end")
        if len(rest.start):
            yield from aggregations.batches(rest, np.zeros(1, np.int64))
        yield from aggregations.last()
        if problem:
            raise ValueError(problem)


def _lines_in(chunk: bytes, line_count: int, aggregations: Aggregations) -> tuple[Lines, str]:
    """The lines of aggregations up to the first that cannot be read, and why that cannot.

    *line_count* lines came before.
    """
    problem = ""
    matches = _LINE.findall(_only_aggregations(chunk))
    if len(matches) < chunk.count(_EVENT) and len(matches) < len(_AGGREGATION.findall(chunk)):
        end, problem = _first_problem(chunk, line_count)
        matches = _LINE.findall(chunk[:end])
    try:
        return Lines.of(matches, aggregations), problem
    except Misread as error:
        match = [*_LINE.finditer(chunk)][error.index]
        line = line_count + chunk.count(b"\n", 0, match.start()) + 1
        return Lines.of(matches[: error.index], aggregations), f"line {line}: {error}"


def _only_aggregations(chunk: bytes) -> bytes:
    """The lines of a chunk that name the event, which there may be few of."""
    count = chunk.count(_EVENT)
    if count == 0:
        return b""
    if count >= chunk.count(b"\n"):
        return chunk
    return b"\n".join(line for line in chunk.split(b"\n") if _EVENT in line)


def _first_problem(chunk: bytes, line_count: int) -> tuple[int, str]:
    """Where the first line of an aggregation begins that cannot be read, and why."""
    for event in _AGGREGATION.finditer(chunk):
        if not _LINE.match(chunk, event.start()):
            line = line_count + chunk.count(b"\n", 0, event.start()) + 1
            why = _NOT_A_LINE if _TIME.search(event[0]) else _NO_TIME
            return event.start(), f"line {line}: {why}"
    return len(chunk), ""
