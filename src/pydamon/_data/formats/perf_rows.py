"""The lines of DAMON's tracepoint as rows of a recording.

A line tells when an aggregation ended. It began when its predecessor ended. So the first
aggregation of each target waits for the second, and is taken to be as long.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.formats.base import TargetIds, check_count
from pydamon._data.recording.arrow import dictionary_array
from pydamon._data.recording.rows import ages_ns, batch_of
from pydamon._model.attrs import Attrs
from pydamon._model.classify import UNKNOWN
from pydamon._model.damo_values import Misread, integers
from pydamon._model.runs import Runs, expand

__all__ = ["Aggregations", "Lines"]

_MAX_FRAMES = 2**16
_TARGET_ID = re.compile(rb"target_id=(\d{1,20})[ \t]")
_NO_AGE = b"-1"
_NEVER = -1


@dataclass(frozen=True, slots=True)
class Lines:
    """The numbers in some lines: arrays of shape (lines,).

    `target` is the target's index in `Aggregations`, and `frame` the index of the texts around the
    numbers.
    """

    target: NDArray[np.int64]
    frame: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    region_count: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_accesses: NDArray[np.int64]
    age: NDArray[np.int64]

    @classmethod
    def none(cls) -> Lines:
        """No lines."""
        return cls(*np.zeros((len(fields(cls)), 0), np.int64))

    @classmethod
    def of(cls, matches: list[tuple[bytes, ...]], aggregations: Aggregations) -> Lines:
        """The lines that a pattern has matched; raises `Misread` for numbers that do not fit."""
        if not matches:
            return cls.none()
        task, second, fraction, target, *numbers, age, more = zip(*matches, strict=True)
        times = [f"{s.decode()}{f.decode():0<9}" for s, f in zip(second, fraction, strict=True)]
        end_ns = _integers("the time", times)
        ages = _integers("age", [digits or _NO_AGE for digits in age])  # old kernels write none
        names = ("nr_regions", "start", "end", "nr_accesses")
        region_count, start, end, nr_accesses = map(_integers, names, numbers)
        frames = [Frame(*texts) for texts in zip(task, target, more, strict=True)]
        index, frame = np.array(list(map(aggregations.numbers, frames)), np.int64).T
        return cls(index, frame, end_ns, region_count, start, end, nr_accesses, ages)

    @classmethod
    def joined(cls, several: Sequence[Lines]) -> Lines:
        """Several sets of lines, one after the other."""
        columns = (lines._columns() for lines in several)
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def take(self, index: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Lines:
        """Some of the lines."""
        return Lines(*(column[index] for column in self._columns()))

    def aggregations(self) -> NDArray[np.int64]:
        """The line at which each aggregation of a target begins.

        A line says how many regions its aggregation has, and so how many lines.
        """
        apart = self.start[1:] < self.end[:-1]
        for column in (self.target, self.region_count):
            apart |= column[1:] != column[:-1]
        runs = Runs.split(apart, len(self.start))
        _, place = expand(runs.lengths)
        return np.flatnonzero(place % np.maximum(self.region_count, 1) == 0)

    def _columns(self) -> tuple[NDArray[np.int64], ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


class Frame(NamedTuple):
    """The texts around the numbers of a line.

    `task` stands before the time, `more` behind the age; `target_id` are digits.
    """

    task: bytes
    target_id: bytes
    more: bytes


class Aggregations:
    """Makes rows of aggregations; remembers when the last aggregation of each target ended."""

    def __init__(self, chunks: Callable[[], Iterator[bytes]]) -> None:
        self._target_ids = TargetIds(chunks, _TARGET_ID)
        self._numbers: dict[Frame, tuple[int, int]] = {}
        self._target_numbers: dict[bytes, int] = {}
        self._ids: list[int] = []
        self._pids: list[int] = []
        self._frames: dict[int, Frame] = {}
        self._frame_count = 0
        self._ended_ns = np.zeros(0, np.int64)
        """Of each target; `_NEVER` before its first aggregation."""
        self._first: dict[int, Lines] = {}
        """The first aggregation of each target that has no second yet."""

    def numbers(self, frame: Frame) -> tuple[int, int]:
        """The index of a frame's target, and that of the frame."""
        numbers = self._numbers.get(frame)
        if numbers is None:
            target = self._target_numbers.setdefault(frame.target_id, len(self._ids))
            if target == len(self._ids):
                check_count(target + 1)
                self._ids.append(int(frame.target_id))
                self._pids.append(self._target_ids.pid(int(frame.target_id)))
            numbers = self._numbers[frame] = target, self._frame_count
            self._frames[self._frame_count] = frame
            self._frame_count += 1
        return numbers

    def forget(self, rest: Lines) -> None:
        """Free frames that neither *rest* nor waiting lines have, once there are many."""
        if len(self._frames) > _MAX_FRAMES:
            waiting = [rest, *self._first.values()]
            needed = np.unique(np.concatenate([lines.frame for lines in waiting])).tolist()
            self._frames = {index: self._frames[index] for index in needed}
            self._numbers.clear()

    def batches(self, lines: Lines, begins: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """The rows of the aggregations that begin at *begins*, as far as their start is known."""
        new_targets = np.full(len(self._ids) - len(self._ended_ns), _NEVER, np.int64)
        self._ended_ns = np.append(self._ended_ns, new_targets)
        lengths = np.diff(begins, append=len(lines.start))
        start_ns = self._start_ns(lines.target[begins], lines.end_ns[begins])
        first_ones = self._take_first(lines, begins, lengths, start_ns)
        if first_ones:
            yield self._batch_of_first(first_ones)
        # Behind an only aggregation damo writes an empty one, with -1 accesses.
        is_empty = lines.nr_accesses[begins] < 0
        is_written = np.repeat((start_ns != _NEVER) & ~is_empty, lengths)
        if is_written.any():
            yield self._batch(lines.take(is_written), np.repeat(start_ns, lengths)[is_written])

    def _start_ns(self, target: NDArray[np.int64], end_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """When each aggregation began: when that of the same target before ended; or `_NEVER`."""
        order = np.argsort(target, kind="stable")
        of_target = Runs.of(target[order])
        before = np.append(_NEVER, end_ns[order][:-1])
        before[of_target.heads] = self._ended_ns[target[order][of_target.heads]]
        start_ns = np.empty(len(target), np.int64)
        start_ns[order] = before
        self._ended_ns[target[order][of_target.tails]] = end_ns[order][of_target.tails]
        return start_ns

    def _take_first(
        self,
        lines: Lines,
        begins: NDArray[np.int64],
        lengths: NDArray[np.int64],
        start_ns: NDArray[np.int64],
    ) -> list[tuple[Lines, int]]:
        """First aggregations whose second has come, and when the second ended; the others wait."""
        target, end_ns = lines.target[begins], lines.end_ns[begins]
        waited = set(self._first)
        is_first = start_ns == _NEVER
        for index in np.flatnonzero(is_first).tolist():
            begin = int(begins[index])
            first = lines.take(slice(begin, begin + int(lengths[index])))
            self._first[int(target[index])] = first
        numbers, place = np.unique(target[~is_first], return_index=True)
        seconds = zip(numbers.tolist(), end_ns[~is_first][place].tolist(), strict=True)
        ready = [(number, ended_ns) for number, ended_ns in seconds if number in self._first]
        ready.sort(key=lambda second: second[0] not in waited)
        return [(self._first.pop(number), ended_ns) for number, ended_ns in ready]

    def last(self) -> Iterator[pa.RecordBatch]:
        """The first aggregations that had no second: as long as by default."""
        default_ns = Attrs().aggregation_ns
        if self._first:
            firsts = [(lines, int(lines.end_ns[0]) + default_ns) for lines in self._first.values()]
            yield self._batch_of_first(firsts)

    def _batch_of_first(self, firsts: list[tuple[Lines, int]]) -> pa.RecordBatch:
        """The rows of first aggregations, each with the end of its second."""
        starts = [max(0, 2 * int(lines.end_ns[0]) - second_ns) for lines, second_ns in firsts]
        start_ns = np.repeat(np.array(starts, np.int64), [len(lines.start) for lines, _ in firsts])
        return self._batch(Lines.joined([lines for lines, _ in firsts]), start_ns)

    def _batch(self, lines: Lines, start_ns: NDArray[np.int64]) -> pa.RecordBatch:
        """The rows of some lines; all lines of an aggregation get the time of its first."""
        targets, target = np.unique(lines.target, return_inverse=True)
        frames, frame = np.unique(lines.frame, return_inverse=True)
        begins = lines.aggregations()
        end_ns = np.repeat(lines.end_ns[begins], np.diff(begins, append=len(lines.start)))
        start_ns = np.minimum(start_ns, end_ns)
        age = np.maximum(lines.age, 0)
        names = [f"target {self._ids[number]}" for number in targets.tolist()]
        pids = [self._pids[number] for number in targets.tolist()]
        extras = [self._extra(number) for number in frames.tolist()]
        columns = {
            "start_ns": start_ns,
            "end_ns": end_ns,
            "pid": np.array(pids, np.int64)[target],
            "target": dictionary_array(target.astype(np.int32), names),
            "start": lines.start,
            "end": lines.end,
            "nr_accesses": lines.nr_accesses,
            "max_nr_accesses": np.maximum(lines.nr_accesses, Attrs().samples_per_aggregation),
            "age": age,
            "age_ns": np.where(lines.age < 0, UNKNOWN, ages_ns(age, start_ns, end_ns)),
            "touched_bytes": np.where(lines.nr_accesses > 0, lines.end - lines.start, 0),
            "sampling_ns": np.full(len(target), Attrs().sampling_ns),
            "extra": dictionary_array(frame.astype(np.int32), extras),
        }
        return batch_of(columns, len(target))

    def _extra(self, number: int) -> str:
        frame = self._frames[number]
        facts = {
            "task": frame.task.decode(errors="replace"),
            "target_id": int(frame.target_id),
        }
        if frame.more:
            facts["more"] = frame.more.decode(errors="replace")
        return json.dumps({"perf": facts})


def _integers(name: str, digits: Sequence[bytes | str]) -> NDArray[np.int64]:
    texts = [text if isinstance(text, str) else text.decode() for text in digits]
    try:
        return integers(texts, int)  # type: ignore[arg-type]
    except Misread as error:
        raise Misread(f"{name}: {error}", error.index) from error
