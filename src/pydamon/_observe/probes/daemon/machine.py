"""The programs as loaded by the daemon: what `Machine` is to root."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._daemon.protocol import ARMED_BLOCKS, LOOKS, Op, areas
from pydamon._model.errors import ProbeError, ProbeUnavailable
from pydamon._observe.linux.arch import TABLE_ENTRIES
from pydamon._observe.linux.madvise import RANGE_BYTES, clear_ranges
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.daemon.client import Connection, DaemonClock, RefusedByDaemon
from pydamon._observe.probes.ebpf.btf import (
    BLOCK,
    ENTRY,
    GONE,
    PLACE,
    RANGE,
    TABLES,
    TARGET,
    Control,
    Pace,
)
from pydamon._observe.probes.ebpf.machine import Machine

__all__ = ["Began", "DaemonMachine"]

_GONE_MARK = 0xFFFF


class Began(NamedTuple):
    """The start of an epoch."""

    armed: int
    listed: int
    """Regions whose block was cleared: they are in `pending`."""
    doubtful: NDArray[np.uint32]
    refused: NDArray[np.uint32]
    tables: int
    clear_ns: int


class _SharedMap:
    """A part of the shared memory, in place of a map."""

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory

    def array(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.frombuffer(self.memory, dtype)


class _LookNow:
    """In place of a program."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self) -> int:
        self._connection.request(Op.LOOK)
        return 0


class DaemonMachine(Machine):
    """A session of the daemon, for at most so many regions and targets.

    Raises `ProbeUnavailable` if there is no daemon, or if it refuses.
    """

    def __init__(self, max_entries: int, max_targets: int, clock: DaemonClock) -> None:
        self._connection = Connection(clock)
        try:
            self._open(max_entries, max_targets)
        except ProbeError as error:
            self.close()
            raise ProbeUnavailable(f"the daemon: {error}") from None

    def _open(self, max_entries: int, max_targets: int) -> None:
        connection = self._connection
        max_entries = min(max_entries, connection.max_regions)
        max_targets = min(max_targets, connection.max_targets)
        fds: list[int] = []
        top_shift, paced = connection.request(Op.OPEN, max_entries, max_targets, received=fds)[:2]
        sizes = BLOCK.itemsize, ctypes.sizeof(Pace)
        self._areas = areas(max_entries, max_targets, *sizes)
        try:
            self._memory = memoryview(mmap.mmap(fds[0], self._areas["all"][1]))
        finally:
            for fd in fds:
                os.close(fd)
        self.batch = max_entries
        self.control = Control(top_shift=top_shift)
        self.user_entries = TABLE_ENTRIES // 2  # of x86-64, the only processor of the daemon
        self.is_paced = bool(paced)
        """Whether the looks of an epoch are taken at interrupts."""
        self._targets = np.zeros(max_targets, TARGET)
        self._gone = self._area("gone", np.dtype("u1"))
        self._gone[:] = 1
        self._slots: dict[int, int] = {}
        """The target of each process, by its pidfd."""
        self.entries = np.zeros(max_entries, ENTRY)  # of the daemon only blocks are asked
        self.ranges = self._area("ranges", RANGE)
        self.pending = self._area("pending", np.dtype("u4"))
        self._doubtful = self._area("doubtful", np.dtype("u4"))
        self._refused = self._area("refused", np.dtype("u4"))
        self.places = self._area("places", PLACE)
        self._marks = self._area("marks", np.dtype("u2")).reshape(TABLES, TABLE_ENTRIES)
        self._parents = self._area("parents", np.dtype("u2"))
        self.tables = np.zeros((TABLES, TABLE_ENTRIES), np.uint64)
        self.parents = np.zeros(TABLES, np.uint64)
        self._maps = {name: _SharedMap(self._part(name)) for name in ("paces", "blocks")}

    def _part(self, name: str) -> memoryview:
        offset, size = self._areas[name]
        return self._memory[offset : offset + size]

    def _area(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.frombuffer(self._part(name), dtype)

    @property
    def targets(self) -> NDArray[Any]:  # type: ignore[override]
        """What is known of each target: whether it is gone."""
        self._targets["gone"] = self._gone
        return self._targets

    @property
    def maps(self) -> dict[str, Any]:
        return self._maps

    @property
    def programs(self) -> dict[str, Any]:
        look = _LookNow(self._connection)
        return dict.fromkeys(("settle", "choose", "arm", "look_now"), look)

    def close(self) -> None:
        if vars(self):
            self._connection.close()
            vars(self).clear()

    def find_address_space(self, index: int, process: Process) -> bool:
        return not self.watch(index, process)

    def watch(self, index: int, process: Process) -> int:
        """Let target *index* be the process's current memory; the errno if that is refused.

        An open pagemap shows the daemon that the kernel lets this user see that memory.
        """
        self._slots[process.pidfd] = index
        try:
            pagemap = process.open("pagemap")
        except OSError as error:
            return error.errno or errno.EACCES
        try:
            self._connection.request(Op.TARGET, index, fds=(process.pidfd, pagemap))
        except RefusedByDaemon:
            return errno.ESRCH if process.ends else errno.EPERM
        finally:
            os.close(pagemap)
        return 0

    def clear_ranges(self, process: Process, ranges: NDArray[np.uint64]) -> NDArray[np.intp]:
        return clear_ranges(process, ranges, self._advise)

    def _advise(self, pidfd: int, address: int, count: int, advice: int) -> int:
        del advice  # the daemon gives one only
        rows = (ctypes.c_char * (count * RANGE_BYTES)).from_address(address)
        self.ranges[:count] = np.frombuffer(memoryview(rows), RANGE)
        try:
            done, number = self._connection.request(Op.ADVISE, self._slots[pidfd], count)[:2]
        except RefusedByDaemon:
            return -errno.ESRCH
        return done - 1 if done else -number

    def copies(
        self, targets: NDArray[Any], addresses: NDArray[np.int64], shift: int
    ) -> Iterator[tuple[int, NDArray[np.uint64], NDArray[np.uint64]]]:
        for at in range(0, len(addresses), TABLES):
            count = min(TABLES, len(addresses) - at)
            self.places["addr"][:count] = addresses[at : at + count]
            self.places["target"][:count] = targets[at : at + count]
            self._connection.request(Op.SCAN, shift, count)
            self._take_tables(count)
            yield at, self.tables[:count], self.parents[:count]

    def _take_tables(self, count: int) -> None:
        """Put the marks of copied tables where the entries have them."""
        self.tables.view(np.uint16)[:count, ::4] = self._marks[:count]
        parents = self._parents[:count]
        self.parents[:count] = parents
        self.parents[:count][parents == _GONE_MARK] = GONE

    def read_back(self, on: bool) -> None:
        if on:
            raise ProbeUnavailable("the daemon does not read back")

    @property
    def reads_back(self) -> bool:
        return False

    def begin(self, count: int, after_ns: Sequence[int], *, first: bool, copies: bool) -> Began:
        """Choose, clear and arm blocks."""
        times = (*after_ns, *(0,) * (LOOKS - 1 - len(after_ns)))
        marks = int(first) | int(copies) << 1
        values = self._connection.request(Op.BEGIN, count, len(after_ns), *times, marks)
        armed, listed, doubtful, refused, tables, clear_ns = values
        self.control.n_copied = tables
        if tables:
            self._take_tables(tables)
        return Began(
            armed,
            listed,
            self._doubtful[:doubtful].copy(),
            self._refused[:refused].copy(),
            tables,
            clear_ns,
        )

    def settle(self, count: int, changed: Sequence[int]) -> None:
        """End an epoch; this process has *changed* some blocks since it began."""
        self._refused[: len(changed)] = changed
        self._connection.request(Op.SETTLE, count, min(len(changed), ARMED_BLOCKS))
