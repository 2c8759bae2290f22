"""A recording in memory: one long table, and the snapshots that it is made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.arrays import arrow, joined, numbers, single
from pydamon._data.recording.format import RecordingInfo
from pydamon._data.recording.grouping import new_snapshots
from pydamon._data.recording.snapshots import snapshot_of
from pydamon._data.recording.targets import is_same, located_in, named_apart
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Snapshot, Target

__all__ = ["Recording", "no_such_target"]

_OF_PARTS = (
    "start_ns",
    "end_ns",
    "host",
    "pid",
    "target",
    "process_started_ns",
    "max_nr_accesses",
    "sampling_ns",
    "cpu_ns",
    "interruption_ns",
    "late_ticks",
    "vsz_bytes",
    "rss_bytes",
)
_NAMES = ("host", "target")
_COSTS = ("cpu_ns", "interruption_ns", "late_ticks")


def _changes(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """For each row but the first, whether it differs from the row before in one of the columns."""
    new = np.zeros(max(0, len(columns[0]) - 1), np.bool_)
    for values in columns:
        new |= values[1:] != values[:-1]
    return new


def no_such_target(pid: int, known: Iterable[int]) -> RecordingError:
    """The error that there is no target *pid*, but the *known* ones."""
    some = ", ".join(map(str, islice(dict.fromkeys(known), 10)))
    return RecordingError(
        f"there is no process {pid} in the recording", hint=f"there is: {some}" if some else ""
    )


@dataclass(frozen=True)
class _Frame:
    """The targets, in their snapshots, of a recording that some regions were picked from.

    Without it they would vanish where all their regions do.
    """

    part_offsets: NDArray[np.int64]
    part_snapshots: NDArray[np.int64]
    of_parts: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Recording(Displayable):
    """What was recorded: `info`, and `table` with one row a region of a snapshot.

    The rows of a snapshot follow one another, in it those of a target, sorted by address. A
    snapshot is made of one aggregation of each of its targets, whose windows overlap; in a merged
    recording those may be of several hosts.
    `problem` says why the recording is not complete; what could be read is in the table. `overlap`
    says which target was recorded twice at the same time, as when a recording was put together
    with itself: its windows are in snapshots of their own then.
    """

    info: RecordingInfo
    table: pa.Table = field(repr=False)
    problem: str = ""
    _frame: _Frame | None = field(default=None, repr=False)
    overlap: str = ""

    def __len__(self) -> int:
        """The number of snapshots."""
        return len(self.snapshot_offsets) - 1

    @property
    def complete(self) -> bool:
        """Whether the recorder closed the file, and nothing of it is lost."""
        return not self.problem

    def column(self, name: str) -> NDArray[np.int64]:
        """A column of numbers as it is in the table: shape (rows,), int64 or int32, read only."""
        return numbers(single(self.table, name))

    def codes(self, name: str) -> NDArray[np.int32]:
        """A column of names as indices into `names(name)`: shape (rows,)."""
        return numbers(single(self.table, name).indices)

    def names(self, name: str) -> list[str]:
        """The names that `codes(name)` points at."""
        words: list[str] = single(self.table, name).dictionary.to_pylist()
        return words

    @cached_property
    def snapshot_offsets(self) -> NDArray[np.int64]:
        """The row at which each snapshot begins, and the number of rows: shape (snapshots + 1,)."""
        return np.append(self.part_offsets[self._heads], self.part_offsets[-1])

    @cached_property
    def part_offsets(self) -> NDArray[np.int64]:
        """As `snapshot_offsets`, but for each part: a target of a snapshot."""
        if self._frame:
            return self._frame.part_offsets
        new = _changes(
            *(self.column(name) for name in ("start_ns", "end_ns", "pid", "process_started_ns")),
            *(self.codes(name) for name in _NAMES),
        )
        # A target that begins anew is that of another snapshot.
        new |= self.column("start")[1:] < self.column("end")[:-1]
        rows = len(self.table)
        if rows == 0:
            return np.zeros(1, np.int64)
        return np.concatenate([[0], np.flatnonzero(new) + 1, [rows]])

    @cached_property
    def part_snapshots(self) -> NDArray[np.int64]:
        """The snapshot that each part belongs to: shape (parts,)."""
        if self._frame:
            return self._frame.part_snapshots
        start_ns, end_ns = self.of_parts("start_ns"), self.of_parts("end_ns")
        return np.cumsum(new_snapshots(start_ns, end_ns, self.part_targets)) - 1

    @cached_property
    def mapping_names(self) -> tuple[list[str], list[str]]:
        """`names` of mappings, and of permissions."""
        return self.names("mapping"), self.names("perms")

    @cached_property
    def _heads(self) -> NDArray[np.int64]:
        """The first part of each snapshot."""
        return np.flatnonzero(np.diff(self.part_snapshots, prepend=-1))

    @cached_property
    def _facts(self) -> dict[tuple[str, str], NDArray[Any]]:
        """What `of_snapshots` and `of_parts` have been asked for."""
        return {}

    def of_snapshots(self, name: str) -> NDArray[Any]:
        """What is said of each snapshot: shape (snapshots,).

        `start_ns` and `end_ns` bound the windows of its targets, and `window_ns` is how long those
        are in the mean. Costs (`cpu_ns`, `interruption_ns`, `late_ticks`) are those of all its
        windows, `max_nr_accesses` is the largest of them, `sampling_ns` that of the first.
        """
        if ("snapshots", name) not in self._facts:
            self._facts["snapshots", name] = self._of_snapshots(name)
        return self._facts["snapshots", name]

    def _of_snapshots(self, name: str) -> NDArray[Any]:
        heads = self._heads
        if name == "window_ns":
            length_ns: NDArray[np.int64] = self.of_parts("end_ns") - self.of_parts("start_ns")
            counts = np.diff(heads, append=len(length_ns))
            # Differences from the first, since sums of hostile windows may not fit.
            first_ns = length_ns[heads]
            mean_ns: NDArray[np.int64] = first_ns + (
                _sums(length_ns - np.repeat(first_ns, counts), heads) // counts
            )
            return mean_ns
        values = self.of_parts(name)
        if len(heads) == 0 or len(heads) == len(values):
            return values[heads]
        if name == "start_ns":
            return np.minimum.reduceat(values, heads)
        if name in ("end_ns", "max_nr_accesses"):
            return np.maximum.reduceat(values, heads)
        if name in _COSTS:
            new = np.ones(len(values), np.bool_)
            windows = (self.of_parts(each) for each in ("start_ns", "end_ns", "host"))
            new[1:] = _changes(*windows, self.part_snapshots)
            return _sums(np.where(new, values, 0), heads)
        return values[heads]

    def of_parts(self, name: str) -> NDArray[Any]:
        """What is said of each part, a target of a snapshot: shape (parts,).

        Those are `start_ns`, `end_ns`, `pid`, `process_started_ns`, `vsz_bytes`, `rss_bytes`,
        `max_nr_accesses`, `sampling_ns`, the costs of its window (`cpu_ns`, `interruption_ns`,
        `late_ticks`), and `host` and `target` as indices into `names(name)`.
        """
        if self._frame:
            return self._frame.of_parts[name]
        if ("parts", name) not in self._facts:
            values = self.codes(name) if name in _NAMES else self.column(name)
            self._facts["parts", name] = values[self.part_offsets[:-1]]
        return self._facts["parts", name]

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that it was recorded on, in the order of appearance."""
        codes, first = np.unique(self.of_parts("host"), return_index=True)
        names = self.names("host")
        return tuple(names[code] for code in codes[np.argsort(first)].tolist())

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Every process that was monitored, with its last name, in the order of appearance.

        A process is its host, its pid and when it started; the host is said where there are
        several.
        """
        return named_apart(self.located_targets)

    @property
    def located_targets(self) -> tuple[Target, ...]:
        """As `targets`, but with their hosts in any case."""
        return self._located[0]

    @property
    def part_targets(self) -> NDArray[np.int64]:
        """Which of `targets` each part is of: shape (parts,)."""
        return self._located[1]

    @cached_property
    def _located(self) -> tuple[tuple[Target, ...], NDArray[np.int64]]:
        return located_in(self)

    def pick(self, rows: NDArray[np.bool_]) -> Recording:
        """The same with some regions only, of which *rows*, of shape (rows,), is true.

        All snapshots and targets stay, even where nothing is left of them.
        """
        if rows.all():
            return self
        return self._picked(rows, np.ones(len(self.part_snapshots), np.bool_))

    def of_pid(self, pid: int) -> Recording:
        """The recording of the targets with one pid, with the snapshots that they are in.

        Those are several where a pid was given anew, or there are several hosts. Raises
        `RecordingError` where there is none.
        """
        if all(target.pid != pid for target in self.targets):
            raise no_such_target(pid, [target.pid for target in self.targets])
        return self.of_parts_where(self.of_parts("pid") == pid)

    def of_target(self, target: Target) -> Recording:
        """The recording of one of its `targets`, with the snapshots that it is in.

        Raises `RecordingError` where it is not one of them.
        """
        mine = [is_same(target, one) for one in self.located_targets]
        if not any(mine):
            raise no_such_target(target.pid, [one.pid for one in self.targets])
        return self.of_parts_where(np.array(mine, np.bool_)[self.part_targets])

    def narrowed(self, columns: Sequence[str]) -> Recording:
        """The same with some *columns* of regions only; what is of snapshots and targets stays."""
        return Recording(self.info, self.table.select(columns), self.problem, self._as_frame())

    def pick_snapshots(self, snapshots: NDArray[np.bool_]) -> Recording:
        """The same with some snapshots only, of which *snapshots* is true: shape (snapshots,)."""
        return self.of_parts_where(snapshots[self.part_snapshots])

    def of_parts_where(self, parts: NDArray[np.bool_]) -> Recording:
        """The same with some parts only, targets of snapshots: *parts* has shape (parts,)."""
        if parts.all():
            return self
        return self._picked(np.repeat(parts, np.diff(self.part_offsets)), parts)

    def _picked(self, rows: NDArray[np.bool_], parts: NDArray[np.bool_]) -> Recording:
        _, part_snapshots = np.unique(self.part_snapshots[parts], return_inverse=True)
        kept = np.append(0, np.cumsum(rows))
        frame = _Frame(
            np.append(kept[self.part_offsets[:-1][parts]], kept[-1]),
            part_snapshots,
            {name: self.of_parts(name)[parts] for name in _OF_PARTS},
        )
        bits = pa.py_buffer(np.packbits(rows, bitorder="little"))
        mask = pa.Array.from_buffers(pa.bool_(), len(rows), [None, bits])
        # By arrays: where nothing is left of a table, its names are lost too.
        columns = [single(self.table, name).filter(mask) for name in self.table.column_names]
        table = pa.Table.from_arrays(columns, schema=self.table.schema)
        return Recording(self.info, table, self.problem, frame)

    def _as_frame(self) -> _Frame:
        return self._frame or _Frame(
            self.part_offsets,
            self.part_snapshots,
            {name: self.of_parts(name) for name in _OF_PARTS},
        )

    def slice(
        self,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        addresses: tuple[int, int] | None = None,
        pids: Collection[int] | None = None,
        hosts: Collection[str] | None = None,
    ) -> Recording:
        """A part of it: what overlaps a time (Unix, ns) and addresses (bytes), and of whom.

        Snapshots and regions are taken whole or not at all. It may be that nothing is left.
        """
        wanted = np.ones(len(self.table), np.bool_)
        if start_ns is not None:
            wanted &= self.column("end_ns") > start_ns
        if end_ns is not None:
            wanted &= self.column("start_ns") < end_ns
        if addresses is not None:
            wanted &= (self.column("end") > addresses[0]) & (self.column("start") < addresses[1])
        if pids is not None:
            wanted &= np.isin(self.column("pid"), list(pids))
        if hosts is not None:
            codes = [code for code, name in enumerate(self.names("host")) if name in hosts]
            wanted &= np.isin(self.codes("host"), codes)
        info = self.info.since(start_ns)
        if wanted.all():
            return self if info == self.info else replace(self, info=info)
        table = joined([self.table.take(arrow(np.flatnonzero(wanted)))])
        return Recording(info, table, self.problem)

    def snapshot(self, index: int) -> Snapshot:
        """One snapshot, counted from 0, or from the end if *index* is negative.

        Mappings are those that can be told from the names of regions. Raises `IndexError`.
        """
        return snapshot_of(self, range(len(self))[index])

    def snapshots(self) -> Iterator[Snapshot]:
        """Every snapshot as it was written, but for those without regions."""
        return map(self.snapshot, range(len(self)))


def _sums(values: NDArray[Any], heads: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sums of what stands between one head and the next."""
    if len(heads) == 0:
        return np.zeros(0, np.int64)
    sums: NDArray[np.int64] = np.add.reduceat(values.astype(np.int64), heads)
    return sums
