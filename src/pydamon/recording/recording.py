"""A recording in memory: one long table, and the snapshots that it is made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon.core.errors import RecordingError
from pydamon.core.mappings import Mapping, MappingTable
from pydamon.core.snapshot import Cost, Footprint, Snapshot, Target
from pydamon.recording.arrays import arrow, joined, numbers, single
from pydamon.recording.format import RecordingInfo

__all__ = ["Recording", "no_such_target"]

_OF_SNAPSHOTS = (
    "start_ns",
    "end_ns",
    "max_nr_accesses",
    "sampling_ns",
    "cpu_ns",
    "interruption_ns",
    "late_ticks",
    "host",
)
_OF_PARTS = ("pid", "target", "vsz_bytes", "rss_bytes", "process_started_ns")


def _changes(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """For each row but the first, whether it differs from the row before in one of the columns."""
    new = np.zeros(max(0, len(columns[0]) - 1), np.bool_)
    for values in columns:
        new |= values[1:] != values[:-1]
    return new


def no_such_target(pid: int, known: Iterable[int]) -> RecordingError:
    """The error that there is no target *pid*, but the *known* ones."""
    some = ", ".join(map(str, islice(known, 10)))
    return RecordingError(
        f"there is no process {pid} in the recording", hint=f"there is: {some}" if some else ""
    )


@dataclass(frozen=True)
class _Frame:
    """The snapshots, and the targets in them, of a recording that some regions were picked from.

    Without it they would vanish where all their regions do.
    """

    snapshot_offsets: NDArray[np.int64]
    part_offsets: NDArray[np.int64]
    part_snapshots: NDArray[np.int64]
    of_snapshots: dict[str, NDArray[Any]]
    of_parts: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Recording:
    """What was recorded: `info`, and `table` with one row a region of a snapshot.

    The rows of a snapshot follow one another, in it those of a target, sorted by address. A
    snapshot is of one host: in a merged recording those of several alternate.
    `problem` says why the recording is not complete; what could be read is in the table.
    """

    info: RecordingInfo
    table: pa.Table = field(repr=False)
    problem: str = ""
    _frame: _Frame | None = field(default=None, repr=False)

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
        return self._frame.snapshot_offsets if self._frame else self._offsets(self._new_window)

    @cached_property
    def part_offsets(self) -> NDArray[np.int64]:
        """As `snapshot_offsets`, but for each target of each snapshot."""
        if self._frame:
            return self._frame.part_offsets
        new = self._new_window | _changes(self.column("pid"), self.codes("target"))
        return self._offsets(new)

    @cached_property
    def part_snapshots(self) -> NDArray[np.int64]:
        """The snapshot that each part, a target of a snapshot, belongs to: shape (parts,)."""
        if self._frame:
            return self._frame.part_snapshots
        found = np.searchsorted(self.snapshot_offsets, self.part_offsets[:-1], side="right")
        return found - 1

    def of_snapshots(self, name: str) -> NDArray[Any]:
        """A column that all regions of a snapshot agree in, once each: shape (snapshots,).

        Those are `start_ns`, `end_ns`, `max_nr_accesses`, `sampling_ns`, `cpu_ns`,
        `interruption_ns`, `late_ticks`, and `host` as indices into `names("host")`.
        """
        if self._frame:
            return self._frame.of_snapshots[name]
        heads = self.snapshot_offsets[:-1]
        return self.codes(name)[heads] if name == "host" else self.column(name)[heads]

    def of_parts(self, name: str) -> NDArray[Any]:
        """As `of_snapshots`, for the targets of snapshots: shape (parts,).

        Those are `pid`, `process_started_ns`, `vsz_bytes`, `rss_bytes`, and `target` as indices
        into `names("target")`.
        """
        if self._frame:
            return self._frame.of_parts[name]
        heads = self.part_offsets[:-1]
        return self.codes(name)[heads] if name == "target" else self.column(name)[heads]

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that it was recorded on, in the order of appearance."""
        codes, first = np.unique(self.of_snapshots("host"), return_index=True)
        names = self.names("host")
        return tuple(names[code] for code in codes[np.argsort(first)].tolist())

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Every process that was monitored, with its last name, in the order of appearance."""
        pids, codes = self.of_parts("pid").tolist(), self.of_parts("target").tolist()
        names = self.names("target")
        return tuple(
            Target(pid, names[code]) for pid, code in dict(zip(pids, codes, strict=True)).items()
        )

    def pick(self, rows: NDArray[np.bool_]) -> Recording:
        """The same with some regions only, of which *rows*, of shape (rows,), is true.

        All snapshots and targets stay, even where nothing is left of them.
        """
        if rows.all():
            return self
        return self._picked(rows, np.ones(len(self.part_snapshots), np.bool_))

    def of_pid(self, pid: int) -> Recording:
        """The recording of one of its targets, with the snapshots that it is in.

        Raises `RecordingError` where there is no such target.
        """
        if all(target.pid != pid for target in self.targets):
            raise no_such_target(pid, [target.pid for target in self.targets])
        if len(self.targets) == 1:
            return self
        mine = self.of_parts("pid") == pid
        return self._picked(np.repeat(mine, np.diff(self.part_offsets)), mine)

    def narrowed(self, columns: Sequence[str]) -> Recording:
        """The same with some *columns* of regions only; what is of snapshots and targets stays."""
        return Recording(self.info, self.table.select(columns), self.problem, self._as_frame())

    def pick_snapshots(self, snapshots: NDArray[np.bool_]) -> Recording:
        """The same with some snapshots only, of which *snapshots* is true: shape (snapshots,)."""
        if snapshots.all():
            return self
        rows = np.repeat(snapshots, np.diff(self.snapshot_offsets))
        return self._picked(rows, snapshots[self.part_snapshots])

    def _picked(self, rows: NDArray[np.bool_], parts: NDArray[np.bool_]) -> Recording:
        snapshots, part_snapshots = np.unique(self.part_snapshots[parts], return_inverse=True)
        kept = np.append(0, np.cumsum(rows))
        frame = _Frame(
            np.append(kept[self.snapshot_offsets[snapshots]], kept[-1]),
            np.append(kept[self.part_offsets[:-1][parts]], kept[-1]),
            part_snapshots,
            {name: self.of_snapshots(name)[snapshots] for name in _OF_SNAPSHOTS},
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
            self.snapshot_offsets,
            self.part_offsets,
            self.part_snapshots,
            {name: self.of_snapshots(name) for name in _OF_SNAPSHOTS},
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
        if wanted.all():
            return self
        table = joined([self.table.take(arrow(np.flatnonzero(wanted)))])
        return Recording(self.info, table, self.problem)

    def snapshot(self, index: int) -> Snapshot:
        """One snapshot, counted from 0, or from the end if *index* is negative.

        Mappings are those that can be told from the names of regions. Raises `IndexError`.
        """
        index = range(len(self))[index]
        first, beyond = self.snapshot_offsets[index : index + 2].tolist()
        begin, end = np.searchsorted(self.part_snapshots, [index, index + 1]).tolist()

        def fact(name: str) -> int:
            return int(self.of_snapshots(name)[index])

        def column(name: str) -> NDArray[np.int64]:
            return self.column(name)[first:beyond].astype(np.int64)

        return Snapshot(
            fact("start_ns"),
            fact("end_ns"),
            fact("sampling_ns"),
            fact("max_nr_accesses"),
            tuple(map(self._target, range(begin, end))),
            np.repeat(
                np.arange(end - begin, dtype=np.int32), np.diff(self.part_offsets[begin : end + 1])
            ),
            column("start"),
            column("end"),
            column("nr_accesses"),
            column("age"),
            column("touched_bytes"),
            column("unobservable_bytes"),
            Cost(fact("cpu_ns"), fact("interruption_ns"), fact("late_ticks")),
            self._footprints(begin, end),
            **{
                name: column(name)
                for name in ("age_ns", "resident_bytes", "unseen_bytes", "repeated_bytes")
            },
        )

    def snapshots(self) -> Iterator[Snapshot]:
        """Every snapshot as it was written, but for those without regions."""
        return map(self.snapshot, range(len(self)))

    def _target(self, part: int) -> Target:
        """The target of a part, with a mapping for each run of regions that have its name."""
        first, beyond = self.part_offsets[part : part + 2].tolist()
        start, end = self.column("start")[first:beyond], self.column("end")[first:beyond]
        mapping, perms = self.codes("mapping")[first:beyond], self.codes("perms")[first:beyond]
        new = np.ones(beyond - first, np.bool_)
        new[1:] = (
            (start[1:] != end[:-1]) | (mapping[1:] != mapping[:-1]) | (perms[1:] != perms[:-1])
        )
        heads = np.flatnonzero(new)
        tails = np.append(heads, beyond - first)[1:] - 1
        mapping_names, perms_names = self._mapping_names
        found = (
            Mapping(low, high, perms_names[p], mapping_names[m])
            for low, high, p, m in zip(
                start[heads].tolist(),
                end[tails].tolist(),
                perms[heads].tolist(),
                mapping[heads].tolist(),
                strict=True,
            )
        )
        table = MappingTable(tuple(one for one in found if one.perms or one.name))
        name = self.names("target")[int(self.of_parts("target")[part])]
        pid, started_ns = (int(self.of_parts(fact)[part]) for fact in ("pid", "process_started_ns"))
        return Target(pid, name, table, started_ns)

    def _footprints(self, begin: int, end: int) -> tuple[Footprint, ...]:
        """Those of some parts; none where none is known."""
        known = [self.of_parts(name)[begin:end].tolist() for name in ("vsz_bytes", "rss_bytes")]
        return tuple(map(Footprint, *known)) if any(map(any, known)) else ()

    @cached_property
    def _mapping_names(self) -> tuple[list[str], list[str]]:
        return self.names("mapping"), self.names("perms")

    @cached_property
    def _new_window(self) -> NDArray[np.bool_]:
        """For each row but the first, whether another snapshot begins there."""
        return _changes(self.column("start_ns"), self.column("end_ns"), self.codes("host"))

    def _offsets(self, new: NDArray[np.bool_]) -> NDArray[np.int64]:
        rows = len(self.table)
        if rows == 0:
            return np.zeros(1, np.int64)
        return np.concatenate([[0], np.flatnonzero(new) + 1, [rows]])
