"""`perf script` text of DAMON's tracepoints: one line a region."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.formats import perf_write
from pydamon._data.formats.content import Content, line_chunks
from pydamon._data.formats.damo_pids import Numbering, check_count
from pydamon._data.formats.holds import Holds
from pydamon._data.recording.arrays import ages_ns, batch_of, named, numbers
from pydamon._data.recording.format import RecordingInfo
from pydamon._data.recording.recording import Recording
from pydamon._model.attrs import Attrs
from pydamon._model.classify import UNKNOWN
from pydamon._model.damo_values import Misread, integers

__all__ = ["TARGET_ID", "PerfScript", "Rows", "Targets"]

_MOST_WORDS = 2**16
TARGET_ID = re.compile(rb"target_id=(\d{1,20})[ \t]")


@dataclass(frozen=True, slots=True)
class Rows:
    """What lines say, a column each."""

    target: NDArray[np.int64]
    """Indices of the targets: `Targets.pids`."""
    word: NDArray[np.int64]
    """Indices of what stands before the time and behind the age: `Targets.words`."""
    end_ns: NDArray[np.int64]
    region_count: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_accesses: NDArray[np.int64]
    age: NDArray[np.int64]

    @classmethod
    def none(cls) -> Rows:
        return cls(*np.zeros((len(fields(cls)), 0), np.int64))

    @classmethod
    def of(cls, found: list[tuple[bytes, ...]], targets: Targets) -> Rows:
        """Raises `Misread` for numbers that do not fit."""
        if not found:
            return cls.none()
        task, second, fraction, target, *figures, ages, more = zip(*found, strict=True)
        time_ns = [f"{s.decode()}{f.decode():0<9}" for s, f in zip(second, fraction, strict=True)]
        end_ns = _integers("the time", time_ns)
        age = _integers("age", [digits or b"-1" for digits in ages])  # the earliest have none
        names = ("nr_regions", "start", "end", "nr_accesses")
        region_count, start, end, accesses = map(_integers, names, figures)
        which = [targets.which(*line) for line in zip(task, target, more, strict=True)]
        index, word = np.array(which, np.int64).T
        return cls(index, word, end_ns, region_count, start, end, accesses, age)

    @classmethod
    def joined(cls, several: Sequence[Rows]) -> Rows:
        columns = (one._columns() for one in several)
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def take(self, index: slice | NDArray[np.int64]) -> Rows:
        return Rows(*(column[index] for column in self._columns()))

    def snapshots(self) -> NDArray[np.int64]:
        """Where each target's part of an aggregation begins: it has as many lines as it says."""
        if len(self.start) == 0:
            return np.zeros(0, np.int64)
        new = self.start[1:] < self.end[:-1]
        for column in (self.target, self.region_count):
            new |= column[1:] != column[:-1]
        runs = np.append(0, np.flatnonzero(new) + 1)
        place = np.arange(len(self.start)) - np.repeat(runs, np.diff(runs, append=len(self.start)))
        return np.flatnonzero(place % np.maximum(self.region_count, 1) == 0)

    def _columns(self) -> tuple[NDArray[np.int64], ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


class Targets:
    """The targets that were met, and when the last aggregation of each ended."""

    def __init__(self, chunks: Callable[[], Iterator[bytes]]) -> None:
        self._numbering = Numbering(chunks, TARGET_ID)
        self._which: dict[tuple[bytes, bytes, bytes], tuple[int, int]] = {}
        self._indices: dict[bytes, int] = {}
        self._ids: list[int] = []
        self._pids: list[int] = []
        self._words: dict[int, tuple[bytes, bytes, bytes]] = {}
        self._word_count = 0
        self._ended_ns = np.zeros(0, np.int64)
        """Of each target; -1 before its first aggregation."""
        self._first: dict[int, Rows] = {}

    def which(self, task: bytes, target: bytes, more: bytes) -> tuple[int, int]:
        """The index of a target, and that of what else a line says that is no number."""
        key = task, target, more
        found = self._which.get(key)
        if found is None:
            index = self._indices.setdefault(target, len(self._ids))
            if index == len(self._ids):
                check_count(index + 1)
                self._ids.append(int(target))
                self._pids.append(self._numbering.pid(int(target)))
            found = self._which[key] = index, self._word_count
            self._words[self._word_count] = key
            self._word_count += 1
        return found

    def forget(self, rest: Rows) -> None:
        """Free the words that neither *rest* nor what waits here has, once there are many."""
        if len(self._words) > _MOST_WORDS:
            waiting = [rest, *self._first.values()]
            needed = np.unique(np.concatenate([rows.word for rows in waiting])).tolist()
            self._words = {index: self._words[index] for index in needed}
            self._which.clear()

    def batches(self, rows: Rows, begins: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """The rows of some aggregations; the first one of a target waits for its second."""
        unknown = np.full(len(self._ids) - len(self._ended_ns), -1, np.int64)
        self._ended_ns = np.append(self._ended_ns, unknown)
        lengths = np.diff(begins, append=len(rows.start))
        target = rows.target[begins]
        end_ns = rows.end_ns[begins]
        order = np.argsort(target, kind="stable")
        same = target[order][1:] == target[order][:-1]
        before = self._ended_ns[target[order]]
        before[1:] = np.where(same, end_ns[order][:-1], before[1:])
        start_ns = np.empty(len(begins), np.int64)
        start_ns[order] = before
        self._ended_ns[target[order]] = end_ns[order]  # of equal indices, the last one stays
        is_first = start_ns < 0
        # A target whose first aggregation waits is released by whatever comes next of it.
        released: list[tuple[Rows, int]] = []
        heads = np.append(True, ~same)
        seconds = np.append(False, heads[:-1]) & ~heads & is_first[np.roll(order, 1)]
        waiting = [i for i in order[heads].tolist() if int(target[i]) in self._first]
        released += [(self._first.pop(int(target[i])), int(end_ns[i])) for i in waiting]
        for i in np.flatnonzero(is_first).tolist():
            low = int(begins[i])
            self._first[int(target[i])] = rows.take(slice(low, low + int(lengths[i])))
        for i in order[seconds].tolist():
            released.append((self._first.pop(int(target[i])), int(end_ns[i])))
        if released:
            yield self._batch_of_first(released)
        # damo ends a recording of a single aggregation with one that nothing is in.
        kept = np.repeat(~is_first & (rows.nr_accesses[begins] >= 0), lengths)
        if kept.any():
            yield self._batch(rows.take(np.flatnonzero(kept)), np.repeat(start_ns, lengths)[kept])

    def last(self) -> Iterator[pa.RecordBatch]:
        """The first aggregations that had no second."""
        usual_ns = Attrs().aggregation_ns
        if self._first:
            firsts = [(rows, int(rows.end_ns[0]) + usual_ns) for rows in self._first.values()]
            yield self._batch_of_first(firsts)

    def _batch_of_first(self, firsts: list[tuple[Rows, int]]) -> pa.RecordBatch:
        """First aggregations, each taken to be as long as its second, whose end is known."""
        starts = [max(0, 2 * int(rows.end_ns[0]) - second_ns) for rows, second_ns in firsts]
        start_ns = np.repeat(np.array(starts, np.int64), [len(rows.start) for rows, _ in firsts])
        return self._batch(Rows.joined([rows for rows, _ in firsts]), start_ns)

    def _batch(self, rows: Rows, start_ns: NDArray[np.int64]) -> pa.RecordBatch:
        """All lines of an aggregation get the time of its first."""
        there, target = np.unique(rows.target, return_inverse=True)
        said, word = np.unique(rows.word, return_inverse=True)
        begins = rows.snapshots()
        end_ns = np.repeat(rows.end_ns[begins], np.diff(begins, append=len(rows.start)))
        start_ns = np.minimum(start_ns, end_ns)
        columns = {
            "start_ns": start_ns,
            "end_ns": end_ns,
            "pid": np.array([self._pids[i] for i in there.tolist()], np.int64)[target],
            "target": named(
                target.astype(np.int32), [f"target {self._ids[i]}" for i in there.tolist()]
            ),
            "start": rows.start,
            "end": rows.end,
            "nr_accesses": rows.nr_accesses,
            "max_nr_accesses": np.maximum(rows.nr_accesses, Attrs().samples_per_aggregation),
            "age": np.maximum(rows.age, 0),
            "age_ns": np.where(
                rows.age < 0, UNKNOWN, ages_ns(np.maximum(rows.age, 0), start_ns, end_ns)
            ),
            "touched_bytes": np.where(rows.nr_accesses > 0, rows.end - rows.start, 0),
            "sampling_ns": np.full(len(target), Attrs().sampling_ns),
            "extra": named(word.astype(np.int32), [self._word(i) for i in said.tolist()]),
        }
        return batch_of(columns, len(target))

    def _word(self, index: int) -> str:
        task, target, more = self._words[index]
        said = {"task": task.decode(errors="replace"), "target_id": int(target)}
        if more:
            said["more"] = more.decode(errors="replace")
        return json.dumps({"perf": said})


def _integers(name: str, digits: Sequence[bytes | str]) -> NDArray[np.int64]:
    texts = [one if isinstance(one, str) else one.decode() for one in digits]
    try:
        return integers(texts, int)  # type: ignore[arg-type]
    except Misread as error:
        raise Misread(f"{name}: {error}", error.index) from error


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
