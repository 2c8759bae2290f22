"""Everything that depends on the processor: page tables, and the numbers of system calls.

To support another processor, add its numbers and its `PageTables` here, and its section to
`probes/ebpf/sampler.bpf.c`. (Writing into a traced process, `inject.py`, is a matter of its own.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeUnavailable
from pydamon._model.ranges import PAGE_SIZE

__all__ = [
    "HUGE_BYTES",
    "MACHINE",
    "PAGE_SHIFT",
    "PAGE_SIZE",
    "PAGE_TABLES",
    "TABLE_BITS",
    "TABLE_BYTES",
    "TABLE_ENTRIES",
    "TABLE_SHIFT",
    "PageTables",
    "refuse_unless_x86_64",
    "system_call",
]

MACHINE = os.uname().machine
"""The name of this machine's processor, such as `x86_64` or `aarch64`."""

PAGE_SHIFT = 12
"""The logarithm of `PAGE_SIZE`."""
TABLE_BITS = 9
"""The logarithm of `TABLE_ENTRIES`."""
TABLE_ENTRIES = 1 << TABLE_BITS
"""How many entries a page table of any level has."""
TABLE_SHIFT = PAGE_SHIFT + TABLE_BITS
"""The logarithm of the bytes that a table of the lowest level maps, or a huge page instead."""
TABLE_BYTES = 1 << TABLE_SHIFT

_HUGE_PAGE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
_CPUINFO = Path("/proc/cpuinfo")
_GIB = 1 << 30


def _huge_bytes() -> int:
    try:
        return int(_HUGE_PAGE.read_text())
    except (OSError, ValueError):  # a kernel without them
        return PAGE_SIZE // 8 * PAGE_SIZE


HUGE_BYTES = _huge_bytes()
"""The bytes of a transparent huge page: what an entry of the second-lowest page tables maps."""

_SAME_EVERYWHERE = {"pidfd_open": 434, "pidfd_getfd": 438, "process_madvise": 440}
_SYSTEM_CALLS = {
    "x86_64": {
        "close": 3,
        "move_pages": 279,
        "perf_event_open": 298,
        "kcmp": 312,
        "bpf": 321,
        "userfaultfd": 323,
    },
    "aarch64": {"move_pages": 239, "perf_event_open": 241, "kcmp": 272},
    "riscv64": {"kcmp": 272},
    "ppc64le": {"kcmp": 354},
    "s390x": {"kcmp": 343},
}


def system_call(name: str) -> int:
    """The number of a system call; -1, which the kernel answers with ENOSYS, if it is not known."""
    return (_SAME_EVERYWHERE | _SYSTEM_CALLS.get(MACHINE, {})).get(name, -1)


def refuse_unless_x86_64(what: str) -> None:
    """Raise `ProbeUnavailable` on another processor than x86-64, where *what* is not supported."""
    if MACHINE != "x86_64":
        raise ProbeUnavailable(
            f"{what} not supported on {MACHINE}, only on x86-64",
            hint="needs an x86-64 processor; --probe refs works on every one",
        )


class PageTables(NamedTuple):
    """The format of the entries of page tables, and where the kernel maps physical memory.

    Each field up to `special` is a mask of bits of an entry.
    """

    present: int
    """The entry leads to a page or a table."""
    mapped: int
    """Any of these: as `present`, or the next access faults (which sampler.bpf.c explains)."""
    accessed: int
    """The page was accessed."""
    leaf: int
    """Above the lowest level: the entry maps a huge page."""
    special: int
    """The kernel keeps no account of the page: the zero page, devices."""
    user_entries: int
    """Entries of the highest level that map user space, the lower half."""
    direct_map: dict[int, int]
    """Where the map of all physical memory begins without randomisation, by levels of tables."""
    direct_map_step: int
    """Randomisation moves it up in steps of so many bytes..."""
    direct_map_steps: int
    """...by fewer steps than this."""

    def is_mapped(self, entries: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether entries of the lowest level map a page."""
        mapped: NDArray[np.bool_] = (entries & self.mapped) != 0
        return mapped

    def is_accessed(self, entries: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether entries map a page that was accessed."""
        accessed: NDArray[np.bool_] = (entries & self.accessed) != 0
        return accessed & self.is_mapped(entries)

    def may_lack_accessed(self, entries: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether another monitor may have cleared the accessed bit of entries."""
        clear: NDArray[np.bool_] = (entries & (self.accessed | self.special)) == 0
        return clear & self.is_mapped(entries)

    def is_leaf(self, entries: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether entries above the lowest level map a huge page."""
        leaf: NDArray[np.bool_] = (entries & np.uint64(self.leaf)) != 0
        return leaf

    def is_present(self, entries: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether entries lead to a page or a table."""
        present: NDArray[np.bool_] = (entries & np.uint64(self.present)) != 0
        return present

    def physical(self, entries: NDArray[np.uint64], mask: int) -> NDArray[np.uint64]:
        """The physical addresses in entries, by the *mask* of their bits.

        They are inverted where `present` is off, against the attack called L1TF.
        """
        inverted = np.where(self.is_present(entries), np.uint64(0), np.uint64(mask))
        physical: NDArray[np.uint64] = (entries & np.uint64(mask)) ^ inverted
        return physical

    def top_shift(self, levels: int) -> int:
        """The logarithm of the bytes that an entry of the highest of so many levels maps."""
        return PAGE_SHIFT + TABLE_BITS * (levels - 1)

    def direct_map_candidates(self, levels: int, pgd: int) -> Iterator[int]:
        """Where the direct map may begin, most likely first; *pgd* is an address in it."""
        lowest, step = self.direct_map[levels], self.direct_map_step
        highest = pgd // step * step
        yield lowest
        yield from range(highest, max(lowest, highest - self.direct_map_steps * step), -step)


PAGE_TABLES = PageTables(
    present=1 << 0,
    mapped=1 << 0 | 1 << 8,
    accessed=1 << 5,
    leaf=1 << 7,
    special=1 << 9,
    user_entries=TABLE_ENTRIES // 2,
    # Linux, Documentation/arch/x86/x86_64/mm.rst.
    direct_map={4: 0xFFFF_8880_0000_0000, 5: 0xFF11_0000_0000_0000},
    direct_map_step=_GIB,
    direct_map_steps=1 << 15,
)
"""The format of x86-64, the only processor whose page tables are read."""


def likely_levels() -> tuple[int, ...]:
    """How many levels page tables may have here, the most likely number first."""
    flags = re.search(r"^flags\s*:(.*)$", _CPUINFO.read_text(), re.MULTILINE)
    return (5, 4) if flags and "la57" in flags[1].split() else (4, 5)


def physical_mask() -> int:
    """The bits of an entry that are a physical address.

    The kernel takes the bits that memory encryption uses off the width that it shows.
    """
    pattern = r"^address sizes\s*:\s*(\d+) bits physical"
    width = re.search(pattern, _CPUINFO.read_text(), re.MULTILINE)
    return (1 << (int(width[1]) if width else 46)) - PAGE_SIZE
