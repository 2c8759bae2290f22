"""Find out where targets have page tables: memory was mapped there, and can be accessed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import Ranges, join
from pydamon._model.runs import group_bounds
from pydamon._observe.linux.arch import HUGE_SHIFT, LEVEL_BITS, TABLE_ENTRIES
from pydamon._observe.linux.page_tables import PAGE_TABLES
from pydamon._observe.probes.ebpf.btf import GONE
from pydamon._observe.probes.ebpf.machine import Machine

__all__ = ["populated"]


def populated(machine: Machine, count: int) -> list[Ranges]:
    """Where each of the first *count* targets has page tables or huge pages.

    These are multiples of a huge page: 2 MiB on x86-64.
    """
    if not count:
        return []
    targets, addresses = np.arange(count), np.zeros(count, np.int64)
    shift, entries = machine.top_shift, machine.user_entries
    columns: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    while len(addresses):
        parts = np.arange(-(-entries // TABLE_ENTRIES), dtype=np.int64) * TABLE_ENTRIES << shift
        addresses = (addresses[:, None] + parts).ravel()
        targets = targets.repeat(len(parts))
        targets, addresses, is_whole = _entries(machine, targets, addresses, shift, entries)
        is_whole |= shift == HUGE_SHIFT
        sizes = np.full(int(is_whole.sum()), 1 << shift, np.int64)
        columns.append((targets[is_whole], addresses[is_whole], sizes))
        targets, addresses = targets[~is_whole], addresses[~is_whole]
        shift, entries = shift - LEVEL_BITS, 1 << LEVEL_BITS
    target, start, size = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.lexsort((start, target))
    target, ranges = target[order], np.stack([start, start + size], axis=1)[order]
    return [join(ranges[low:high]) for low, high in pairwise(group_bounds(target, count))]


def _entries(
    machine: Machine,
    targets: NDArray[np.int64],
    addresses: NDArray[np.int64],
    shift: int,
    most: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The entries in use of some tables: target and address of each, and which are huge pages.

    Tables have at most so many entries.
    """
    parts = []
    for at, tables, parents in machine.copies(targets, addresses, shift):
        exists = (parents != 0) & (parents != GONE)
        entries = np.where(exists[:, None], tables, np.uint64(0))[:, :most]
        table, index = np.nonzero(entries)
        entry = entries[table, index]
        # An entry that is neither empty nor present is a huge page that is being moved.
        is_whole = PAGE_TABLES.is_leaf(entry) | ~PAGE_TABLES.is_present(entry)
        parts.append((targets[at + table], addresses[at + table] + (index << shift), is_whole))
    target, address, is_whole = (np.concatenate(column) for column in zip(*parts, strict=True))
    return target, address, is_whole
