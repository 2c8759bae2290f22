"""`perf script` text of DAMON's tracepoints: one line a region.

A line says when an aggregation ended, not when it began: that is taken to be where the one before
it ended. Nor does it say how long one is, or how often it samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from pydamon.core.attrs import Attrs
from pydamon.core.damo_values import Misread
from pydamon.recording.arrays import numbers
from pydamon.recording.format import RecordingInfo
from pydamon.recording.formats import perf_write
from pydamon.recording.formats.content import Content
from pydamon.recording.formats.holds import Holds
from pydamon.recording.formats.lines import line_chunks
from pydamon.recording.formats.perf_rows import Rows, Targets
from pydamon.recording.recording import Recording

__all__ = ["PerfScript"]

_LINE = re.compile(
    # perf script, trace-cmd report and ftrace's own file differ in what stands before the time.
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
_MOST_ROWS = 2**20
"""Of one aggregation of one target."""


class PerfScript:
    """What `perf script` prints of a `perf record -e damon:damon_aggregated`; `trace-cmd`, too."""

    name = "perf_script"
    suffixes: tuple[str, ...] = (".perf", ".txt")
    is_text = True
    holds: Holds | None = perf_write.HOLDS

    def matches(self, head: bytes) -> bool:
        return any(
            pattern.search(head) is not None for pattern in (_AGGREGATION, _FIELDS, _ANY_EVENT)
        )

    def open(self, content: Content) -> _Lines:
        return _Lines(content)

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        perf_write.write(file, parts)


class _Lines:
    """A file of such lines. Those of other events are passed over."""

    ordered = False

    def __init__(self, content: Content) -> None:
        self._content = content
        first = next(self.batches(), None)
        if first is None:
            if _FIELDS.search(content.head):
                raise ValueError(_NO_TIME)
            raise ValueError("it has no aggregations, which the event damon:damon_aggregated tells")
        self.info = RecordingInfo(Attrs(), "damo", int(numbers(first.column("start_ns"))[0]))

    def batches(self) -> Iterator[pa.RecordBatch]:
        targets = Targets(self._content.chunks)
        rest = Rows.none()
        problem = ""
        line_count = 0
        for chunk in line_chunks(self._content.chunks()):
            found = _LINE.findall(_only_aggregations(chunk))
            if len(found) < chunk.count(_EVENT) and len(found) < len(_AGGREGATION.findall(chunk)):
                sound, problem = _first_problem(chunk, line_count)
                found = _LINE.findall(chunk[:sound])
            try:
                added = Rows.of(found, targets)
            except Misread as error:
                match = [*_LINE.finditer(chunk)][error.index]
                line = line_count + chunk.count(b"\n", 0, match.start()) + 1
                problem = f"line {line}: {error}"
                added = Rows.of(found[: error.index], targets)
            line_count += chunk.count(b"\n")
            rows = Rows.joined([rest, added])
            begins = rows.snapshots()
            cut = int(begins[-1]) if len(begins) else 0
            rest = rows.take(slice(cut, None))
            if cut:
                yield from targets.batches(rows.take(slice(cut)), begins[:-1])
            targets.forget(rest)
            if problem:
                break
            if len(rest.start) > _MOST_ROWS:
                raise ValueError("an aggregation has no end")
        if len(rest.start):
            yield from targets.batches(rest, np.zeros(1, np.int64))
        yield from targets.last()
        if problem:
            raise ValueError(problem)


def _only_aggregations(chunk: bytes) -> bytes:
    """The lines of a chunk that say the event, which there may be few of."""
    count = chunk.count(_EVENT)
    if count == 0:
        return b""
    if count >= chunk.count(b"\n"):
        return chunk
    return b"\n".join(line for line in chunk.split(b"\n") if _EVENT in line)


def _first_problem(chunk: bytes, line_count: int) -> tuple[int, str]:
    """Where the first line of an aggregation begins that cannot be read, and what to say of it."""
    for event in _AGGREGATION.finditer(chunk):
        if not _LINE.match(chunk, event.start()):
            line = line_count + chunk.count(b"\n", 0, event.start()) + 1
            why = _NOT_A_LINE if _TIME.search(event[0]) else _NO_TIME
            return event.start(), f"line {line}: {why}"
    return len(chunk), ""
