"""What the programs must know of each region: where it lies, when to sample it, what to clear."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import (
    EMPTY,
    PAGE_SIZE,
    Ranges,
    from_order_keys,
    locate,
    order_keys,
    touches,
)
from pydamon._model.regions import RegionTable
from pydamon._observe.probes.base import sampling_schedule
from pydamon._observe.probes.ebpf.btf import IDLE

__all__ = ["EntryFiller"]

_BLIND_SHARE = 0.125
"""Regions in which nothing could be watched last time are still tried, but seldom."""
_SMALL_BLOCK = 16 * PAGE_SIZE
"""Clearing 16 neighbours costs what clearing one page does: the flush of the TLB dominates.
Pages that nobody touches again need no clear when they are sampled next."""
_LARGE_BLOCK = 512 * PAGE_SIZE
"""For cold regions that nobody else clears: one clear then lasts for long. And for files, whose
pages may be part of a large folio, which the kernel would split to advise about a part of it."""
_NOT_AGAIN_BYTES = 4 * _LARGE_BLOCK
"""In larger regions a sample hardly ever meets a block that was cleared before."""


class EntryFiller:
    """Fills in the entries of regions, by what all targets map."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._memory_keys = self._file_keys = EMPTY
        self._blind_keys = EMPTY
        """The regions in which nothing could be watched last time, as ranges of `order_keys`."""

    def set_memory(self, memory: Ranges, files: Ranges) -> None:
        """The memory and the mapped files of all targets, as ranges of `order_keys`."""
        self._memory_keys, self._file_keys = memory, files

    def forget_blind(self) -> None:
        """Try everything again: the targets have changed."""
        self._blind_keys = EMPTY

    def note_blind(self, rows: NDArray[Any]) -> None:
        """Remember the regions in which nothing could be watched: they are tried seldom."""
        bounds = [rows[name].astype(np.int64) for name in ("start", "end")]
        keys = [order_keys(rows["target"], address) for address in bounds]
        self._blind_keys = np.stack(keys, axis=1)

    def fill(
        self,
        rows: NDArray[Any],
        table: RegionTable,
        share: NDArray[np.float64] | float,
        *,
        all_cleared: bool,
    ) -> None:
        """Set what the programs must know of regions that are watched a *share* of the time.

        With *all_cleared*, somebody else clears all memory now and then.
        """
        rows["start"], rows["end"] = table.start, table.end
        rows["target"] = table.target
        rows["state"] = IDLE
        share = np.where(self._in_blind_spot(table), share * _BLIND_SHARE, share)
        rows["period"], rows["phase"] = sampling_schedule(share, self._rng)
        self._set_blocks(rows, table, all_cleared=all_cleared)

    def _in_blind_spot(self, table: RegionTable) -> NDArray[np.bool_]:
        """Whether each region lies where no sample could be watched last time."""
        if not len(self._blind_keys):
            return np.zeros(len(table), np.bool_)
        start, end = table.keys.T
        return locate(self._blind_keys, start, end) >= 0

    def _set_blocks(self, entries: NDArray[Any], table: RegionTable, *, all_cleared: bool) -> None:
        """Set how much to clear around a sample: whole blocks, but only mapped memory."""
        entries["low"] = entries["high"] = 0
        again = (table.last_nr_accesses < 1) & (table.size <= _NOT_AGAIN_BYTES) & (not all_cleared)
        entries["clear_bytes"] = np.where(again, _LARGE_BLOCK, _SMALL_BLOCK)
        start, end = table.keys.T
        memory = locate(self._memory_keys, start)
        inside = memory >= 0
        _, bounds = from_order_keys(self._memory_keys[memory[inside]])
        entries["low"][inside], entries["high"][inside] = bounds.T
        entries["clear_bytes"][touches(self._file_keys, start, end)] = _LARGE_BLOCK
