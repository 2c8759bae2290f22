"""`perf script` text of DAMON's tracepoints: one line a region.

A line says when an aggregation ended, not when it began: that is taken to be where the one before
it ended. Nor does it say how long one is, or how often it samples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon.core.attrs import Attrs
from pydamon.core.classify import UNKNOWN
from pydamon.core.damo_values import integers
from pydamon.recording.arrays import batch_of, named, numbers
from pydamon.recording.format import EXTRA, RecordingInfo
from pydamon.recording.formats.damo_write import split_touched
from pydamon.recording.formats.lines import line_chunks
from pydamon.recording.recording import Recording

__all__ = ["PerfScript"]

_LINE = re.compile(
    rb"^[ \t]*(\S[^\n]*?)[ \t]+(\d+)\.(\d{1,9}):[ \t]+damon:damon_aggregated:[ \t]+"
    rb"target_id=(\d+)[ \t]+nr_regions=(\d+)[ \t]+(\d+)-(\d+):"
    rb"[ \t]+(-?\d+)(?:[ \t]+(-?\d+))?[ \t]*$",
    re.MULTILINE,
)
_COMMAND = "kdamond.0     0 [000]"
"""What stands before the time in lines of our own: the thread, its id, the CPU."""


class PerfScript:
    """What `perf script` prints of a `perf record -e damon:damon_aggregated`."""

    name = "perf_script"
    suffixes: tuple[str, ...] = (".perf", ".txt")
    is_text = True

    def matches(self, head: bytes) -> bool:
        return b"damon:damon_aggregated:" in head

    def open(self, path: Path) -> _Lines:
        return _Lines(path)

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        writer = _Writer(file)
        for part in parts:
            writer.write(part)
        writer.close()


class _Lines:
    """A file of such lines. Those of other events are passed over."""

    ordered = False

    def __init__(self, path: Path) -> None:
        self._path = path
        first = next(self.batches(), None)
        if first is None:
            raise ValueError("it has no aggregations")
        self.info = RecordingInfo(Attrs(), "damo", int(numbers(first.column("start_ns"))[0]))

    def batches(self) -> Iterator[pa.RecordBatch]:
        targets = _Targets()
        rest = _Rows.none()
        for chunk in line_chunks(self._path):
            rows = _Rows.joined([rest, _Rows.of(_LINE.findall(chunk), targets)])
            begins = rows.snapshots()
            cut = int(begins[-1]) if len(begins) else 0
            rest = rows.take(slice(cut, None))
            if cut:
                yield from targets.batches(rows.take(slice(cut)), begins[:-1])
        if len(rest.start):
            yield from targets.batches(rest, np.zeros(1, np.int64))
        yield from targets.last()


@dataclass(frozen=True, slots=True)
class _Rows:
    """What lines say, a column each."""

    which: NDArray[np.int64]
    """Indices of what stands before and in them that is the same in many: `_Targets.heads`."""
    end_ns: NDArray[np.int64]
    region_count: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_accesses: NDArray[np.int64]
    age: NDArray[np.int64]

    @classmethod
    def none(cls) -> _Rows:
        return cls(*np.zeros((7, 0), np.int64))

    @classmethod
    def of(cls, found: list[tuple[bytes, ...]], targets: _Targets) -> _Rows:
        if not found:
            return cls.none()
        task, second, fraction, target, *figures, ages = zip(*found, strict=True)
        which = [targets.head(*one) for one in zip(task, target, strict=True)]
        end_ns = _integers(second) * 10**9
        end_ns += _integers([digits.ljust(9, b"0") for digits in fraction])
        age = _integers([digits or b"-1" for digits in ages])  # the earliest kernels have none
        region_count, start, end, accesses = map(_integers, figures)
        return cls(np.array(which, np.int64), end_ns, region_count, start, end, accesses, age)

    @classmethod
    def joined(cls, several: Sequence[_Rows]) -> _Rows:
        columns = (one._columns() for one in several)
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def take(self, index: slice | NDArray[np.int64]) -> _Rows:
        return _Rows(*(column[index] for column in self._columns()))

    def snapshots(self) -> NDArray[np.int64]:
        """Where each target's part of an aggregation begins: it has as many lines as it says."""
        if len(self.start) == 0:
            return np.zeros(0, np.int64)
        new = self.start[1:] < self.end[:-1]
        for column in (self.which, self.region_count):
            new |= column[1:] != column[:-1]
        runs = np.append(0, np.flatnonzero(new) + 1)
        place = np.arange(len(self.start)) - np.repeat(runs, np.diff(runs, append=len(self.start)))
        return np.flatnonzero(place % np.maximum(self.region_count, 1) == 0)

    def _columns(self) -> tuple[NDArray[np.int64], ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


class _Targets:
    """The targets that were met, and when the last aggregation of each ended."""

    def __init__(self) -> None:
        self._heads: dict[tuple[bytes, bytes], int] = {}
        self._ids: dict[bytes, int] = {}
        self._target: list[int] = []
        self._ended_ns: dict[int, int] = {}
        self._first: dict[int, _Rows] = {}

    def head(self, task: bytes, target: bytes) -> int:
        """The index of what stands before the time, together with the target."""
        index = self._heads.get((task, target))
        if index is None:
            index = self._heads[task, target] = len(self._target)
            self._target.append(self._ids.setdefault(target, len(self._ids)))
        return index

    def batches(self, rows: _Rows, begins: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """The rows of some aggregations; the first one of a target waits for its second."""
        lengths = np.diff(begins, append=len(rows.start))
        target = np.array(self._target)[rows.which[begins]]
        end_ns = rows.end_ns[begins]
        start_ns = np.zeros(len(begins), np.int64)
        wanted = np.ones(len(begins), np.bool_)
        released: list[tuple[_Rows, int]] = []
        for one in np.unique(target).tolist():
            mine = np.flatnonzero(target == one)
            before = self._ended_ns.get(one)
            if before is None:
                first, mine = mine[0], mine[1:]
                before = int(end_ns[first])
                low = int(begins[first])
                self._first[one] = rows.take(slice(low, low + int(lengths[first])))
                wanted[first] = False
            if len(mine):
                start_ns[mine] = np.append(before, end_ns[mine[:-1]])
                before = int(end_ns[mine[-1]])
                if one in self._first:
                    released.append((self._first.pop(one), int(end_ns[mine[0]])))
            self._ended_ns[one] = before
        if released:
            yield self._batch_of_first(released)
        # damo ends a recording of a single aggregation with one that nothing is in.
        wanted &= rows.nr_accesses[begins] >= 0
        kept = np.repeat(wanted, lengths)
        if kept.any():
            yield self._batch(rows.take(np.flatnonzero(kept)), np.repeat(start_ns, lengths)[kept])

    def last(self) -> Iterator[pa.RecordBatch]:
        """The first aggregations that had no second."""
        usual_ns = Attrs().aggregation_ns
        if self._first:
            firsts = [(rows, int(rows.end_ns[0]) + usual_ns) for rows in self._first.values()]
            yield self._batch_of_first(firsts)

    def _batch_of_first(self, firsts: list[tuple[_Rows, int]]) -> pa.RecordBatch:
        """First aggregations, each taken to be as long as its second, whose end is known."""
        starts = [max(0, 2 * int(rows.end_ns[0]) - second_ns) for rows, second_ns in firsts]
        start_ns = np.repeat(np.array(starts, np.int64), [len(rows.start) for rows, _ in firsts])
        return self._batch(_Rows.joined([rows for rows, _ in firsts]), start_ns)

    def _batch(self, rows: _Rows, start_ns: NDArray[np.int64]) -> pa.RecordBatch:
        """All lines of an aggregation get the time of its first."""
        ids = [int(target) for target in self._ids]
        pids = [one if one < 2**31 else number for number, one in enumerate(ids)]
        target = np.array(self._target, np.int32)[rows.which]
        words = [
            json.dumps({"perf": {"task": task.decode(errors="replace"), "target_id": int(one)}})
            for task, one in self._heads
        ]
        begins = rows.snapshots()
        end_ns = np.repeat(rows.end_ns[begins], np.diff(begins, append=len(rows.start)))
        start_ns = np.minimum(start_ns, end_ns)
        columns = {
            "start_ns": start_ns,
            "end_ns": end_ns,
            "pid": np.array(pids, np.int64)[target],
            "target": named(target, [f"target {one}" for one in ids]),
            "start": rows.start,
            "end": rows.end,
            "nr_accesses": rows.nr_accesses,
            "max_nr_accesses": np.maximum(rows.nr_accesses, Attrs().samples_per_aggregation),
            "age": np.maximum(rows.age, 0),
            "age_ns": np.where(rows.age < 0, UNKNOWN, rows.age * (end_ns - start_ns)),
            "touched_bytes": np.where(rows.nr_accesses > 0, rows.end - rows.start, 0),
            "sampling_ns": np.full(len(target), Attrs().sampling_ns),
            "extra": named(rows.which.astype(np.int32), words),
        }
        return batch_of(columns, len(target))


class _Writer:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._endings: dict[tuple[str, int, str], str] = {}

    def write(self, part: Recording) -> None:
        names = ("start", "end", "nr_accesses", "age", "touched_bytes", "max_nr_accesses")
        start, end, rate, age, index = split_touched(*(part.column(name) for name in names))
        begins = part.part_offsets[:-1]
        bounds = np.searchsorted(index, part.part_offsets)
        hosts, targets = part.names("host"), part.names("target")
        extras = part.names(EXTRA.name) if EXTRA.name in part.table.column_names else [""]
        extra = part.codes(EXTRA.name) if EXTRA.name in part.table.column_names else None
        lines: list[str] = []
        heads = zip(
            part.codes("host")[begins].tolist(),
            part.column("pid")[begins].tolist(),
            part.codes("target")[begins].tolist(),
            extra[begins].tolist() if extra is not None else [0] * len(begins),
            part.column("start_ns")[begins].tolist(),
            part.column("end_ns")[begins].tolist(),
            bounds[:-1].tolist(),
            bounds[1:].tolist(),
            strict=True,
        )
        rows = list(zip(*(column.tolist() for column in (start, end, rate, age)), strict=True))
        for host, pid, target, word, start_ns, end_ns, low, high in heads:
            key = hosts[host], pid, targets[target]
            said = (json.loads(extras[word]) if extras[word] else {}).get("perf")
            task, target_id = (said["task"], said["target_id"]) if said else (_COMMAND, pid)
            opening = f"target_id={target_id} nr_regions="
            # How long an only aggregation took is told, as damo does, by an empty one behind it.
            after = f"{task} {_time(2 * end_ns - start_ns)}: damon:damon_aggregated: {opening}"
            self._endings[key] = "" if key in self._endings else f"{after}1 0-0: -1 -1\n"
            before = f"{task} {_time(end_ns)}: damon:damon_aggregated: {opening}{high - low} "
            lines.extend(f"{before}{a}-{b}: {n} {g}\n" for a, b, n, g in rows[low:high])
        self._file.write("".join(lines).encode())

    def close(self) -> None:
        """Write what only the end tells."""
        self._file.write("".join(self._endings.values()).encode())


def _time(time_ns: int) -> str:
    """Seconds, in us as perf has them, or in ns where that would lose something."""
    second, rest = divmod(time_ns, 10**9)
    return f"{second}.{rest:09d}" if rest % 1000 else f"{second}.{rest // 1000:06d}"


def _integers(digits: Sequence[bytes]) -> NDArray[np.int64]:
    return integers(b" ".join(digits).decode().split(" "), int)  # type: ignore[arg-type]
