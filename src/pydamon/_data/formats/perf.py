"""`perf script` text of DAMON's tracepoint: one line a region."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from pydamon._data.formats import perf_write
from pydamon._data.formats.content import Content, line_chunks
from pydamon._data.formats.losses import Holds
from pydamon._data.formats.perf_rows import Aggregations, Lines
from pydamon._data.recording.arrow import to_numpy
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.schema import RecordingInfo
from pydamon._model.attrs import Attrs
from pydamon._model.damo_values import Misread

__all__ = ["PerfScript"]

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

    name = "perf_script"
    suffixes: tuple[str, ...] = (".perf", ".txt")
    is_text = True
    holds: Holds | None = perf_write.HOLDS

    def matches(self, head: bytes) -> bool:
        return any(
            pattern.search(head) is not None for pattern in (_AGGREGATION, _FIELDS, _ANY_EVENT)
        )

    def open(self, content: Content) -> _PerfReader:
        return _PerfReader(content)

    def write(self, file: BinaryIO, info: RecordingInfo, chunks: Iterable[Recording]) -> None:
        perf_write.write(file, chunks)


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
