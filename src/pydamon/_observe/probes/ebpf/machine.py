"""The BPF programs as loaded on this machine, and the facts about it that they need."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError, ProbeUnavailable
from pydamon._observe.linux.arch import MACHINE, PAGE_SHIFT, PAGE_SIZE, TABLE_ENTRIES
from pydamon._observe.linux.madvise import clear_ranges
from pydamon._observe.linux.page_tables import (
    PAGE_TABLES,
    absent_page,
    physical_mask,
    refuse_unless_known,
    top_shift,
)
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
_NAME = f"sampler_aarch64_{PAGE_SIZE >> 10}k" if MACHINE == "aarch64" else "sampler"
LOOPING_OBJECT = _PLACE / f"{_NAME}.bpf.o"
"""The programs, with loops that the kernel runs, of any length (Linux 5.17)."""
_BOUNDED_OBJECT = _PLACE / f"{_NAME}_bounded.bpf.o"
"""The same for older kernels, whose verifier follows every turn of every loop."""
_BOUND = 128
"""MAX_BATCH: the turns of its loops."""
_ABSENT_BITS = (1 << 58, 1 << 11)
"""What arm64 marks entries with that are mapped though not present: before Linux 6.10, and since.

The latter is set in both cases.
"""


class Machine:
    """The programs and maps, for at most so many regions and targets.

    Raises `ProbeUnavailable` if they cannot be loaded, and says why.
    """

    _struct_page: ClassVar[StructPage | None] = None
    """Where the kernel's structures of pages are, once that is known."""

    def __init__(self, max_entries: int, max_targets: int) -> None:
        refuse_unless_known()
        kernel = _kernel()
        sizes = {"entries": max_entries, "blocks": max_entries, "targets": max_targets + 1}
        self._object, self.batch, self.constants = _loaded(sizes, kernel)
        """`batch`: how many regions one run of a program goes through; what was put in them."""
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
        self._frames: NDArray[Any] = np.frombuffer(maps["frames"].memory, "u8")
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
        if self._struct_page is not None:
            self.know_pages()

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
        until the next one: the index of its first argument, the 512 entries around each address
        (shape (n, 512)), and the entries that lead to their tables. Such an entry is 0 if there is
        no table, `GONE` if the target is gone, and a leaf if a huge page takes the table's place.
        """
        self.control.shift = shift
        for at in range(0, len(addresses), TABLES):
            count = min(TABLES, len(addresses) - at)
            self.places["addr"][:count] = addresses[at : at + count]
            self.places["target"][:count] = targets[at : at + count]
            self.control.count = count
            self.scan.run()
            yield at, self.tables[:count], self.parents[:count]

    def low_bits(self, tables: NDArray[Any]) -> NDArray[np.uint16]:
        """The low bits of the entries of tables of the lowest level that `copies` gave."""
        return PAGE_TABLES.low_bits(tables, self.control.absent_mask)

    def read_back(self, on: bool) -> None:
        """Let the programs count pages as accessed that another monitor found so, and cleared.

        Raises `ProbeUnavailable` if the kernel does not tell which these are.
        """
        self.control.young = self.know_pages().young if on else 0

    def know_pages(self) -> StructPage:
        """Let the programs know the kernel's structures of pages: how often each is mapped.

        Raises `ProbeUnavailable` if they cannot be found.
        """
        layout = self._struct_page or self._find_struct_page()
        control, Machine._struct_page = self.control, layout
        control.vmemmap, control.page_bytes = layout.vmemmap, layout.size
        control.page_flags, control.page_head = layout.flags, layout.head
        control.page_mapcount = layout.mapcount
        return layout

    @property
    def reads_back(self) -> bool:
        """Whether `read_back` is on."""
        return bool(self.control.young)

    @property
    def taken_seldom(self) -> bool:
        """Whether another monitor takes so few accesses, as `says_seldom` said last."""
        return bool(self.control.seldom)

    def says_seldom(self, taken_seldom: bool | np.bool_) -> None:
        """Say that another monitor takes so few accesses that sampling need not read them back."""
        self.control.seldom = int(taken_seldom)

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
        control = self.control
        physical = PAGE_TABLES.physical(entries, control.phys_mask, control.high_mask)
        return physical >> np.uint64(shift) << np.uint64(shift)

    @property
    def top_shift(self) -> int:
        """The logarithm of the bytes that an entry of the highest page tables maps."""
        return int(self.control.top_shift)

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
        control.high_mask = PAGE_TABLES.high_mask if PAGE_SHIFT == 16 else 0
        pgd = int(self._every_target[self._own_target]["pgd"])
        for levels, base in PAGE_TABLES.map_candidates(pgd):
            control.top_shift, control.direct_map = top_shift(levels), base
            if self._peek.run() == 0 and list(control.peeked) == expected.tolist():
                self._find_format(address)
                return
        raise ProbeUnavailable("cannot find where this kernel maps physical memory")

    def _find_format(self, address: int) -> None:
        """Find what differs between kernels, and between processors of one kind.

        *address* is that of a page of ours that was written to.
        """
        control, kernel = self.control, _kernel()
        control.addr = int(self._every_target[self._own_target]["mm"]) + kernel.mm_task_size
        if self._peek_kernel.run():
            raise ProbeUnavailable("cannot read how large the memory of this process may be")
        self.user_entries = -(-int(control.peeked[0]) >> control.top_shift)
        """Entries of the highest page tables that map user space."""
        if not PAGE_TABLES.high_mask:
            return
        if not self._own_entry(address) & PAGE_TABLES.high_mask:
            control.high_mask = PAGE_TABLES.high_mask
        with absent_page() as absent:
            marks = self._own_entry(absent)
        control.absent_mask = next((bit for bit in _ABSENT_BITS if marks & bit), _ABSENT_BITS[0])

    def _own_entry(self, address: int) -> int:
        """The entry of the lowest page table for an address of ours."""
        targets, addresses = np.array([self._own_target]), np.array([address])
        _, tables, _ = next(self.copies(targets, addresses, PAGE_SHIFT))
        return int(tables[0, address // PAGE_SIZE % TABLE_ENTRIES])

    def _find_struct_page(self) -> StructPage:
        def read(address: int) -> int:
            self.control.addr = address
            if self._peek_kernel.run():
                raise ProbeUnavailable("cannot follow the kernel's structures to struct page")
            return int(self.control.peeked[0])

        def physical_of(address: int) -> int:
            entry = np.array([self._own_entry(address)], np.uint64)
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
    mm_task_size: int
    reads: dict[str, int]
    """What programs that read memory by plain loads need; empty if the kernel lacks that."""


@cache
def _kernel() -> _Kernel:
    """Read them once: it takes 0.2 s, and the programs are loaded again for many targets."""
    btf = Btf()
    return _Kernel(
        btf.type_id("bpf_iter_task"),
        btf.offset_of("task_struct", "mm"),
        btf.offset_of("task_struct", "tgid"),
        btf.offset_of("mm_struct", "pgd"),
        btf.offset_of("mm_struct", "task_size"),
        _direct_reads(btf),
    )


def _direct_reads(btf: Btf) -> dict[str, int]:
    """The constants of `read_u64` in the programs: Linux 6.2 has the function that it needs."""
    try:
        return {
            "reads_directly": 1,
            "bpf_rdonly_cast": btf.type_id("bpf_rdonly_cast"),
            # Any structure would do whose first member is a number.
            "number_type": btf.structure_id("page"),
        }
    except ProbeUnavailable:
        return {}


def _loaded(sizes: dict[str, int], kernel: _Kernel) -> tuple[BpfObject, int, dict[str, int]]:
    """The programs, how many turns their loops may take, and the constants that were put in."""
    type_ids = {"bpf_iter_task": kernel.iter_task}
    for reads in [kernel.reads, {}] if kernel.reads else [{}]:
        with suppress(ProbeUnavailable):
            loaded = BpfObject(LOOPING_OBJECT, sizes, type_ids, constants=reads)
            return loaded, sizes["entries"], reads
    return BpfObject(_BOUNDED_OBJECT, sizes, type_ids), _BOUND, {}
