"""Recordings of any size: they come in parts, so that memory stays bounded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.arrays import arrow, constant, free_memory, joined, numbers, single
from pydamon._data.recording.format import COLUMNS, EXTRA, RecordingInfo
from pydamon._data.recording.overlap import Coverage
from pydamon._data.recording.recording import Recording, no_such_target
from pydamon._data.recording.targets import is_same
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Target

__all__ = ["DerivedFile", "Recorded", "RecordingFile", "SeveralFiles", "in_order", "parts_of"]

_LEAST_FREE = 2**25
_MOST_HELD_ROWS = 2**20


class RecordingFile(Displayable, ABC):
    """A recording of any size: iterate over it, as often as you like, to get it in parts.

    Each part is a `Recording` of whole snapshots with some 100,000 rows, so that memory stays
    bounded. `info` describes all of it; `path` is what it was opened as. `problem` says why the
    recording is not complete, and `overlap` which target is in it twice at the same time; both are
    known once the last part, or one that was cut short, has been read. Names have other codes in
    each part. `ordered` says whether the snapshots are known to come in the order of time; `read`
    gives them so in any case.
    """

    path: str
    info: RecordingInfo
    problem: str = ""
    overlap: str = ""
    ordered: bool = True

    @abstractmethod
    def __iter__(self) -> Iterator[Recording]: ...

    @property
    def complete(self) -> bool:
        """Whether nothing of what was read is lost: see `problem`."""
        return not self.problem

    @property
    def began_ns(self) -> int:
        """When the recording begins, for everything that counts time from there: Unix time.

        That is when its first snapshot began. Where snapshots are not in the order of time, all of
        them are looked at.
        """
        parts = islice(self, 1) if self.ordered else self
        began = [int(part.of_parts("start_ns").min()) for part in parts]
        return min(began, default=self.info.started_ns)

    def read(self) -> Recording:
        """All of it, in memory; raises `RecordingError` where that does not suffice."""
        tables, row_count = [], 0
        for part in self:
            tables.append(part.table)
            row_count += len(part.table)
            # Joining takes a column or two besides the columns, and reports take theirs.
            if free_memory() < _LEAST_FREE + 2 * 8 * row_count:
                raise RecordingError(
                    f"{self.path} does not fit into memory", hint="take a part of it: pydamon slice"
                )
        table = in_order(tables, known=self.ordered)
        return Recording(self.info, table, self.problem, overlap=self.overlap)

    def sorted(self) -> RecordingFile:
        """The same in the order of time: itself, a merge, or else one that is read as a whole."""
        return self if self.ordered else _InMemory(self)

    def held(self, *columns: str) -> RecordingFile:
        """The same for who reads it twice: if it has at most a million rows, it stays in memory.

        From the second time on, of the columns of regions only *columns* are there.
        """
        return _Held(self, columns)

    def changed(self, change: Callable[[Recording], Recording]) -> RecordingFile:
        """What *change* makes of each part, still to be read."""
        return _Changed(self, change)

    def slice(
        self,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        addresses: tuple[int, int] | None = None,
        pids: Collection[int] | None = None,
        hosts: Collection[str] | None = None,
    ) -> RecordingFile:
        """A part of it, as `Recording.slice` takes it, still to be read."""
        part = self.changed(
            lambda part: part.slice(
                start_ns=start_ns, end_ns=end_ns, addresses=addresses, pids=pids, hosts=hosts
            )
        )
        part.info = self.info.since(start_ns)
        return part

    def of_pid(self, pid: int) -> RecordingFile:
        """Some of its targets, as `Recording.of_pid` takes them.

        Reading it raises `RecordingError` where there is no such target.
        """
        return _OfTargets(self, pid, lambda target: target.pid == pid)

    def of_target(self, target: Target) -> RecordingFile:
        """One of its targets, as `Recording.of_target` takes it.

        Reading it raises `RecordingError` where there is no such target.
        """
        return _OfTargets(self, target.pid, lambda one: is_same(target, one))


Recorded: TypeAlias = Recording | RecordingFile
"""What can be asked: a recording in memory, or one of any size."""


def parts_of(recorded: Recorded) -> Iterable[Recording]:
    """Its parts; of a recording in memory there is one."""
    return [recorded] if isinstance(recorded, Recording) else recorded


class DerivedFile(RecordingFile):
    """One that is made from another while that is read; `parts` are those of the other."""

    def __init__(self, whole: RecordingFile) -> None:
        self.path, self.info, self.ordered = whole.path, whole.info, whole.ordered
        self._whole = whole

    def __iter__(self) -> Iterator[Recording]:
        for part in self._whole:
            self._listen()
            yield part
        self._listen()

    def _listen(self) -> None:
        """What is wrong with the other is wrong with this one."""
        self.problem, self.overlap = self._whole.problem, self._whole.overlap

    def sorted(self) -> RecordingFile:
        if self.ordered:
            return self
        same = copy(self)
        same._whole, same.ordered = self._whole.sorted(), True
        return same


class _Changed(DerivedFile):
    def __init__(self, whole: RecordingFile, change: Callable[[Recording], Recording]) -> None:
        super().__init__(whole)
        self._change = change

    def __iter__(self) -> Iterator[Recording]:
        return filter(len, map(self._change, super().__iter__()))


class _OfTargets(DerivedFile):
    """The targets that are *wanted*, of which *pid* is that of an error."""

    def __init__(self, whole: RecordingFile, pid: int, wanted: Callable[[Target], bool]) -> None:
        super().__init__(whole)
        self._pid = pid
        self._wanted = wanted

    def __iter__(self) -> Iterator[Recording]:
        known: dict[int, None] = {}
        found = False
        for part in super().__iter__():
            mine = np.array([self._wanted(one) for one in part.located_targets], np.bool_)
            known |= dict.fromkeys(target.pid for target in part.targets)
            if mine.any():
                found = True
                yield part.of_parts_where(mine[part.part_targets])
        if not found:
            raise no_such_target(self._pid, known)


class _Held(DerivedFile):
    def __init__(self, whole: RecordingFile, columns: Sequence[str]) -> None:
        super().__init__(whole)
        self._columns = columns
        self._parts: list[Recording] | None = None

    def __iter__(self) -> Iterator[Recording]:
        if self._parts is not None:
            yield from self._parts
            return
        parts, rows = [], 0
        for part in super().__iter__():
            rows += len(part.table)
            if rows <= _MOST_HELD_ROWS:
                parts.append(part.narrowed(self._columns))
            else:
                parts.clear()
            yield part
        self._parts = parts if rows <= _MOST_HELD_ROWS else None


class _InMemory(RecordingFile):
    """A recording whose parts are out of order: read once, whoever iterates how often."""

    def __init__(self, file: RecordingFile) -> None:
        self.path, self.info = file.path, file.info
        self._file = file

    def __iter__(self) -> Iterator[Recording]:
        self.problem, self.overlap = self._whole.problem, self._whole.overlap
        if len(self._whole.table):
            yield self._whole

    @cached_property
    def _whole(self) -> Recording:
        return self._file.read()


class SeveralFiles(RecordingFile):
    """Several recordings as one: one after the other, unless they are asked for `sorted`."""

    def __init__(self, path: str, files: Sequence[RecordingFile]) -> None:
        self.path = path
        self.ordered = len(files) == 1 and files[0].ordered
        self.info = _merged_info([file.info for file in files])
        self._files = files
        self._both = ""

    def __iter__(self) -> Iterator[Recording]:
        coverage = Coverage()
        for number in range(len(self._files)):
            yield from self._parts(number, coverage)
        self._listen()

    @property
    def began_ns(self) -> int:
        """When the first of them begins."""
        return min(file.began_ns for file in self._files)

    def _parts(self, number: int, coverage: Coverage) -> Iterator[Recording]:
        """The parts of one of them; raises `RecordingError` where it is another one again."""
        for part in self._files[number]:
            found = coverage.add(part, number)
            if found is not None and found.source != number:
                both = f"{self._files[found.source].path} and {self._files[number].path}"
                if found.same:
                    raise RecordingError(
                        f"{self.path}: one of the recordings is there twice",
                        hint=f"{both} begin with the same snapshot",
                    )
                self._both = self._both or f"{found}: {both} overlap"
            yield part

    def _listen(self) -> None:
        self.problem = _problems(self._files)
        overlaps = (f"{file.path}: {file.overlap}" for file in self._files if file.overlap)
        self.overlap = self._both or next(overlaps, "")

    def sorted(self) -> RecordingFile:
        return self if self.ordered else _Merged(self.path, [one.sorted() for one in self._files])


class _Merged(SeveralFiles):
    """The same in the order of time; of each file a batch is in memory."""

    def __init__(self, path: str, files: Sequence[RecordingFile]) -> None:
        super().__init__(path, files)
        self.ordered = True

    def __iter__(self) -> Iterator[Recording]:
        """Repeatedly yield the snapshots that end before anything unread."""
        coverage = Coverage()
        sources = [_Source(self._parts(number, coverage)) for number in range(len(self._files))]
        has_extra = any(source.fill() and source.has_extra for source in sources)
        rest: list[pa.Table] = []  # of a snapshot that may go on
        while sources := [source for source in sources if source.fill()]:
            horizon_ns = min(source.last_ns for source in sources)
            pieces = [piece for source in sources if (piece := source.take(horizon_ns)) is not None]
            if has_extra:
                pieces = list(map(_with_extra, pieces))
            table = in_order([*rest, *pieces])
            cut = int(Recording(self.info, table).snapshot_offsets[-2])
            rest = [table[cut:]]
            if cut:
                yield Recording(self.info, table[:cut])
        if rest:
            yield Recording(self.info, joined(rest))
        self._listen()


def _problems(files: Iterable[RecordingFile]) -> str:
    return "; ".join(f"{file.path}: {file.problem}" for file in files if file.problem)


@dataclass(slots=True)
class _Source:
    parts: Iterator[Recording]
    rest: pa.Table | None = field(default=None)

    def fill(self) -> bool:
        """Have rows, if there are any left."""
        while self.rest is None or len(self.rest) == 0:
            part = next(self.parts, None)
            if part is None:
                return False
            self.rest = part.table
        return True

    @property
    def has_extra(self) -> bool:
        return self.rest is not None and EXTRA.name in self.rest.column_names

    @property
    def last_ns(self) -> int:
        return int(_end_ns(self.rest)[-1])

    def take(self, horizon_ns: int) -> pa.Table | None:
        """The snapshots that ended by then."""
        assert self.rest is not None
        end_ns = np.maximum.accumulate(_end_ns(self.rest))  # a clock may have been set back
        cut = int(np.searchsorted(end_ns, horizon_ns, side="right"))
        taken, self.rest = self.rest[:cut], self.rest[cut:]
        return taken if cut else None


def in_order(tables: list[pa.Table], *, known: bool = False) -> pa.Table:
    """Tables as one in the order of time, which they may be *known* to have; empties the list."""
    table = joined(tables) if tables else COLUMNS.empty_table()
    return table if known or _is_ordered(table) else _taken(table, _order(table))


def _taken(table: pa.Table, order: NDArray[np.int64]) -> pa.Table:
    return joined([table.take(arrow(order))])


def _with_extra(table: pa.Table) -> pa.Table:
    if EXTRA.name in table.column_names:
        return table
    return table.append_column(EXTRA, constant("", len(table)))


def _end_ns(table: pa.Table) -> NDArray[np.int64]:
    return numbers(single(table, "end_ns"))


def _is_ordered(table: pa.Table) -> bool:
    end_ns = _end_ns(table)
    return bool((end_ns[1:] >= end_ns[:-1]).all())


def _order(table: pa.Table) -> NDArray[np.int64]:
    """The indices of rows in the order in which snapshots ended."""
    return np.argsort(_end_ns(table), kind="stable")


def _merged_info(infos: Sequence[RecordingInfo]) -> RecordingInfo:
    """What holds for several recordings; the attributes are those of the first."""

    def together(name: str) -> str:
        return ", ".join(dict.fromkeys(filter(None, (getattr(info, name) for info in infos))))

    return RecordingInfo(
        infos[0].attrs,
        together("probe"),
        min(info.started_ns for info in infos),
        tuple(dict.fromkeys(argv for info in infos for argv in info.commands)),
        together("kernel"),
        together("hostname"),
        together("pydamon_version"),
    )
