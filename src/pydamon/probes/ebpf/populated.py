"""Where a process has memory at all: the upper levels of its page tables.

Most of what a program maps may never have been touched: reserved heaps, shadow memory, stacks of
threads. Nothing there can be accessed without a page table appearing first, and the tables of the
upper levels say in microseconds where there are any, whatever the size of the address space.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pydamon.core.ranges import joined
from pydamon.core.regions import Ranges
from pydamon.probes.ebpf.layout import GONE
from pydamon.probes.ebpf.machine import Machine

__all__ = ["populated"]

_BLOCK_SHIFT = 21
_PRESENT, _LEAF_BIT = np.uint64(1), np.uint64(1 << 7)
_USER_ENTRIES = 256
"""Of the highest level: the other half is the kernel's."""


def populated(machine: Machine, count: int) -> list[Ranges]:
    """Where each of the first *count* targets has page tables or huge pages: whole 2 MiB."""
    if not count:
        return []
    targets = np.arange(count)
    addresses = np.zeros(count, np.int64)
    sizes = np.zeros(count, np.int64)
    shift = machine.top_shift
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    while len(addresses):
        targets, addresses, is_whole = _entries(machine, targets, addresses, shift)
        is_whole |= shift == _BLOCK_SHIFT
        sizes = np.full(int(is_whole.sum()), 1 << shift, np.int64)
        found.append((targets[is_whole], addresses[is_whole], sizes))
        targets, addresses = targets[~is_whole], addresses[~is_whole]
        shift -= 9
    target, start, size = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((start, target))
    target, bounds = target[order], np.stack([start, start + size], axis=1)[order]
    parts = np.searchsorted(target, np.arange(count + 1))
    return [joined(bounds[low:high]) for low, high in pairwise(parts)]


def _entries(
    machine: Machine, targets: NDArray[np.int64], addresses: NDArray[np.int64], shift: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The entries in use of some tables: target and address of each, and which are huge pages."""
    parts = []
    used_entries = _USER_ENTRIES if shift == machine.top_shift else 512
    for at, tables, parents in machine.copies(targets, addresses, shift):
        there = (parents != 0) & (parents != GONE)
        entries = np.where(there[:, None], tables, np.uint64(0))[:, :used_entries]
        table, index = np.nonzero(entries)
        entry = entries[table, index]
        # What is not present, but not empty either, is a huge page that is being moved.
        is_whole = ((entry & _LEAF_BIT) != 0) | ((entry & _PRESENT) == 0)
        parts.append((targets[at + table], addresses[at + table] + (index << shift), is_whole))
    joint = (np.concatenate(column) for column in zip(*parts, strict=True))
    target, address, is_whole = joint
    return target, address, is_whole
