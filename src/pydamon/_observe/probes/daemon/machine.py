"""The programs as loaded by the daemon: what `Machine` is to root."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._daemon.protocol import (
    ARMED_BLOCKS,
    COPY,
    FIRST,
    LOOKS,
    MAX_TABLES,
    READ_BACK,
    SETTLE,
    Op,
    areas,
)
from pydamon._model.errors import ProbeError, ProbeUnavailable
from pydamon._observe.linux.arch import TABLE_ENTRIES
from pydamon._observe.linux.madvise import RANGE_BYTES, clear_ranges
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.daemon.client import Connection, DaemonClock, RefusedByDaemon
from pydamon._observe.probes.ebpf.btf import (
    BLOCK,
    ENTRY,
    PLACE,
    RANGE,
    TARGET,
    Control,
    Pace,
)
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.ebpf.structpage import StructPage

__all__ = ["Began", "DaemonMachine"]


class Began(NamedTuple):
    """The start of an epoch."""

    armed: int
    listed: int
    """Regions whose block was cleared: the first of `pending`."""
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

    def __init__(self, machine: DaemonMachine) -> None:
        self._machine = machine

    def run(self) -> int:
        self._machine.request(Op.LOOK)
        return 0


class _Ending(NamedTuple):
    """The end of an epoch that the daemon hears of with the next request."""

    regions: int
    changed: Sequence[int]
    then: Callable[[], None]
    """What to do once it has ended."""


class DaemonMachine(Machine):
    """A session of the daemon, for at most so many regions and targets.

    Raises `ProbeUnavailable` if there is no daemon, or if it refuses.
    """

    def __init__(self, max_entries: int, max_targets: int, clock: DaemonClock) -> None:
        self._connection = Connection(clock)
        self._ending: _Ending | None = None
        self._marks = 0
        try:
            self._open(max_entries, max_targets)
        except ProbeError as error:
            self.close()
            raise ProbeUnavailable(f"the daemon refuses: {error}") from None

    def _open(self, max_entries: int, max_targets: int) -> None:
        connection = self._connection
        max_entries = min(max_entries, connection.max_regions)
        max_targets = min(max_targets, connection.max_targets)
        fds: list[int] = []
        values = connection.request(Op.OPEN, max_entries, max_targets, received=fds)
        top_shift, self.user_entries, paced, *_ = values
        sizes = BLOCK.itemsize, ctypes.sizeof(Pace)
        self._areas = areas(max_entries, max_targets, *sizes)
        try:
            self._memory = memoryview(mmap.mmap(fds[0], self._areas["all"][1]))
        finally:
            for fd in fds:
                os.close(fd)
        self.batch = max_entries
        self.control = Control(top_shift=top_shift)
        self.is_paced = bool(paced)
        """Whether the looks of an epoch are taken at interrupts."""
        self._targets = np.zeros(max_targets, TARGET)
        self._gone = self._area("gone", np.dtype("u1"))
        self._gone[:] = 1
        self._slots: dict[int, int] = {}
        """The target of each process, by its pidfd."""
        self.entries = np.zeros(max_entries, ENTRY)  # of the daemon only blocks are asked
        self.ranges = self._area("ranges", RANGE)
        # As in the maps, numbers are 8 bytes apart.
        self.pending = self._area("pending", np.dtype("u4"))[::2]
        self._doubtful = self._area("doubtful", np.dtype("u4"))[::2]
        self._refused = self._area("refused", np.dtype("u4"))
        self.places = self._area("places", PLACE)
        self.tables = self._area("marks", np.dtype("u2")).reshape(MAX_TABLES, TABLE_ENTRIES)
        self.parents = self._area("parents", np.dtype("u8"))
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
        look = _LookNow(self)
        return dict.fromkeys(("settle", "choose", "arm", "look_now"), look)

    def close(self) -> None:
        if vars(self):
            self._connection.close()
            vars(self).clear()

    def find_address_space(self, index: int, process: Process) -> bool:
        return self.watch(index, process) is None

    def watch(self, index: int, process: Process) -> OSError | None:
        """Let target *index* be the process's current memory; why not, if that is refused.

        An open pagemap shows the daemon that the kernel lets this user see that memory.
        """
        self._slots[process.pidfd] = index
        try:
            pagemap = process.open("pagemap")
        except OSError as error:
            return error
        try:
            self.request(Op.TARGET, index, fds=(process.pidfd, pagemap))
        except RefusedByDaemon as error:
            number = errno.ESRCH if process.ends else errno.EPERM
            return OSError(number, f"the daemon refuses: {error}")
        finally:
            os.close(pagemap)
        return None

    def clear_ranges(self, process: Process, ranges: NDArray[np.uint64]) -> NDArray[np.intp]:
        return clear_ranges(process, ranges, self._advise)

    def _advise(self, pidfd: int, address: int, count: int, advice: int) -> int:
        del advice  # the daemon gives one only
        rows = (ctypes.c_char * (count * RANGE_BYTES)).from_address(address)
        self.ranges[:count] = np.frombuffer(memoryview(rows), RANGE)
        try:
            done, number = self.request(Op.ADVISE, self._slots[pidfd], count)[:2]
        except RefusedByDaemon:
            return -errno.ESRCH
        return done - 1 if done else -number

    def copies(
        self, targets: NDArray[Any], addresses: NDArray[np.int64], shift: int
    ) -> Iterator[tuple[int, NDArray[np.uint64], NDArray[np.uint64]]]:
        for at in range(0, len(addresses), MAX_TABLES):
            count = min(MAX_TABLES, len(addresses) - at)
            self.places["addr"][:count] = addresses[at : at + count]
            self.places["target"][:count] = targets[at : at + count]
            self.request(Op.SCAN, shift, count, self._marks)
            yield at, self.tables[:count], self.parents[:count]

    def low_bits(self, tables: NDArray[Any]) -> NDArray[np.uint16]:
        return tables  # they have nothing else

    def read_back(self, on: bool) -> None:
        if on and not self._connection.reads_back:
            raise ProbeUnavailable("the daemon cannot follow the kernel's structures")
        self._marks = READ_BACK if on else 0

    @property
    def reads_back(self) -> bool:
        return False  # the daemon has done it

    def know_pages(self) -> StructPage:
        raise ProbeUnavailable("only the daemon knows the kernel's structures")

    def request(self, op: Op, *arguments: int, fds: Sequence[int] = ()) -> tuple[int, ...]:
        """Ask the daemon, once the epoch that ended has ended there, too."""
        self.settle()
        return self._connection.request(op, *arguments, fds=fds)

    def begin(self, count: int, after_ns: Sequence[int], *, first: bool, copies: bool) -> Began:
        """Choose, clear and arm blocks."""
        times = (*after_ns, *(0,) * (LOOKS - 1 - len(after_ns)))
        marks = self._marks | (FIRST if first else 0) | (COPY if copies else 0)
        ending, changed = self._ending, 0
        if ending is not None:
            marks, changed = marks | SETTLE, self._put_changed(ending)
        values = self._connection.request(Op.BEGIN, count, len(after_ns), *times, marks, changed)
        if ending is not None:
            ending.then()
        armed, listed, doubtful, refused, tables, clear_ns = values
        self.control.n_copied = tables
        return Began(
            armed,
            listed,
            self._doubtful[:doubtful].copy(),
            self._refused[:refused].copy(),
            tables,
            clear_ns,
        )

    def end(self, count: int, changed: Sequence[int], then: Callable[[], None]) -> None:
        """End an epoch, of which this process has *changed* some blocks.

        The daemon hears of it with the next request, which usually begins another: that saves one.
        *then* is called after it.
        """
        self._ending = _Ending(count, changed, then)

    def settle(self) -> None:
        """End the epoch now, if that is still to be done."""
        ending = self._ending
        if ending is not None:
            changed = self._put_changed(ending)
            self._connection.request(Op.SETTLE, ending.regions, changed)
            ending.then()

    def _put_changed(self, ending: _Ending) -> int:
        self._ending = None
        changed = ending.changed[:ARMED_BLOCKS]
        self._refused[: len(changed)] = changed
        return len(changed)
