"""`hugepage`: back memory with huge pages. `nohugepage`: split them again."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pydamon._act.actions.base import Action, advice_refusal, advise, mapped_here_only
from pydamon._act.memory import Refusal, TargetMemory
from pydamon._model.ranges import size_of
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._observe.linux.madvise import MADV_COLD, MADV_COLLAPSE
from pydamon._observe.linux.pages import HUGE, PRESENT, PageRuns
from pydamon._observe.linux.procfs import read, status_of

__all__ = ["HUGE_BYTES", "Collapse", "Hugepage", "Nohugepage"]

HUGE_BYTES = 2 << 20
_WORTH = 0.5
"""A block is collapsed if this share of it is resident: it then takes twice as much at most."""


class Hugepage(Action):
    """Collapses aligned blocks of 2 MiB into huge pages, now (MADV_COLLAPSE, Linux 6.1).

    That does not depend on the machine's setting of transparent huge pages. Blocks of which less
    than half is resident are left alone, because they would cost more memory than they hold.
    """

    name = "hugepage"
    hot_first: ClassVar[bool] = True
    grain_bytes: ClassVar[int] = HUGE_BYTES

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        if _has_switched_off(memory.process.pid):
            return Refusal("it has switched huge pages off for itself (prctl)")
        return advice_refusal(memory, MADV_COLLAPSE)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.pages.runs(ranges)
        blocks = _blocks(ranges)
        present = _bytes_in(runs, PRESENT, blocks)
        huge = _bytes_in(runs, HUGE, blocks)
        mapping = memory.mapping_at(blocks[:, 0])
        whole = (mapping >= 0) & (memory.mapping_at(blocks[:, 1] - 1) == mapping)
        chosen: Ranges = blocks[whole & (huge < HUGE_BYTES) & (present >= _WORTH * HUGE_BYTES)]
        return chosen

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        advise(memory, ranges, MADV_COLLAPSE)
        return memory.pages.runs(ranges).bytes_with(HUGE)


class Collapse(Hugepage):
    """The same: in the kernel `hugepage` waits for khugepaged, and `collapse` does not."""

    name = "collapse"


class Nohugepage(Action):
    """Splits huge pages, so that the kernel can take the idle parts of them.

    No call forbids huge pages in another process; where the setting of the machine is "always",
    the kernel may collapse them again. Splitting frees nothing: a `pageout` scheme does.
    """

    name = "nohugepage"
    grain_bytes: ClassVar[int] = HUGE_BYTES

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_COLD)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        blocks = _blocks(ranges)
        huge = _bytes_in(memory.pages.runs(ranges), HUGE, blocks)
        split: Ranges = blocks[huge == HUGE_BYTES]
        return split

    def foreseen(self, memory: TargetMemory, ranges: Ranges) -> int:
        return mapped_here_only(memory, ranges)

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        # To advise about a part of a huge page, the kernel has to split it.
        start = _blocks(ranges)[:, 0]
        advise(memory, np.stack([start, start + PAGE_SIZE], axis=1), MADV_COLD)
        return size_of(ranges) - memory.pages.runs(ranges).bytes_with(HUGE)


def _has_switched_off(pid: int) -> bool:
    try:
        # Linux 5.0 brought the line.
        return status_of(read(f"/proc/{pid}/status")).get("THP_enabled") == "0"
    except OSError:
        return False


def _blocks(ranges: Ranges) -> Ranges:
    """The aligned blocks of 2 MiB that lie in ranges."""
    starts = [
        np.arange(-(-start // HUGE_BYTES), end // HUGE_BYTES, dtype=np.int64) * HUGE_BYTES
        for start, end in ranges.tolist()
    ]
    start = np.concatenate([np.empty(0, np.int64), *starts])
    return np.stack([start, start + HUGE_BYTES], axis=1)


def _bytes_in(runs: PageRuns, flag: int, blocks: Ranges) -> NDArray[np.int64]:
    """How many bytes of each block have a flag."""
    chosen = runs.ranges((runs.flags & flag) != 0)
    return _below(chosen, blocks[:, 1]) - _below(chosen, blocks[:, 0])


def _below(ranges: Ranges, address: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many bytes of ranges lie below each address."""
    total = np.append(0, np.cumsum(ranges[:, 1] - ranges[:, 0]))
    at = np.searchsorted(ranges[:, 0], address, side="right")
    end = np.append(0, ranges[:, 1])[at]
    return total[at] - np.maximum(end - address, 0)
