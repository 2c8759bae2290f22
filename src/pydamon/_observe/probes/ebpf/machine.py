"""The BPF programs as loaded on this machine, and the facts about it that they need."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError, ProbeUnavailable
from pydamon._observe.linux.arch import (
    PAGE_SHIFT,
    PAGE_SIZE,
    PAGE_TABLES,
    TABLE_ENTRIES,
    likely_levels,
    physical_mask,
    refuse_unless_x86_64,
)
from pydamon._observe.linux.madvise import clear_ranges
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.ebpf.btf import (
    ENTRY,
    FRAMES,
    PLACE,
    RANGE,
    TABLES,
    TARGET,
    Btf,
    Control,
    offset_of,
)
from pydamon._observe.probes.ebpf.loader import BpfMap, BpfObject, Program
from pydamon._observe.probes.ebpf.structpage import StructPage, find_struct_page

__all__ = ["LOOPING_OBJECT", "Machine"]

_PLACE = Path(__file__).parent
LOOPING_OBJECT = _PLACE / "sampler.bpf.o"
"""The programs, with loops that the kernel runs, of any length (Linux 5.17)."""
_BOUNDED_OBJECT = _PLACE / "sampler_bounded.bpf.o"
"""The same for older kernels, whose verifier follows every turn of every loop."""
_BOUND = 128
"""MAX_BATCH: the turns of its loops."""


class Machine:
    """The programs and maps, for at most so many regions and targets.

    Raises `ProbeUnavailable` if they cannot be loaded, and says why.
    """

    _struct_page: ClassVar[StructPage | None] = None
    """Where the kernel's structures of pages are, once that is known."""

    def __init__(self, max_entries: int, max_targets: int) -> None:
        refuse_unless_x86_64("page tables are")
        kernel = _kernel()
        sizes = {"entries": max_entries, "blocks": max_entries, "targets": max_targets + 1}
        self._object, self.batch = _loaded(sizes, {"bpf_iter_task": kernel.iter_task})
        """`batch`: how many regions one run of a program goes through."""
        maps, programs = self._object.maps, self._object.programs
        self.control = Control.from_buffer(maps["controls"].memory)
        self._own_target = max_targets
        self._every_target = maps["targets"].array(TARGET)
        self.targets = self._every_target[:max_targets]
        self.entries = maps["entries"].array(ENTRY)
        first = offset_of("hits") // 4
        self.counters = self.entries.view("u4").reshape(max_entries, -1)[:, first : first + 3]
        """hits, checks and unobservable of each entry"""
        first = offset_of("hit") // 8
        self.spans = self.entries.view("u8").reshape(max_entries, -1)[:, first : first + 4]
        """lowest and highest address of each entry's samples with a hit, and without"""
        self.ranges = maps["ranges"].array(RANGE)
        self.ranges_address = maps["ranges"].address
        self.pending = maps["pending"].array(np.dtype("u4"))
        self.tables: NDArray[Any] = np.frombuffer(maps["tables"].memory, "u8").reshape(
            -1, TABLE_ENTRIES
        )
        self.places = maps["places"].array(PLACE)
        self.parents = maps["parents"].array(np.dtype("u8"))
        self._frames = maps["frames"].array(np.dtype("u8"))
        self.tick, self.verify = programs["tick"], programs["verify"]
        self.scan, self._peek = programs["scan"], programs["peek"]
        self._find_task, self._find_young = programs["find_task"], programs["find_young"]
        self._peek_kernel = programs["peek_kernel"]
        self.control.task_mm = kernel.task_mm
        self.control.task_tgid = kernel.task_tgid
        self.control.mm_pgd = kernel.mm_pgd
        self.control.max_ranges = len(self.ranges)
        try:
            self._find_direct_map()
        except BaseException:
            self.close()
            raise

    @property
    def maps(self) -> dict[str, BpfMap]:
        """The maps by name."""
        return self._object.maps

    @property
    def programs(self) -> dict[str, Program]:
        """The programs by name: those that this kernel, and this user's rights, allow."""
        return self._object.programs

    def close(self) -> None:
        """Unload the programs; the memory of the maps is released with the last view of it."""
        if vars(self):
            self._object.close()
            vars(self).clear()

    def find_address_space(self, index: int, process: Process) -> bool:
        """Let target *index* be the process's current memory; False if it has none."""
        self._every_target[index] = 0
        self.control.target = index
        self.control.tgid = 0
        if not self._find_task.iterate(process.pidfd):
            # The iterator went over every task, and the program took the first: ask again.
            self._every_target[index] = 0
            self.control.tgid = process.pid
            self._find_task.iterate(process.pidfd)
        return bool(self._every_target[index]["pgd"])

    def clear_ranges(self, process: Process, ranges: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Clear (address, bytes) rows of a process; the index of the rows that were refused."""
        return clear_ranges(process, ranges)

    def copies(
        self, targets: NDArray[Any], addresses: NDArray[np.int64], shift: int
    ) -> Iterator[tuple[int, NDArray[np.uint64], NDArray[np.uint64]]]:
        """Copy the page table of one level that maps each address of a target.

        The entries of that level map `1 << shift` bytes each. Yields batches, as views that hold
        until the next one: the index of its first argument, the tables (shape (n, 512)), and the
        entries that lead to them. Such an entry is 0 if there is no table, `GONE` if the target is
        gone, and has the leaf bit if a huge page takes the table's place.
        """
        self.control.shift = shift
        for at in range(0, len(addresses), TABLES):
            count = min(TABLES, len(addresses) - at)
            self.places["addr"][:count] = addresses[at : at + count]
            self.places["target"][:count] = targets[at : at + count]
            self.control.count = count
            self.scan.run()
            yield at, self.tables[:count], self.parents[:count]

    def read_back(self, on: bool) -> None:
        """Let the programs count pages as accessed that another monitor found so, and cleared.

        Raises `ProbeUnavailable` if the kernel does not tell which these are.
        """
        if not on:
            self.control.young = 0
            return
        if self._struct_page is None:
            Machine._struct_page = self._find_struct_page()
        control, layout = self.control, Machine._struct_page
        assert layout is not None
        control.vmemmap, control.page_bytes = layout.vmemmap, layout.size
        control.page_flags, control.page_head = layout.flags, layout.head
        control.young = layout.young

    @property
    def reads_back(self) -> bool:
        """Whether `read_back` is on."""
        return bool(self.control.young)

    def young(self, entries: NDArray[np.uint64], shift: int = PAGE_SHIFT) -> NDArray[np.bool_]:
        """Whether another monitor found the pages accessed that some entries map.

        The entries map `1 << shift` bytes each.
        """
        physical = self._physical(entries, shift)
        young = np.zeros(len(entries), np.bool_)
        for at in range(0, len(entries), FRAMES):
            count = min(FRAMES, len(entries) - at)
            self._frames[:count] = physical[at : at + count]
            self.control.count = count
            self._find_young.run()
            young[at : at + count] = self._frames[:count]
        return young

    def _physical(self, entries: NDArray[np.uint64], shift: int) -> NDArray[np.uint64]:
        """The physical addresses in entries that map `1 << shift` bytes each."""
        return PAGE_TABLES.physical(entries, self.control.phys_mask >> shift << shift)

    @property
    def top_shift(self) -> int:
        """The logarithm of the bytes that an entry of the highest page tables maps."""
        return PAGE_TABLES.top_shift(self.control.levels)

    def _find_direct_map(self) -> None:
        """Find where the kernel maps physical memory: a page of ours must show there."""
        page = mmap.mmap(-1, mmap.PAGESIZE)
        page[:16] = os.urandom(16)
        address = np.frombuffer(page, np.uint8).ctypes.data
        expected = np.frombuffer(page[:16], np.uint64)
        me = Process(os.getpid())
        try:
            if not self.find_address_space(self._own_target, me):
                raise ProbeUnavailable("the task iterator does not find this process")
        finally:
            me.close()
        control = self.control
        control.target, control.addr = self._own_target, address
        control.phys_mask = physical_mask()
        pgd = int(self._every_target[self._own_target]["pgd"])
        for levels in likely_levels():
            control.levels = levels
            for base in PAGE_TABLES.direct_map_candidates(levels, pgd):
                control.direct_map = base
                if self._peek.run() == 0 and list(control.peeked) == expected.tolist():
                    return
        raise ProbeUnavailable("cannot find where this kernel maps physical memory")

    def _find_struct_page(self) -> StructPage:
        def read(address: int) -> int:
            self.control.addr = address
            if self._peek_kernel.run():
                raise ProbeUnavailable("cannot follow the kernel's structures to struct page")
            return int(self.control.peeked[0])

        def physical_of(address: int) -> int:
            targets, addresses = np.array([self._own_target]), np.array([address])
            _, tables, _ = next(self.copies(targets, addresses, PAGE_SHIFT))
            entry = tables[:, address // PAGE_SIZE % TABLE_ENTRIES]
            return int(self._physical(entry, PAGE_SHIFT)[0])

        task = int(self._every_target[self._own_target]["task"])
        try:
            return find_struct_page(read, task, physical_of)
        except (OSError, ProbeError) as error:
            raise ProbeUnavailable(str(error)) from error


class _Kernel(NamedTuple):
    """Facts from the kernel's BTF: the id of a type, and offsets of members."""

    iter_task: int
    task_mm: int
    task_tgid: int
    mm_pgd: int


@cache
def _kernel() -> _Kernel:
    """Read them once: it takes 0.2 s, and the programs are loaded again for many targets."""
    btf = Btf()
    return _Kernel(
        btf.type_id("bpf_iter_task"),
        btf.offset_of("task_struct", "mm"),
        btf.offset_of("task_struct", "tgid"),
        btf.offset_of("mm_struct", "pgd"),
    )


def _loaded(sizes: dict[str, int], type_ids: dict[str, int]) -> tuple[BpfObject, int]:
    """The programs, and how many turns their loops may take."""
    try:
        return BpfObject(LOOPING_OBJECT, sizes, type_ids), sizes["entries"]
    except ProbeUnavailable:
        return BpfObject(_BOUNDED_OBJECT, sizes, type_ids), _BOUND
