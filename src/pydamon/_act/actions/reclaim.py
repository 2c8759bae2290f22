"""`pageout`, `cold`, `lru_prio`, `lru_deprio`, `willneed`: what reclaim takes, and when."""

from __future__ import annotations

import ctypes
import time
from typing import ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pydamon._act.actions.base import Action, advice_refusal, advise, mapped_here_only
from pydamon._act.actions.huge import HUGE_BYTES
from pydamon._act.memory import Refusal, TargetMemory, holds_swap, refusal_of
from pydamon._model.ranges import intersect, size_of, subtract, union
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.schemes.scheme import Scheme
from pydamon._observe.linux.madvise import MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED
from pydamon._observe.linux.pages import HUGE, PRESENT, SWAPPED

__all__ = ["Cold", "LruDeprio", "LruPrio", "Pageout", "Willneed"]


class Pageout(Action):
    """Writes pages to swap, or to their file, and frees them.

    Anonymous memory is left alone where there is no swap: the kernel would keep its pages, but
    split huge ones. What counts as done are bytes that were resident before and are not after.
    """

    name = "pageout"
    takes: ClassVar[bool] = True
    grain_bytes: ClassVar[int] = HUGE_BYTES

    def __init__(self, scheme: Scheme) -> None:
        super().__init__(scheme)
        self._looked = WeakKeyDictionary[TargetMemory, tuple[float, bool]]()

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_PAGEOUT)

    def _holds_swap(self, memory: TargetMemory) -> bool:
        """Whether there is swap; looked up once a second."""
        now = time.monotonic()
        if memory not in self._looked or now - self._looked[memory][0] > 1:
            self._looked[memory] = (now, holds_swap(memory.process.pid))
        return self._looked[memory][1]

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.pages.runs(ranges)
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
        return size_of(ranges) - memory.pages.runs(ranges).bytes_with(PRESENT)


class Cold(Action):
    """Moves resident pages to where the kernel looks first when it needs memory.

    It takes nothing by itself. What counts as done are resident bytes that the kernel took the
    advice for; it passes over pages that other processes map too.
    """

    name = "cold"
    grain_bytes: ClassVar[int] = HUGE_BYTES

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_COLD)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.pages.runs(ranges)
        return runs.ranges((runs.flags & PRESENT) != 0)

    def foreseen(self, memory: TargetMemory, ranges: Ranges) -> int:
        return mapped_here_only(memory, ranges)

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        return advise(memory, ranges, MADV_COLD)


class LruDeprio(Cold):
    """The same, by the name that the kernel's DAMON has for it in physical memory."""

    name = "lru_deprio"


class Willneed(Action):
    """Starts to read what is swapped or in files into memory.

    The kernel reads into its caches, behind the process's back, so that nothing in the process
    shows it yet: what counts as done are bytes, not resident before, that the kernel took the
    advice for.
    """

    name = "willneed"
    hot_first: ClassVar[bool] = True
    of_resident: ClassVar[bool] = False

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_WILLNEED)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.pages.runs(ranges)
        absent = subtract(ranges, runs.ranges((runs.flags & PRESENT) != 0))
        # Elsewhere nothing was ever written: there is nothing to read.
        swapped = runs.ranges((runs.flags & (PRESENT | SWAPPED)) == SWAPPED)
        return intersect(absent, union(np.concatenate([memory.in_files, swapped])))

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        return advise(memory, ranges, MADV_WILLNEED)


_MOST = 1024
_readv = ctypes.CDLL(None, use_errno=True).process_vm_readv
_readv.restype = ctypes.c_ssize_t
_readv.argtypes = [
    ctypes.c_int,
    *(ctypes.c_void_p, ctypes.c_ulong),
    *(ctypes.c_void_p, ctypes.c_ulong),
    ctypes.c_ulong,
]


class LruPrio(Action):
    """Marks resident pages as used, twice, by reading a byte of each (process_vm_readv).

    There is no call for it; this is how the kernel learns of use that no page table shows. What
    counts as done are bytes of the pages that could be read.
    """

    name = "lru_prio"
    hot_first: ClassVar[bool] = True

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.pages.runs(ranges)
        return runs.ranges((runs.flags & PRESENT) != 0)

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        # The kernel asks for the right first: who has it is told that nothing is at address 0.
        done = _read(memory.process.pid, np.zeros(1, np.uint64))
        return refusal_of(max(0, -done), "process_vm_readv")

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        runs = memory.pages.runs(ranges)
        pages = []
        for start, end, flags in zip(runs.start, runs.end, runs.flags, strict=True):
            step = HUGE_BYTES if flags & HUGE else PAGE_SIZE
            pages.append(np.arange(start, end, step, dtype=np.uint64))
        addresses = np.concatenate([np.empty(0, np.uint64), *pages])
        reached = 0
        for at in range(0, len(addresses), _MOST):
            part = addresses[at : at + _MOST]
            _read(memory.process.pid, part)
            reached += max(0, _read(memory.process.pid, part))
        return size_of(ranges) * reached // max(1, len(addresses))


def _read(pid: int, addresses: NDArray[np.uint64]) -> int:
    """Read a byte at each address: how many could be read, or minus the errno."""
    count = len(addresses)
    there = np.stack([addresses, np.ones(count, np.uint64)], axis=1)
    here = ctypes.create_string_buffer(count)
    local = np.array([[ctypes.addressof(here), count]], np.uint64)
    done = _readv(pid, local.ctypes.data, 1, there.ctypes.data, count, 0)
    return int(done) if done >= 0 else -ctypes.get_errno()
