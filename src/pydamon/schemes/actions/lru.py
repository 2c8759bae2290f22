"""`lru_prio`: have the kernel take memory last."""

from __future__ import annotations

import ctypes
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pydamon.core.ranges import size_of
from pydamon.core.regions import PAGE_SIZE, Ranges
from pydamon.probes.pagestate import HUGE, PRESENT
from pydamon.schemes.actions.base import Action
from pydamon.schemes.actions.huge import HUGE_BYTES
from pydamon.schemes.memory import TargetMemory
from pydamon.schemes.refusal import Refusal, refusal_of

__all__ = ["LruPrio"]

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
