"""Which frames the pages of forked processes are in, as their page tables say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.runs import expand
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.arch import HUGE_BYTES, PAGE_SHIFT, TABLE_BYTES, TABLE_ENTRIES
from pydamon._observe.linux.page_tables import PAGE_TABLES
from pydamon._observe.probes.ebpf.btf import GONE
from pydamon._observe.probes.ebpf.machine import Machine

__all__ = ["frames_in_tables"]

_HUGE_PAGES = HUGE_BYTES // PAGE_SIZE


def frames_in_tables(machine: Machine, stretches: Stretches) -> NDArray[np.uint32]:
    """The low bits of the frame of each page (flat) that another process may map, too; else 0.

    A page that its process may write without a fault is its own, in private mappings.
    """
    first = stretches.start // TABLE_BYTES
    counts = -(-stretches.end // TABLE_BYTES) - first
    stretch, place = expand(counts)
    targets, addresses = stretches.target[stretch], (first[stretch] + place) * TABLE_BYTES
    frames = np.empty((len(addresses), TABLE_ENTRIES), np.uint32)
    for at, tables, parents in machine.copies(targets, addresses, PAGE_SHIFT):
        rows = slice(at, at + len(parents))
        frames[rows] = _frames(tables)
        _fill_huge(frames[rows], addresses[rows], parents)
    pages = frames.reshape(-1)
    if (counts * TABLE_ENTRIES == stretches.pages).all():
        return pages  # as it is where stretches are whole tables
    heads = (np.cumsum(counts) - counts) * TABLE_ENTRIES
    heads += stretches.start // PAGE_SIZE - first * TABLE_ENTRIES
    rows_of = zip(heads.tolist(), stretches.pages.tolist(), strict=True)
    parts = [pages[head : head + count] for head, count in rows_of]
    return np.concatenate([np.zeros(0, np.uint32), *parts])


def _frames(entries: NDArray[np.uint64]) -> NDArray[np.uint32]:
    words = entries.view(np.uint32).reshape(*entries.shape, 2)
    frames = words[..., 0] >> np.uint32(PAGE_SHIFT)
    frames |= words[..., 1] << np.uint32(32 - PAGE_SHIFT)
    shared = PAGE_TABLES.may_be_shared(entries)
    if PAGE_TABLES.is_inverted:
        absent = shared & ~PAGE_TABLES.is_present(entries)
        if absent.any():
            frames[absent] = ~frames[absent]
    frames *= shared
    return frames


def _fill_huge(
    frames: NDArray[np.uint32],
    addresses: NDArray[np.int64],
    parents: NDArray[np.uint64],
) -> None:
    """Set the frames of rows that are no tables: in huge pages, or nowhere."""
    gone = parents == GONE
    huge = PAGE_TABLES.is_leaf(parents) & ~gone
    frames[(parents == 0) | gone] = 0
    if huge.any():
        heads = _frames(parents[huge])
        place = addresses[huge] % HUGE_BYTES // PAGE_SIZE
        within = (place[:, None] + np.arange(TABLE_ENTRIES)).astype(np.uint32)
        # A huge page begins at a multiple of its size.
        heads = heads // np.uint32(_HUGE_PAGES) * np.uint32(_HUGE_PAGES)
        frames[huge] = np.where(heads[:, None] != 0, heads[:, None] + within, np.uint32(0))
