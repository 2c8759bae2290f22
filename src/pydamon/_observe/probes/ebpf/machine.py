"""The BPF programs loaded on this machine, and what they must know of it."""

from __future__ import annotations

import mmap
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError, ProbeUnavailable
from pydamon._model.regions import PAGE_SIZE
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

__all__ = ["Machine"]

_PLACE = Path(__file__).parent
_LOOPS, _BOUNDED = _PLACE / "sampler.bpf.o", _PLACE / "sampler_bounded.bpf.o"
"""The same programs, but for what only the first has: loops that the kernel runs, of any length
(Linux 5.17). In the second the verifier follows every turn of every loop."""
_BOUND = 128
"""MAX_BATCH: the turns of its loops."""

_GIB = 1 << 30
# Where the direct map begins without randomisation, by levels of page tables (Linux,
# Documentation/arch/x86/x86_64/mm.rst); randomisation moves it up in steps of 1 GiB.
_DIRECT_MAP = {4: 0xFFFF_8880_0000_0000, 5: 0xFF11_0000_0000_0000}
_MAX_STEPS = 1 << 15
_PRESENT = 1


class Machine:
    """The programs and maps, for at most so many regions and targets.

    Raises `ProbeUnavailable` where they cannot be had, and says why.
    """

    _struct_page: ClassVar[StructPage | None] = None
    """Where the kernel keeps its account of pages, once that was asked for."""

    def __init__(self, max_entries: int, max_targets: int) -> None:
        if platform.machine() != "x86_64":
            raise ProbeUnavailable(
                f"page tables of {platform.machine()} are not supported, only those of x86-64"
            )
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
        self.tables: NDArray[Any] = np.frombuffer(maps["tables"].memory, "u8").reshape(-1, 512)
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
        """Unload the programs; the memory of the maps goes with the last view of it."""
        if vars(self):
            self._object.close()
            vars(self).clear()

    def find_address_space(self, index: int, process: Process) -> bool:
        """Make target *index* stand for the process as it is now; False if it has no memory."""
        self._every_target[index] = 0
        self.control.target = index
        self.control.tgid = 0
        if not self._find_task.iterate(process.pidfd):
            # The iterator went over every task, and the program took the first: ask again.
            self._every_target[index] = 0
            self.control.tgid = process.pid
            self._find_task.iterate(process.pidfd)
        return bool(self._every_target[index]["pgd"])

    def copies(
        self, targets: NDArray[Any], addresses: NDArray[np.int64], shift: int
    ) -> Iterator[tuple[int, NDArray[np.uint64], NDArray[np.uint64]]]:
        """Copy the table of a level of page tables that each address of a target goes through.

        The entries of the level map `1 << shift` bytes each. Yields views of batches, to be used
        before the next: where in the arguments it begins, the tables (shape (n, 512)), and the
        entries that lead to them: 0 where there is no table, `GONE` where the target is gone, and
        one with a leaf bit where a huge page takes the table's place.
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
        """Let the programs count as accessed what another monitor found accessed and cleared.

        Raises `ProbeUnavailable` where the kernel does not tell.
        """
        if not on:
            self.control.young = 0
            return
        if self._struct_page is None:
            Machine._struct_page = self._find_struct_page()
        control, found = self.control, Machine._struct_page
        assert found is not None
        control.vmemmap, control.page_bytes = found.vmemmap, found.size
        control.page_flags, control.page_head = found.flags, found.head
        control.young = found.young

    @property
    def reads_back(self) -> bool:
        """Whether `read_back` is on."""
        return bool(self.control.young)

    def young(self, entries: NDArray[np.uint64], shift: int = 12) -> NDArray[np.bool_]:
        """Which of these pages another monitor found accessed, by the entries that map them.

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
        """The physical addresses in some entries, which are inverted where PRESENT is off."""
        mask = np.uint64(self.control.phys_mask >> shift << shift)
        inverted = np.where(entries & np.uint64(_PRESENT), np.uint64(0), mask)
        physical: NDArray[np.uint64] = (entries & mask) ^ inverted
        return physical

    @property
    def top_shift(self) -> int:
        """The logarithm of what an entry of the highest level of page tables maps."""
        return 39 if self.control.levels == 4 else 48

    def _find_direct_map(self) -> None:
        """Find where the kernel maps physical memory, by reading a page of our own through it."""
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
        flags, control.phys_mask = _cpu()
        pgd = int(self._every_target[self._own_target]["pgd"])
        for levels in (5, 4) if "la57" in flags else (4, 5):
            control.levels = levels
            for base in _candidates(pgd, _DIRECT_MAP[levels]):
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
            _, tables, _ = next(self.copies(targets, addresses, 12))
            entry = tables[:, address // PAGE_SIZE % 512]
            return int(self._physical(entry, 12)[0])

        task = int(self._every_target[self._own_target]["task"])
        try:
            return find_struct_page(read, task, physical_of)
        except (OSError, ProbeError) as error:
            raise ProbeUnavailable(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Kernel:
    """What its BTF says: the id of a type, and offsets of members."""

    iter_task: int
    task_mm: int
    task_tgid: int
    mm_pgd: int


@cache
def _kernel() -> _Kernel:
    """Read once: it takes 0.2 s, and the programs are loaded again for many targets."""
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
        return BpfObject(_LOOPS, sizes, type_ids), sizes["entries"]
    except ProbeUnavailable:
        return BpfObject(_BOUNDED, sizes, type_ids), _BOUND


def _candidates(pgd: int, lowest: int) -> Iterator[int]:
    yield lowest
    highest = pgd // _GIB * _GIB
    yield from range(highest, max(lowest, highest - _MAX_STEPS * _GIB), -_GIB)


def _cpu() -> tuple[list[str], int]:
    """The CPU's flags, and a mask of the bits of a page-table entry that are an address.

    The kernel takes the bits that memory encryption uses off the width that it shows.
    """
    text = Path("/proc/cpuinfo").read_text()
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    width = re.search(r"^address sizes\s*:\s*(\d+) bits physical", text, re.MULTILINE)
    bits = int(width[1]) if width else 46
    return (flags[1].split() if flags else []), (1 << bits) - mmap.PAGESIZE
