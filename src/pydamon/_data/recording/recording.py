"""A recording in memory: one long table, and the snapshots that it is made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.accessed_within import unpacked
from pydamon._data.recording.ages import sums_of_words
from pydamon._data.recording.arrow import column_array, concatenate, to_arrow, to_numpy
from pydamon._data.recording.layout import Layout
from pydamon._data.recording.passed import kinds_of_words, passed_of_words
from pydamon._data.recording.schema import COLUMNS, RecordingInfo
from pydamon._data.recording.snapshots import RowBuilder, SnapshotReader
from pydamon._data.recording.targets import is_same, no_such_target, without_single_host
from pydamon._model.attrs import Attrs
from pydamon._model.display import Displayable
from pydamon._model.page_ages import AgeSums
from pydamon._model.page_size import PAGE_SIZE
from pydamon._model.passed import PassedBytes
from pydamon._model.shares import stored_shares
from pydamon._model.snapshot import Snapshot, Target

__all__ = ["Recording"]


@dataclass(frozen=True)
class Recording(Displayable):
    """A recording in memory: one table row for each region of each snapshot.

    The rows of a snapshot stand together, and in a snapshot the rows of a target, sorted by
    address. A snapshot has one window of each of its targets, and these windows overlap. In a
    merged recording the targets may be of several hosts.

    Parameters
    ----------
    info
        The facts that hold for the whole recording.
    table
        The rows as an Arrow table. docs/reference/recording-format.md explains its columns.
    problem
        Why the recording is not complete; empty if it is. The table has the rows before the damage.
    overlap
        Which target was recorded twice at the same time, as in a recording put together with
        itself; empty if none was. The second windows are then in snapshots of their own.

    Notes
    -----
    Arrays named `target_...`, and the results of `per_target`, have one entry for each target of
    each snapshot, in the order of the rows.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("1s"))
    >>> len(recording.table) == len(recording.column("start")) >= len(recording)
    True
    >>> pydamon.format_size(recording.snapshot(-1).working_set())
    '64 MiB'
    """

    info: RecordingInfo
    table: pa.Table = field(repr=False)
    problem: str = ""
    overlap: str = ""
    _layout: Layout | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_snapshots(
        cls, snapshots: Iterable[Snapshot], info: RecordingInfo | None = None
    ) -> Self:
        """Make a recording of snapshots, without a file.

        Parameters
        ----------
        snapshots
            Snapshots in the order of time, such as those that a monitor yields. Snapshots without
            regions leave no rows.
        info
            The facts about the recording; by default only when it began.

        Returns
        -------
        Recording
            The recording, as it would be read from a file.
        """
        written = [snapshot for snapshot in snapshots if len(snapshot)]
        info = info or RecordingInfo(
            Attrs(), "", written[0].start_ns if written else 0, page_size=PAGE_SIZE
        )
        if not written:
            return cls(info, COLUMNS.empty_table())
        return cls(info, pa.Table.from_batches([RowBuilder(info.hostname).batch(written)]))

    def __len__(self) -> int:
        """The number of snapshots."""
        return len(self._rows.snapshot_runs)

    @property
    def complete(self) -> bool:
        """Whether the recorder closed the file, and nothing of it is lost."""
        return not self.problem

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of numbers: shape (rows,), int64, int32 or float32, read only."""
        return to_numpy(column_array(self.table, name))

    @property
    def access_share(self) -> NDArray[np.float64]:
        """The share of sampling intervals with an access, from 0 to 1: shape (rows,).

        It is the column, as exact as `nr_accesses` where both say the same.
        """
        counts = self.column("nr_accesses"), self.column("max_nr_accesses")
        return stored_shares(*counts, self.column("access_share"))

    @property
    def access_rate(self) -> NDArray[np.float64]:
        """`access_share`, and 0 where no access was found in the window: shape (rows,)."""
        return np.where(self.column("nr_accesses") > 0, self.access_share, 0.0)

    @property
    def accessed_within(self) -> NDArray[np.float64]:
        """The shares accessed within several times, as in `Snapshot`: shape (rows, 7)."""
        return unpacked(self.column("accessed_within"))

    @property
    def page_ages(self) -> AgeSums:
        """How long the pages of each row's region had been idle at `looked_ns`.

        Only rows with `looked_ns` have any; the `region` of the sums is the number of the row.

        Raises
        ------
        RecordingError
            If the column makes no sense.
        """
        return sums_of_words(column_array(self.table, "page_ages"))

    @property
    def passed_kinds(self) -> tuple[str, ...]:
        """The kinds of pages of which `passed` tells bytes: see `PassedBytes`."""
        return kinds_of_words(self.names("passed"))

    def passed(self, *kinds: str) -> PassedBytes:
        """How many bytes of each row's region are of some kinds; -1 where nobody has looked.

        Parameters
        ----------
        *kinds
            The kinds of pages: see `PassedBytes`.

        Raises
        ------
        RecordingError
            If the column makes no sense.
        """
        told = passed_of_words(column_array(self.table, "passed"), kinds)
        return PassedBytes.unknown(kinds, len(self.table)) if told is None else told

    def codes(self, name: str) -> NDArray[np.int32]:
        """Return a column of names as indices into `names(name)`: shape (rows,)."""
        return to_numpy(column_array(self.table, name).indices)

    def names(self, name: str) -> list[str]:
        """Return the names that `codes(name)` are indices into."""
        words: list[str] = column_array(self.table, name).dictionary.to_pylist()
        return words

    @cached_property
    def _rows(self) -> Layout:
        """Which rows belong to which target of which snapshot."""
        return self._layout or Layout.of(self.table)

    @property
    def snapshot_offsets(self) -> NDArray[np.int64]:
        """The row at which each snapshot begins, and the number of rows: shape (snapshots + 1,)."""
        return self._rows.snapshot_offsets

    @property
    def snapshot_heads(self) -> NDArray[np.int64]:
        """The first target of each snapshot, as an index into arrays with one entry a target."""
        return self._rows.snapshot_runs.heads

    @property
    def target_offsets(self) -> NDArray[np.int64]:
        """The row at which each target of each snapshot begins, and the number of rows."""
        return self._rows.target_offsets

    @property
    def target_snapshots(self) -> NDArray[np.int64]:
        """The snapshot that each target of each snapshot belongs to."""
        return self._rows.target_snapshots

    @property
    def target_indices(self) -> NDArray[np.int64]:
        """Which of `targets` each target of each snapshot is."""
        return self._rows.target_indices

    def per_snapshot(self, name: str) -> NDArray[Any]:
        """Return one value for each snapshot: shape (snapshots,).

        Parameters
        ----------
        name
            `start_ns` and `end_ns` bound the windows of all targets, and `window_ns` is the mean
            length of these windows. The costs (`cpu_ns`, `interruption_ns`, `late_ticks`) are sums
            over the windows, `max_nr_accesses` is the largest of all targets, `sampling_ns` that of
            the first target.
        """
        return self._rows.per_snapshot(name)

    def per_target(self, name: str) -> NDArray[Any]:
        """Return one value for each target of each snapshot.

        Parameters
        ----------
        name
            `start_ns`, `end_ns`, `pid`, `process_started_ns`, `vsz_bytes`, `rss_bytes`,
            `max_nr_accesses`, `sampling_ns`, the costs of the target's window (`cpu_ns`,
            `interruption_ns`, `late_ticks`), or `host` and `target` as indices into `names(name)`.
        """
        return self._rows.values[name]

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that it was recorded on, in the order of appearance."""
        codes, first = np.unique(self.per_target("host"), return_index=True)
        names = self._rows.names["host"]
        return tuple(names[code] for code in codes[np.argsort(first)].tolist())

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Every process that was monitored, with its last name, in the order of appearance.

        A process is identified by its host, its pid and when it started. Targets have their host
        if there are several.
        """
        return without_single_host(self.located_targets)

    @property
    def located_targets(self) -> tuple[Target, ...]:
        """The same as `targets`, but always with the host."""
        return self._rows.located_targets

    def pick(self, rows: NDArray[np.bool_]) -> Recording:
        """Keep some regions only; all snapshots and targets stay, even without regions.

        Parameters
        ----------
        rows
            Whether to keep each region: shape (rows,).
        """
        if rows.all():
            return self
        return self._picked(rows, np.ones(len(self.target_snapshots), np.bool_))

    def pick_snapshots(self, snapshots: NDArray[np.bool_]) -> Recording:
        """Keep some snapshots only: *snapshots* has shape (snapshots,)."""
        return self.pick_targets(snapshots[self.target_snapshots])

    def pick_targets(self, targets: NDArray[np.bool_]) -> Recording:
        """Keep some targets of snapshots only: *targets* has one entry for each of them."""
        if targets.all():
            return self
        return self._picked(np.repeat(targets, np.diff(self.target_offsets)), targets)

    def of_pid(self, pid: int) -> Recording:
        """Keep the targets with one pid, and the snapshots that they are in.

        There are several where a pid was used again, or on several hosts.

        Raises
        ------
        RecordingError
            If no target has that pid.
        """
        if all(target.pid != pid for target in self.targets):
            raise no_such_target(pid, [target.pid for target in self.targets])
        return self.pick_targets(self.per_target("pid") == pid)

    def of_target(self, target: Target) -> Recording:
        """Keep one of `targets`, and the snapshots that it is in.

        Raises
        ------
        RecordingError
            If there is no such target.
        """
        wanted = [is_same(target, located) for located in self.located_targets]
        if not any(wanted):
            raise no_such_target(target.pid, [known.pid for known in self.targets])
        return self.pick_targets(np.array(wanted, np.bool_)[self.target_indices])

    def with_columns(self, columns: Sequence[str]) -> Recording:
        """Keep some *columns* of regions only; facts about snapshots and targets stay."""
        return replace(self, table=self.table.select(columns), overlap="", _layout=self._rows)

    def _picked(self, rows: NDArray[np.bool_], targets: NDArray[np.bool_]) -> Recording:
        bits = pa.py_buffer(np.packbits(rows, bitorder="little"))
        mask = pa.Array.from_buffers(pa.bool_(), len(rows), [None, bits])
        # Array by array: a table that a filter leaves empty would lose the words of its names.
        columns = [column_array(self.table, name).filter(mask) for name in self.table.column_names]
        table = pa.Table.from_arrays(columns, schema=self.table.schema)
        return Recording(self.info, table, self.problem, _layout=self._rows.pick(targets, rows))

    def slice(
        self,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        addresses: tuple[int, int] | None = None,
        pids: Collection[int] | None = None,
        hosts: Collection[str] | None = None,
    ) -> Recording:
        """Cut out a part by time, addresses, processes and hosts.

        Snapshots and regions are kept whole or not at all. The result may be empty.

        Parameters
        ----------
        start_ns, end_ns
            Keep windows that overlap this time (Unix time in ns).
        addresses
            Keep regions that overlap these addresses (bytes, half open).
        pids, hosts
            Keep these processes, and these hosts.
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
        table = concatenate([self.table.take(to_arrow(np.flatnonzero(wanted)))])
        return Recording(info, table, self.problem)

    @cached_property
    def _reader(self) -> SnapshotReader:
        return SnapshotReader(self.table, self._rows, self.targets)

    def snapshot(self, index: int) -> Snapshot:
        """Return one snapshot.

        The mappings of its targets are made of the names of regions.

        Parameters
        ----------
        index
            The number of the snapshot from 0 on; from the end if it is negative.

        Raises
        ------
        IndexError
            If there is no such snapshot.
        """
        return self._reader.snapshot(range(len(self))[index])

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield every snapshot as it was recorded. Snapshots without regions are not recorded."""
        return map(self.snapshot, range(len(self)))
