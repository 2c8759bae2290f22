"""`hugepage`, `collapse`: back memory with huge pages. `nohugepage`: split them again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon._act.actions.base import MemoryAction, advice_refusal, advise, mapped_here_only
from pydamon._act.memory import Refusal, TargetMemory
from pydamon._model.ranges import covered, size_of
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.runs import expand
from pydamon._observe.linux.arch import HUGE_BYTES
from pydamon._observe.linux.madvise import MADV_COLD, MADV_COLLAPSE
from pydamon._observe.linux.pagemap import HUGE, PRESENT, PageRuns
from pydamon._observe.linux.procfs import read, status_of

__all__ = ["Collapse", "Hugepage", "Nohugepage"]

_LEAST_RESIDENT_SHARE = 0.5
"""Blocks with less in memory are not collapsed: they would take more than twice as much."""


class Hugepage(MemoryAction):
    """Collapses aligned blocks into huge pages, at once (MADV_COLLAPSE, Linux 6.1).

    It does not depend on the machine's setting of transparent huge pages. Blocks that are less than
    half resident are left alone, because they would cost more memory than they hold.
    """

    name = "hugepage"
    hot_first = True
    grain_bytes = HUGE_BYTES

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        if _forbids_huge_pages(memory.process.pid):
            return Refusal("it has switched huge pages off for itself (prctl)")
        return advice_refusal(memory, MADV_COLLAPSE)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.runs(ranges)
        blocks = _blocks(ranges)
        present_bytes = _bytes_with(PRESENT, runs, blocks)
        huge_bytes = _bytes_with(HUGE, runs, blocks)
        mapping = memory.mapping_at(blocks[:, 0])
        in_one_mapping = (mapping >= 0) & (memory.mapping_at(blocks[:, 1] - 1) == mapping)
        pays = (huge_bytes < HUGE_BYTES) & (present_bytes >= _LEAST_RESIDENT_SHARE * HUGE_BYTES)
        collapsible: Ranges = blocks[in_one_mapping & pays]
        return collapsible

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        advise(memory, ranges, MADV_COLLAPSE)
        return memory.runs(ranges).bytes_with(HUGE)


class Collapse(Hugepage):
    """The same: in the kernel `hugepage` waits for khugepaged, and `collapse` does not."""

    name = "collapse"


class Nohugepage(MemoryAction):
    """Splits huge pages, so that the kernel can take the idle parts of them.

    No system call forbids huge pages in another process: where the machine's setting is "always",
    the kernel may collapse them again. Splitting frees nothing; a `pageout` scheme does.
    """

    name = "nohugepage"
    grain_bytes = HUGE_BYTES

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_COLD)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        blocks = _blocks(ranges)
        huge_bytes = _bytes_with(HUGE, memory.runs(ranges), blocks)
        huge_blocks: Ranges = blocks[huge_bytes == HUGE_BYTES]
        return huge_blocks

    def foreseen(self, memory: TargetMemory, ranges: Ranges) -> int:
        return mapped_here_only(memory, ranges)

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        # The kernel has to split a huge page for advice about a part of it.
        start = _blocks(ranges)[:, 0]
        advise(memory, np.stack([start, start + PAGE_SIZE], axis=1), MADV_COLD)
        return size_of(ranges) - memory.runs(ranges).bytes_with(HUGE)


def _forbids_huge_pages(pid: int) -> bool:
    try:
        # Linux 5.0 brought the line.
        return status_of(read(f"/proc/{pid}/status")).get("THP_enabled") == "0"
    except OSError:
        return False


def _blocks(ranges: Ranges) -> Ranges:
    """The aligned blocks of 2 MiB that lie in ranges."""
    first, behind = -(-ranges[:, 0] // HUGE_BYTES), ranges[:, 1] // HUGE_BYTES
    row, place = expand(np.maximum(behind - first, 0))
    start = (first[row] + place) * HUGE_BYTES
    return np.stack([start, start + HUGE_BYTES], axis=1)


def _bytes_with(flag: int, runs: PageRuns, blocks: Ranges) -> NDArray[np.int64]:
    """How many bytes of each block have a flag: shape (blocks,)."""
    return covered(runs.ranges((runs.flags & flag) != 0), blocks[:, 0], blocks[:, 1])
