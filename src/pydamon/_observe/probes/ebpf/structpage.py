"""Find the kernel's array of `struct page`, called vmemmap, which has the flags of each page.

A monitor in the kernel that clears the accessed bit of a page sets the flag PG_young of the page,
so that reclaim does not take the page for idle: the kernel's DAMON does, and the page-idle bitmap.
So the accesses that they took can be read back.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from pydamon._model.errors import ProbeUnavailable
from pydamon._model.ranges import PAGE_SIZE
from pydamon._observe.probes.ebpf.btf import Btf

__all__ = ["StructPage", "find_struct_page"]

_TRIALS = 4
"""How many other pages of ours must have the expected structure."""
_ANONYMOUS = 1
"""The lowest bit of a page's `mapping`, for a process's own memory."""
_EXPECTED = ("PG_uptodate", "PG_swapbacked")
"""Flags of every page of anonymous memory that was written to."""

_vmsplice = ctypes.CDLL(None, use_errno=True).vmsplice
_vmsplice.restype = ctypes.c_ssize_t
_vmsplice.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint]

ReadWord = Callable[[int], int]
"""Reads 8 bytes at a kernel address; raises `ProbeUnavailable` if it cannot."""


class StructPage(NamedTuple):
    """The address of the first page's structure, and offsets in it."""

    vmemmap: int
    size: int
    flags: int
    head: int
    mapcount: int
    """0 where the kernel has none for each page."""
    young: int
    """The flag itself, not its number."""


def find_struct_page(read: ReadWord, task: int, physical_of: Callable[[int], int]) -> StructPage:
    """Find the array, by giving a page of ours to a pipe, which has the address of its structure.

    The start of the array follows from that address and the page's number. As a check, the
    structures of other pages of ours must have the expected values then.

    *task* is the kernel address of one of our threads, and *physical_of* gives the physical address
    of a page of ours. Raises `ProbeUnavailable` if the array cannot be found.
    """
    btf = Btf()
    size = btf.size_of("page")
    flags = btf.offset_of("page", "flags")
    young = 1 << btf.value_of("pageflags", "PG_young")
    expected = sum(1 << btf.value_of("pageflags", name) for name in _EXPECTED)
    owner, index = (btf.offset_of("folio", name) for name in ("mapping", "index"))
    with _pages(1 + _TRIALS) as memory:
        first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        address, *others = range(first, first + len(memory), PAGE_SIZE)
        vmemmap = _structure_of(btf, read, task, address) - physical_of(address) // PAGE_SIZE * size
        for other in others:
            page = vmemmap + physical_of(other) // PAGE_SIZE * size
            is_ours = (
                read(page + flags) & expected == expected
                and read(page + owner) & _ANONYMOUS
                and read(page + index) == other // PAGE_SIZE
            )
            if not is_ours:
                raise ProbeUnavailable("struct page is not where it should be")
    return StructPage(vmemmap, size, flags, _head(btf), _mapcount(btf), young)


def _pages(count: int) -> mmap.mmap:
    """Anonymous memory of small pages, all of them resident."""
    memory = mmap.mmap(-1, count * PAGE_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, len(memory), PAGE_SIZE):
        memory[at] = 1
    return memory


def _structure_of(btf: Btf, read: ReadWord, task: int, address: int) -> int:
    """The kernel address of the structure of the page at an address of ours."""
    reader, writer = os.pipe()
    try:
        iovec = (ctypes.c_size_t * 2)(address, PAGE_SIZE)
        if _vmsplice(writer, iovec, 1, 0) != PAGE_SIZE:
            code = ctypes.get_errno()
            raise ProbeUnavailable(f"cannot give a page to a pipe: {os.strerror(code)}")
        at = read(task + btf.offset_of("task_struct", "files"))
        at = read(at + btf.offset_of("files_struct", "fdt"))
        at = read(at + btf.offset_of("fdtable", "fd"))
        at = read(at + 8 * reader)
        at = read(at + btf.offset_of("file", "private_data"))
        at = read(at + btf.offset_of("pipe_inode_info", "bufs"))
        return read(at + btf.offset_of("pipe_buffer", "page"))
    finally:
        os.close(reader)
        os.close(writer)


def _head(btf: Btf) -> int:
    """The offset of the field by which a page refers to the first page of its folio."""
    try:
        return btf.offset_of("page", "compound_head")
    except ProbeUnavailable:
        return btf.offset_of("page", "compound_info")  # its name since 7.x


def _mapcount(btf: Btf) -> int:
    """The offset of the field with how many entries of page tables lead to a page, less one."""
    try:
        return btf.offset_of("page", "_mapcount")
    except ProbeUnavailable:
        return 0
