"""Several recordings read as a single recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.arrow import column_array, concatenate, to_numpy
from pydamon._data.recording.coverage import Coverage
from pydamon._data.recording.file import RecordingFile
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.rows import in_time_order, with_extra
from pydamon._data.recording.schema import EXTRA, RecordingInfo
from pydamon._model.errors import RecordingError

__all__ = ["SeveralFiles"]


class SeveralFiles(RecordingFile):
    """Several recordings, one after the other; `sorted` merges them in the order of time."""

    def __init__(self, path: str, files: Sequence[RecordingFile]) -> None:
        self.path = path
        self.ordered = len(files) == 1 and files[0].ordered
        self.info = _merged_info([file.info for file in files])
        self._files = files
        self._overlap_of_files = ""

    def __iter__(self) -> Iterator[Recording]:
        coverage = Coverage()
        for number in range(len(self._files)):
            yield from self._chunks(number, coverage)
        self._take_over_problems()

    @property
    def began_ns(self) -> int:
        """When the first of them begins."""
        return min(file.began_ns for file in self._files)

    def sorted(self) -> RecordingFile:
        return self if self.ordered else _Merged(self.path, [file.sorted() for file in self._files])

    def _chunks(self, number: int, coverage: Coverage) -> Iterator[Recording]:
        """The chunks of a file; raises `RecordingError` if the file is there twice."""
        for chunk in self._files[number]:
            overlap = coverage.add(chunk, number)
            if overlap is not None and overlap.source != number:
                both = f"{self._files[overlap.source].path} and {self._files[number].path}"
                if overlap.same:
                    raise RecordingError(
                        f"{self.path}: one of the recordings is there twice",
                        hint=f"{both} begin with the same snapshot",
                    )
                self._overlap_of_files = self._overlap_of_files or f"{overlap}: {both} overlap"
            yield chunk

    def _take_over_problems(self) -> None:
        self.problem = "; ".join(
            f"{file.path}: {file.problem}" for file in self._files if file.problem
        )
        overlaps = (f"{file.path}: {file.overlap}" for file in self._files if file.overlap)
        self.overlap = self._overlap_of_files or next(overlaps, "")


class _Merged(SeveralFiles):
    """Several recordings in the order of time; of each file, one chunk is in memory."""

    def __init__(self, path: str, files: Sequence[RecordingFile]) -> None:
        super().__init__(path, files)
        self.ordered = True

    def __iter__(self) -> Iterator[Recording]:
        """Repeatedly yield the snapshots that end before anything unread."""
        coverage = Coverage()
        cursors = [_MergeCursor(self._chunks(n, coverage)) for n in range(len(self._files))]
        has_extra = any(cursor.fill() and cursor.has_extra for cursor in cursors)
        unfinished: list[pa.Table] = []  # a snapshot that may go on
        while cursors := [cursor for cursor in cursors if cursor.fill()]:
            horizon_ns = min(cursor.last_ns for cursor in cursors)
            taken = [cursor.take(horizon_ns) for cursor in cursors]
            tables = [table for table in taken if len(table)]
            if has_extra:
                tables = list(map(with_extra, tables))
            table = in_time_order([*unfinished, *tables])
            cut = int(Recording(self.info, table).snapshot_offsets[-2])
            unfinished = [table[cut:]]
            if cut:
                yield Recording(self.info, table[:cut])
        if unfinished:
            yield Recording(self.info, concatenate(unfinished))
        self._take_over_problems()


@dataclass(slots=True)
class _MergeCursor:
    """How far a file has been read: `table` has the rows that were not taken yet."""

    chunks: Iterator[Recording]
    table: pa.Table | None = None

    def fill(self) -> bool:
        """Read the next chunk if all rows were taken; return whether there are rows."""
        while self.table is None or len(self.table) == 0:
            chunk = next(self.chunks, None)
            if chunk is None:
                return False
            self.table = chunk.table
        return True

    @property
    def has_extra(self) -> bool:
        return self.table is not None and EXTRA.name in self.table.column_names

    @property
    def last_ns(self) -> int:
        """When the last window that was read ends."""
        return int(self._end_ns[-1])

    def take(self, horizon_ns: int) -> pa.Table:
        """Take the rows of windows that end by *horizon_ns*."""
        assert self.table is not None
        end_ns = np.maximum.accumulate(self._end_ns)  # a clock may have been set back
        cut = int(np.searchsorted(end_ns, horizon_ns, side="right"))
        taken, self.table = self.table[:cut], self.table[cut:]
        return taken

    @property
    def _end_ns(self) -> NDArray[np.int64]:
        return to_numpy(column_array(self.table, "end_ns"))


def _merged_info(infos: Sequence[RecordingInfo]) -> RecordingInfo:
    """The facts about several recordings, with the attributes of the first."""

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
        page_size=min(info.page_size for info in infos),
    )
