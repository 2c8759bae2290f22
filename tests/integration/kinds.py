"""A program with memory of several kinds: anonymous and shared, a part of it in use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from pydamon import Snapshot
from tests.integration.conftest import running

__all__ = ["running_kinds", "total"]

_PROGRAM = """
import mmap, time
anon = mmap.mmap(-1, 48 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, 32 << 20, mmap.PAGESIZE): anon[at] = 1
shared = mmap.mmap(-1, 16 << 20)
for at in range(0, 16 << 20, mmap.PAGESIZE): shared[at] = 1
print("ready", flush=True)
while True:
    for at in range(0, 8 << 20, mmap.PAGESIZE): anon[at] = 2
    time.sleep(0.02)
"""


@contextmanager
def running_kinds() -> Iterator[int]:
    """The pid of the program: 32 of 48 MiB anonymous memory, 16 MiB shared, 8 MiB in use."""
    with running(sys.executable, "-c", _PROGRAM) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid


def total(snapshot: Snapshot, kind: str) -> int:
    """The bytes of a kind in all regions of which that is known."""
    assert snapshot.passed is not None
    return int(np.maximum(snapshot.passed.of(kind), 0).sum())
