"""`migrate_hot`, `migrate_cold`: move pages to other memory nodes, with move_pages(2)."""

from __future__ import annotations

import ctypes
import errno
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._act.actions.base import MemoryAction, mapped_here_only
from pydamon._act.memory import Refusal, TargetMemory, refusal_of
from pydamon._model.errors import SchemeError
from pydamon._model.ranges import join
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.runs import expand
from pydamon._model.schemes.scheme import Scheme
from pydamon._observe.linux.arch import HUGE_BYTES, MACHINE, system_call
from pydamon._observe.linux.pagemap import PRESENT

__all__ = ["MigrateCold", "MigrateHot"]

_NODES = Path("/sys/devices/system/node")
_MPOL_MF_MOVE = 2
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_pointer = ctypes.c_void_p
_syscall.argtypes = [
    *(ctypes.c_long, ctypes.c_int, ctypes.c_ulong),
    *(_pointer, _pointer, _pointer),
    ctypes.c_int,
]


class _Migrate(MemoryAction):
    """Moves pages to the scheme's nodes; pages that are there already are left alone."""

    grain_bytes = HUGE_BYTES

    def __init__(self, scheme: Scheme) -> None:
        super().__init__(scheme)
        if system_call("move_pages") < 0:
            raise SchemeError(f"{self.name}: pydamon cannot move pages on {MACHINE} yet")
        nodes = [(place.node, place.weight) for place in scheme.destinations]
        if scheme.target_node is not None and not nodes:
            nodes = [(scheme.target_node, 1)]
        for node, _ in nodes:
            if not (_NODES / f"node{node}").exists():
                names = sorted(path.name for path in _NODES.glob("node[0-9]*"))
                raise SchemeError(
                    f"{self.name}: there is no memory node {node}",
                    hint=f"this machine has {', '.join(names) or 'one node'}",
                )
        if not any(weight for _, weight in nodes):
            raise SchemeError(f"{self.name}: all destinations have a weight of 0")
        self._nodes = np.array([node for node, _ in nodes], np.int32)
        common = math.gcd(*(weight for _, weight in nodes))
        self._turns = np.cumsum([float(weight // common) for _, weight in nodes])
        """Blocks of 2 MiB take turns: where each node's turn ends in a round."""

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return refusal_of(_call(memory.process.pid, 0, 0, None, 0), "move_pages")

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.runs(ranges)
        address = _pages(runs.ranges((runs.flags & PRESENT) != 0))
        status, _ = _move(memory.process.pid, address, None)
        elsewhere = address[(status >= 0) & (status != self._wanted(address))]
        return join(np.stack([elsewhere, elsewhere + PAGE_SIZE], axis=1))

    def foreseen(self, memory: TargetMemory, ranges: Ranges) -> int:
        return mapped_here_only(memory, ranges)

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        address = _pages(ranges)
        wanted = self._wanted(address)
        _, error = _move(memory.process.pid, address, wanted)
        refusal = refusal_of(error, "move_pages") if error in (errno.EPERM, errno.EACCES) else None
        if refusal is not None:
            raise SchemeError(f"{self.name}: {refusal.why}", hint=refusal.hint)
        status, _ = _move(memory.process.pid, address, None)
        return int((status == wanted).sum()) * PAGE_SIZE

    def _wanted(self, address: NDArray[np.int64]) -> NDArray[np.int32]:
        """The node that each page should be in: by weight, in turns of 2 MiB."""
        turn = (address // HUGE_BYTES) % self._turns[-1]
        wanted: NDArray[np.int32] = self._nodes[np.searchsorted(self._turns, turn, side="right")]
        return wanted


class MigrateHot(_Migrate):
    """Moves the hottest first: promotion."""

    name = "migrate_hot"
    hot_first = True


class MigrateCold(_Migrate):
    """Moves the coldest first: demotion."""

    name = "migrate_cold"


def _pages(ranges: Ranges) -> NDArray[np.int64]:
    """The address of every page in ranges."""
    row, place = expand((ranges[:, 1] - ranges[:, 0]) // PAGE_SIZE)
    pages: NDArray[np.int64] = ranges[row, 0] + place * PAGE_SIZE
    return pages


def _move(
    pid: int, address: NDArray[np.int64], nodes: NDArray[np.int32] | None
) -> tuple[NDArray[np.int32], int]:
    """Move pages, or without *nodes* look where they are.

    The node of each page, or minus an errno; and the errno of the call.
    """
    status = np.full(len(address), -1, np.int32)
    if not len(address):
        return status, 0
    address = np.ascontiguousarray(address)
    wanted = None if nodes is None else np.ascontiguousarray(nodes)
    pointer = None if wanted is None else wanted.ctypes.data
    return status, _call(pid, len(address), address.ctypes.data, pointer, status.ctypes.data)


def _call(pid: int, count: int, address: int, nodes: int | None, status: int) -> int:
    """One bare call: 0, or the errno."""
    done = _syscall(system_call("move_pages"), pid, count, address, nodes, status, _MPOL_MF_MOVE)
    return ctypes.get_errno() if done < 0 else 0
