"""Recordings of any size: they come in chunks, so that memory stays bounded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property
from itertools import islice
from typing import TypeAlias

import numpy as np

from pydamon._data.recording.arrow import free_memory
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.rows import in_time_order
from pydamon._data.recording.schema import RecordingInfo
from pydamon._data.recording.targets import is_same, no_such_target
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Target

__all__ = ["AnyRecording", "DerivedFile", "RecordingFile", "chunks_of"]

_LEAST_FREE = 2**25
_MAX_HELD_ROWS = 2**20


class RecordingFile(Displayable, ABC):
    """A recording of any size, which is read in chunks: iterate over it, as often as you like.

    Each chunk is a `Recording` of whole snapshots with some 100,000 rows. Names may have other
    codes in each chunk.

    Attributes
    ----------
    path : str
        The file, directory or pattern that was opened.
    info : RecordingInfo
        The facts that hold for the whole recording.
    problem : str
        Why the recording is not complete; empty if it is. This is known once the last chunk has
        been read.
    overlap : str
        Which target was recorded twice at the same time; empty if none was. This is known once the
        last chunk has been read.
    ordered : bool
        Whether the snapshots are known to come in the order of time. `read` sorts them anyway.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("1s"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "app.damon"
    ...     lost = pydamon.write_recording(path, recording)
    ...     file = pydamon.open_recording(path)
    ...     counts = [len(chunk) for chunk in file]
    >>> sum(counts) == len(recording)
    True
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
        """Whether nothing that was read so far is lost: see `problem`."""
        return not self.problem

    @property
    def began_ns(self) -> int:
        """When the first snapshot began, in Unix time: the time that everything counts from.

        If snapshots may be out of order, the whole recording is read.
        """
        chunks = islice(self, 1) if self.ordered else self
        began = [int(chunk.per_target("start_ns").min()) for chunk in chunks]
        return min(began, default=self.info.started_ns)

    def read(self) -> Recording:
        """Read the whole recording into memory.

        Raises
        ------
        RecordingError
            If there is not enough memory, or the file cannot be read.
        """
        tables, row_count = [], 0
        for chunk in self:
            tables.append(chunk.table)
            row_count += len(chunk.table)
            # Joining the chunks takes a column or two, and reports take theirs.
            if free_memory() < _LEAST_FREE + 2 * 8 * row_count:
                raise RecordingError(
                    f"{self.path} does not fit into memory", hint="take a part of it: pydamon slice"
                )
        table = in_time_order(tables, known=self.ordered)
        return Recording(self.info, table, self.problem, self.overlap)

    def sorted(self) -> RecordingFile:
        """Return the recording in the order of time.

        That is the recording itself, a merge of several recordings, or a copy in memory.
        """
        return self if self.ordered else _InMemory(self)

    def held(self, *columns: str) -> RecordingFile:
        """Return the recording for two passes: at most a million rows stay in memory.

        From the second pass on, regions have only these *columns*.
        """
        return _Held(self, columns)

    def changed(self, change: Callable[[Recording], Recording]) -> RecordingFile:
        """Return the recording with *change* applied to each chunk when that is read."""
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
        """Cut out a part, as `Recording.slice` does, when it is read.

        Parameters
        ----------
        start_ns, end_ns, addresses, pids, hosts
            As in `Recording.slice`.
        """
        part = self.changed(
            lambda chunk: chunk.slice(
                start_ns=start_ns, end_ns=end_ns, addresses=addresses, pids=pids, hosts=hosts
            )
        )
        part.info = self.info.since(start_ns)
        return part

    def of_pid(self, pid: int) -> RecordingFile:
        """Keep some targets, as `Recording.of_pid` does, when the recording is read.

        Reading it raises `RecordingError` if no target has that pid.
        """
        return _OfTargets(self, pid, lambda target: target.pid == pid)

    def of_target(self, target: Target) -> RecordingFile:
        """Keep one target, as `Recording.of_target` does, when the recording is read.

        Reading it raises `RecordingError` if there is no such target.
        """
        return _OfTargets(self, target.pid, lambda located: is_same(target, located))


AnyRecording: TypeAlias = Recording | RecordingFile
"""A recording in memory, or a file of any size: every analysis takes both."""


def chunks_of(recording: AnyRecording) -> Iterable[Recording]:
    """The chunks of a recording; a recording in memory is a single chunk."""
    return [recording] if isinstance(recording, Recording) else recording


class DerivedFile(RecordingFile):
    """A recording that is made from *source* while that is read: by default the same."""

    def __init__(self, source: RecordingFile) -> None:
        self.path, self.info, self.ordered = source.path, source.info, source.ordered
        self._source = source

    def __iter__(self) -> Iterator[Recording]:
        for chunk in self._source:
            self._take_over_problems()
            yield chunk
        self._take_over_problems()

    def _take_over_problems(self) -> None:
        self.problem, self.overlap = self._source.problem, self._source.overlap

    def sorted(self) -> RecordingFile:
        if self.ordered:
            return self
        in_order = copy(self)
        in_order._source, in_order.ordered = self._source.sorted(), True
        return in_order


class _Changed(DerivedFile):
    def __init__(self, source: RecordingFile, change: Callable[[Recording], Recording]) -> None:
        super().__init__(source)
        self._change = change

    def __iter__(self) -> Iterator[Recording]:
        return filter(len, map(self._change, super().__iter__()))


class _OfTargets(DerivedFile):
    """The targets for which *is_wanted* holds; an error names *pid*."""

    def __init__(
        self, source: RecordingFile, pid: int, is_wanted: Callable[[Target], bool]
    ) -> None:
        super().__init__(source)
        self._pid = pid
        self._is_wanted = is_wanted

    def __iter__(self) -> Iterator[Recording]:
        known_pids: dict[int, None] = {}
        is_there = False
        for chunk in super().__iter__():
            wanted = np.array([self._is_wanted(each) for each in chunk.located_targets], np.bool_)
            known_pids |= dict.fromkeys(target.pid for target in chunk.targets)
            if wanted.any():
                is_there = True
                yield chunk.pick_targets(wanted[chunk.target_indices])
        if not is_there:
            raise no_such_target(self._pid, known_pids)


class _Held(DerivedFile):
    """A recording that stays in memory after the first pass if it is small enough."""

    def __init__(self, source: RecordingFile, columns: Sequence[str]) -> None:
        super().__init__(source)
        self._columns = columns
        self._chunks: list[Recording] | None = None

    def __iter__(self) -> Iterator[Recording]:
        if self._chunks is not None:
            yield from self._chunks
            return
        chunks, row_count = [], 0
        for chunk in super().__iter__():
            row_count += len(chunk.table)
            if row_count <= _MAX_HELD_ROWS:
                chunks.append(chunk.with_columns(self._columns))
            else:
                chunks.clear()
            yield chunk
        self._chunks = chunks if row_count <= _MAX_HELD_ROWS else None


class _InMemory(RecordingFile):
    """A recording whose chunks may be out of order: read and sorted once, for all passes."""

    def __init__(self, source: RecordingFile) -> None:
        self.path, self.info = source.path, source.info
        self._source = source

    def __iter__(self) -> Iterator[Recording]:
        self.problem, self.overlap = self._recording.problem, self._recording.overlap
        if len(self._recording.table):
            yield self._recording

    @cached_property
    def _recording(self) -> Recording:
        return self._source.read()
