"""The page tables of each processor, as probes/ebpf reads them: x86-64 and arm64.

Entries have 8 bytes. To tell which pages are mapped and accessed, their lowest 16 bits suffice.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.linux.arch import LEVEL_BITS, MACHINE, PAGE_SHIFT, PAGE_SIZE

__all__ = [
    "AARCH64",
    "PAGE_TABLES",
    "X86_64",
    "PageTables",
    "absent_page",
    "are_known",
    "physical_mask",
    "refuse_unless_known",
    "top_shift",
]

Entries: TypeAlias = NDArray[np.uint64]

_CPUINFO = Path("/proc/cpuinfo")
_GIB = 1 << 30
_PAGES_KIB = {"x86_64": (4,), "aarch64": (4, 16, 64)}


class PageTables(NamedTuple):
    """The format of the entries of page tables, and where the kernel maps physical memory.

    Each field up to `special` is a mask of bits of an entry.
    """

    present: int
    """The entry leads to a page or a table."""
    mapped: int
    """Any of these: as `present`, or the next access faults (which x86_64.bpf.h explains)."""
    accessed: int
    """The page was accessed."""
    writable: int
    """The process may write without a fault: in a private mapping, nobody else has the page."""
    leaf: int
    """Above the lowest level: the entry maps a huge page..."""
    table: int
    """...or it leads to a table. A processor has one bit of these two."""
    special: int
    """The kernel keeps no account of the page: the zero page, devices."""
    contiguous: int
    """The page and its neighbours share one entry of the TLB: what one has, all may have."""
    contiguous_pages: int
    """How many these are; they are aligned."""
    is_inverted: bool
    """Whether the physical address is inverted where `present` is off, against L1TF."""
    high_mask: int
    """Where the highest bits of a physical address may be, besides those in their place..."""
    high_shift: int
    """...and by how much to shift them."""
    levels: tuple[int, ...]
    """How many levels tables may have."""
    lowest_map: dict[int, int]
    """Where the map of all physical memory begins without randomisation, by levels of tables."""
    map_step: int
    """Otherwise it begins at a multiple of this below any table."""
    map_steps: int
    """So many steps below at most."""

    def is_mapped(self, entries: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether entries of the lowest level map a page."""
        mapped: NDArray[np.bool_] = (entries & self.mapped) != 0
        return mapped

    def is_accessed(self, entries: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether entries map a page that was accessed."""
        accessed: NDArray[np.bool_] = (entries & self.accessed) != 0
        return accessed & self.is_mapped(entries)

    def may_be_shared(self, entries: Entries) -> NDArray[np.bool_]:
        """Whether entries of a private mapping map a page that another process may map, too."""
        shared: NDArray[np.bool_] = (entries & np.uint64(self.writable)) == 0
        return shared & self.is_mapped(entries)

    def may_lack_accessed(self, entries: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether another monitor may have cleared the accessed bit of entries."""
        clear: NDArray[np.bool_] = (entries & (self.accessed | self.special)) == 0
        return clear & self.is_mapped(entries)

    def is_leaf(self, entries: Entries) -> NDArray[np.bool_]:
        """Whether entries above the lowest level map a huge page."""
        bits = np.uint64(self.leaf or self.table)
        is_set: NDArray[np.bool_] = (entries & bits) != 0
        return is_set if self.leaf else ~is_set & (entries != 0)

    def is_present(self, entries: Entries) -> NDArray[np.bool_]:
        """Whether entries lead to a page or a table."""
        present: NDArray[np.bool_] = (entries & np.uint64(self.present)) != 0
        return present

    def low_bits(self, tables: Entries, absent_mask: int = 0) -> NDArray[np.uint16]:
        """The low bits of whole tables, shape (n, 512), as the processor may have set any of them.

        Where pages are contiguous, all of them are accessed if one is. *absent_mask* is what marks
        entries that map a page though they are not present, where that is not among the low bits.
        """
        bits: NDArray[np.uint16] = tables.view(np.uint16)[:, ::4].copy()
        if absent_mask >> 16:
            bits[(tables & np.uint64(absent_mask | self.present)) == 0] = 0
        if self.contiguous:
            shape = (len(tables), -1, self.contiguous_pages)
            contiguous = (tables.reshape(shape)[:, :, 0] & np.uint64(self.contiguous)) != 0
            if contiguous.any():
                groups = bits.reshape(shape)
                any_accessed = np.bitwise_or.reduce(groups, axis=2) & np.uint16(self.accessed)
                groups |= np.where(contiguous, any_accessed, np.uint16(0))[:, :, None]
        return bits

    def physical(self, entries: Entries, mask: int, high_mask: int = 0) -> Entries:
        """The physical addresses in entries, by the masks of their bits."""
        physical: Entries = entries & np.uint64(mask)
        if self.is_inverted:
            physical ^= np.where(self.is_present(entries), np.uint64(0), np.uint64(mask))
        physical |= (entries & np.uint64(high_mask)) << np.uint64(self.high_shift)
        return physical

    def map_candidates(self, pgd: int) -> Iterator[tuple[int, int]]:
        """Numbers of levels, and where the map of physical memory may begin; *pgd* lies in it.

        The most likely come first.
        """
        levels = self.levels
        if self.lowest_map and _has_five_levels():
            levels = tuple(reversed(levels))
        yield from ((number, self.lowest_map[number]) for number in levels if self.lowest_map)
        highest = pgd // self.map_step * self.map_step
        for base in range(
            highest, max(0, highest - self.map_steps * self.map_step), -self.map_step
        ):
            yield from (
                (number, base) for number in levels if base > self.lowest_map.get(number, 0)
            )


X86_64 = PageTables(
    present=1 << 0,
    mapped=1 << 0 | 1 << 8,
    accessed=1 << 5,
    writable=1 << 1,
    leaf=1 << 7,
    table=0,
    special=1 << 9,
    contiguous=0,
    contiguous_pages=1,
    is_inverted=True,
    high_mask=0,
    high_shift=0,
    levels=(4, 5),
    # Linux, Documentation/arch/x86/x86_64/mm.rst.
    lowest_map={4: 0xFFFF_8880_0000_0000, 5: 0xFF11_0000_0000_0000},
    map_step=_GIB,
    map_steps=1 << 15,
)

AARCH64 = PageTables(
    present=1 << 0,
    mapped=1 << 0 | 1 << 11,
    accessed=1 << 10,
    writable=1 << 51,
    leaf=0,
    table=1 << 1,
    special=0,  # it is bit 56: such pages are looked up, and nobody found them accessed
    contiguous=1 << 52,
    contiguous_pages={12: 16, 14: 128, 16: 32}.get(PAGE_SHIFT, 1),
    is_inverted=False,
    # Bits 12 to 15 are 48 to 51 of an address with pages of 64 KiB, otherwise bits 8 and 9 are 50
    # and 51, if there are so many (LPA2): without, they say which CPUs share the page, and are set.
    high_mask=0xF000 if PAGE_SHIFT == 16 else 0x300,
    high_shift=36 if PAGE_SHIFT == 16 else 42,
    levels={12: (4, 5, 3), 14: (4, 3, 2), 16: (3, 2)}.get(PAGE_SHIFT, ()),
    lowest_map={},
    # Randomisation moves it in steps of 1 GiB, or of a huge page of 512 MiB.
    map_step=_GIB // 2 if PAGE_SHIFT == 16 else _GIB,
    map_steps=1 << 18,
)

PAGE_TABLES = AARCH64 if MACHINE == "aarch64" else X86_64
"""The format of this machine, if it is known at all: see `refuse_unless_known`."""


def are_known() -> bool:
    """Whether this machine's page tables can be read."""
    return PAGE_SIZE >> 10 in _PAGES_KIB.get(MACHINE, ())


def refuse_unless_known() -> None:
    """Raise `ProbeUnavailable` where this machine's page tables cannot be read."""
    if not are_known():
        raise ProbeUnavailable(
            f"page tables are not supported on {MACHINE} with pages of {PAGE_SIZE >> 10} KiB, "
            "only on x86-64 and arm64",
            hint="needs an x86-64 or arm64 processor; --probe refs works on every one",
        )


def top_shift(levels: int) -> int:
    """The logarithm of the bytes that an entry of the highest of so many levels maps."""
    return PAGE_SHIFT + LEVEL_BITS * (levels - 1)


def _has_five_levels() -> bool:
    """Whether an x86-64 processor can have page tables of 5 levels."""
    flags = re.search(r"^flags\s*:(.*)$", _CPUINFO.read_text(), re.MULTILINE)
    return bool(flags and "la57" in flags[1].split())


def physical_mask() -> int:
    """The bits of an entry that are a physical address, but for those of `high_mask`.

    On x86-64 the kernel takes the bits that memory encryption uses off the width that it shows.
    On arm64 the bits up to 49, or 47 with pages of 64 KiB, are 0 where there are fewer.
    """
    if MACHINE == "aarch64":
        return (1 << (48 if PAGE_SHIFT == 16 else 50)) - PAGE_SIZE
    pattern = r"^address sizes\s*:\s*(\d+) bits physical"
    width = re.search(pattern, _CPUINFO.read_text(), re.MULTILINE)
    return (1 << (int(width[1]) if width else 46)) - PAGE_SIZE


@contextmanager
def absent_page() -> Iterator[int]:
    """The address of a page of ours that is mapped and was written to, but may not be accessed."""
    page = mmap.mmap(-1, PAGE_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page[0] = 1
    view = ctypes.c_char.from_buffer(page)
    address = ctypes.addressof(view)
    libc = ctypes.CDLL(None)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mprotect(address, PAGE_SIZE, 0)
    try:
        yield address
    finally:
        libc.mprotect(address, PAGE_SIZE, mmap.PROT_READ | mmap.PROT_WRITE)
        del view
        page.close()
