"""Which processes have one address space between them: kcmp(2).

clone(2) with CLONE_VM but without CLONE_THREAD, and vfork(2) until exec, make two pids of one
memory. It must be watched once.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Sequence
from functools import cmp_to_key
from itertools import pairwise

from pydamon.probes.process import Process

__all__ = ["can_compare", "shared_memory"]

_NUMBERS = {"x86_64": 312, "aarch64": 272, "riscv64": 272, "ppc64le": 354, "s390x": 343}
_VM = 1
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def can_compare() -> bool:
    """Whether this kernel compares address spaces (CONFIG_KCMP), and lets us ask."""
    return _compare(os.getpid(), os.getpid()) == 0


def shared_memory(processes: Sequence[Process]) -> dict[Process, Process]:
    """Each process that has the address space of an earlier one, and that one.

    The kernel orders address spaces, so that sorting brings equal ones together: n log n calls of
    about 1 us. Of processes that have just exited, or that may not be compared, nothing is said.
    """

    def order(a: int, b: int) -> int:
        # 0 equal, 1 less, 2 greater; where nothing can be said any order will do.
        found = _compare(processes[a].tid, processes[b].tid)
        return {0: a - b, 1: -1, 2: 1}.get(found, a - b)

    ordered = sorted(range(len(processes)), key=cmp_to_key(order))
    first: dict[Process, Process] = {}
    for before, after in pairwise(ordered):
        owner, twin = processes[before], processes[after]
        if _compare(owner.tid, twin.tid) == 0:
            first[twin] = first.get(owner, owner)
    return first


def _compare(a: int, b: int) -> int:
    number = _NUMBERS.get(platform.machine())
    return -1 if number is None else int(_syscall(number, a, b, _VM, 0, 0))
