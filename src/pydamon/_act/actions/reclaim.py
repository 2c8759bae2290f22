"""`pageout`, `cold`, `lru_prio`, `lru_deprio`, `willneed`: memory in, out, or next to go."""

from __future__ import annotations

import ctypes
import math
import time
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pydamon._act.actions.base import MemoryAction, advice_refusal, advise, mapped_here_only
from pydamon._act.memory import Refusal, TargetMemory, holds_swap, refusal_of
from pydamon._model.ranges import intersect, size_of, subtract, union
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.runs import expand
from pydamon._model.schemes.scheme import Scheme
from pydamon._observe.linux.arch import HUGE_BYTES
from pydamon._observe.linux.madvise import MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED
from pydamon._observe.linux.pagemap import HUGE, PRESENT, SWAPPED

__all__ = ["Cold", "LruDeprio", "LruPrio", "Pageout", "Willneed"]


class Pageout(MemoryAction):
    """Writes pages to swap, or to their file, and frees them.

    Without swap, anonymous memory is left alone: the kernel would keep its pages, but split huge
    ones. Bytes count as done that were resident before and are not afterwards.
    """

    name = "pageout"
    takes = True
    grain_bytes = HUGE_BYTES

    def __init__(self, scheme: Scheme) -> None:
        super().__init__(scheme)
        self._swap = WeakKeyDictionary[TargetMemory, tuple[float, bool]]()
        """When somebody looked for swap, and whether there was any."""

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_PAGEOUT)

    def _holds_swap(self, memory: TargetMemory) -> bool:
        """Whether there is free swap; looked up once a second."""
        now_s = time.monotonic()
        looked_s, has_swap = self._swap.get(memory, (-math.inf, False))
        if now_s - looked_s > 1:
            has_swap = holds_swap(memory.process.pid)
            self._swap[memory] = (now_s, has_swap)
        return has_swap

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.runs(ranges)
        resident = (runs.flags & PRESENT) != 0
        self.note = ""
        if not self._holds_swap(memory):
            resident &= memory.of_file(runs)
            self.note = "without swap only memory of files is taken"
        return runs.ranges(resident)

    def foreseen(self, memory: TargetMemory, ranges: Ranges) -> int:
        return mapped_here_only(memory, ranges)

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        advise(memory, ranges, MADV_PAGEOUT)
        return size_of(ranges) - memory.runs(ranges).bytes_with(PRESENT)


class Cold(MemoryAction):
    """Moves resident pages to where the kernel looks first when it needs memory.

    It takes nothing by itself. Resident bytes count as done for which the kernel took the advice;
    it passes over pages that other processes map too.
    """

    name = "cold"
    grain_bytes = HUGE_BYTES

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_COLD)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.runs(ranges)
        return runs.ranges((runs.flags & PRESENT) != 0)

    def foreseen(self, memory: TargetMemory, ranges: Ranges) -> int:
        return mapped_here_only(memory, ranges)

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        return advise(memory, ranges, MADV_COLD)


class LruDeprio(Cold):
    """The same: the kernel's DAMON calls it so in physical memory."""

    name = "lru_deprio"


class Willneed(MemoryAction):
    """Starts to read swapped memory, or memory of files, into the kernel's caches.

    The page tables of the process do not show it yet, so bytes count as done that were not resident
    before and for which the kernel took the advice.
    """

    name = "willneed"
    hot_first = True
    of_resident = False

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_WILLNEED)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.runs(ranges)
        absent = subtract(ranges, runs.ranges((runs.flags & PRESENT) != 0))
        # Nothing was ever written elsewhere, so there is nothing to read.
        swapped = runs.ranges((runs.flags & (PRESENT | SWAPPED)) == SWAPPED)
        return intersect(absent, union(np.concatenate([memory.in_files, swapped])))

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        return advise(memory, ranges, MADV_WILLNEED)


_MAX_IOVECS = 1024
_readv = ctypes.CDLL(None, use_errno=True).process_vm_readv
_readv.restype = ctypes.c_ssize_t
_readv.argtypes = [
    ctypes.c_int,
    *(ctypes.c_void_p, ctypes.c_ulong),
    *(ctypes.c_void_p, ctypes.c_ulong),
    ctypes.c_ulong,
]


class LruPrio(MemoryAction):
    """Marks resident pages as used, by reading a byte of each twice (process_vm_readv).

    No system call marks pages; a read is how the kernel learns of a use that no page table shows.
    Bytes of the pages that could be read count as done.
    """

    name = "lru_prio"
    hot_first = True

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.runs(ranges)
        return runs.ranges((runs.flags & PRESENT) != 0)

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        # The kernel checks the right first, and only then that nothing is mapped at address 0.
        done = _read(memory.process.pid, np.zeros(1, np.uint64))
        return refusal_of(max(0, -done), "process_vm_readv")

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        runs = memory.runs(ranges)
        # A byte of a huge page is enough.
        step = np.where(runs.flags & HUGE, HUGE_BYTES, PAGE_SIZE)
        run, place = expand(-(-(runs.end - runs.start) // step))
        addresses = (runs.start[run] + place * step[run]).astype(np.uint64)
        read_pages = 0
        for at in range(0, len(addresses), _MAX_IOVECS):
            chunk = addresses[at : at + _MAX_IOVECS]
            _read(memory.process.pid, chunk)
            read_pages += max(0, _read(memory.process.pid, chunk))
        return size_of(ranges) * read_pages // max(1, len(addresses))


def _read(pid: int, addresses: NDArray[np.uint64]) -> int:
    """Read a byte at each address: the number of bytes read, or minus the errno."""
    count = len(addresses)
    remote = np.stack([addresses, np.ones(count, np.uint64)], axis=1)
    buffer = ctypes.create_string_buffer(count)
    local = np.array([[ctypes.addressof(buffer), count]], np.uint64)
    done = _readv(pid, local.ctypes.data, 1, remote.ctypes.data, count, 0)
    return int(done) if done >= 0 else -ctypes.get_errno()
