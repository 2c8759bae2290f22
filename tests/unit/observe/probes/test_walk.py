"""The walk of the BPF program through made-up page tables, of every size that processors have.

The same C code, compiled for this machine. Kernels with these page tables are in the virtual
machine (tests/vm), but none with pages of 64 KiB. Private names: the source of the program.
"""

from __future__ import annotations

import ctypes
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pydamon._observe.linux.page_tables import AARCH64, X86_64, PageTables
from pydamon._observe.probes.ebpf.machine import LOOPING_OBJECT

SOURCES = LOOPING_OBJECT.parent
SHIM = Path(__file__).with_name("walk_shim.c")
TABLES = 40
"""How many tables there is room for."""
HIGH = {12: (0x300, 42), 14: (0x300, 42), 16: (0xF000, 36)}
"""Where arm64 has the highest bits of an address: a mask of the entry, and their shift."""


@dataclass(frozen=True)
class Kind:
    """A kind of page tables."""

    processor: str
    page_shift: int
    levels: int
    memory_at: int = 1 << 30
    """Physical address of the first table."""
    for_users: bool = False
    """Whether the programs are those that the daemon runs."""

    @property
    def format(self) -> PageTables:
        return X86_64 if self.processor == "x86_64" else AARCH64

    @property
    def flags(self) -> tuple[str, ...]:
        arm = ("-DAARCH64", f"-DPAGE_SHIFT={self.page_shift}")
        return () if self.processor == "x86_64" else arm

    @property
    def level_bits(self) -> int:
        return self.page_shift - 3

    @property
    def top_shift(self) -> int:
        return self.page_shift + self.level_bits * (self.levels - 1)

    @property
    def address_bits(self) -> int:
        """Bits of user addresses: 52 at most, as arm64 has them, or 47 and 56 of x86-64."""
        if self.processor == "x86_64":
            return {4: 47, 5: 56}[self.levels]
        return min(52, self.top_shift + self.level_bits)

    @property
    def user_entries(self) -> int:
        """Entries of the highest table that map user space."""
        return 1 << max(0, self.address_bits - self.top_shift)

    def entry(self, physical: int, *, leads_on: bool, shift: int) -> int:
        """An entry for a physical address: of a table, of a page, or of a huge page."""
        is_page = shift == self.page_shift
        if self.processor == "x86_64":
            return physical | 1 | (0 if leads_on or is_page else 1 << 7)
        mask, high_shift = HIGH[self.page_shift]
        high = physical >> high_shift & mask
        return physical & ((1 << 48) - 1) | high | (0b11 if leads_on or is_page else 0b01)


KINDS = [
    Kind("x86_64", 12, 4),
    Kind("x86_64", 12, 5),
    *(Kind("aarch64", *rest) for rest in ((12, 3), (12, 4), (12, 5), (14, 2), (14, 3), (14, 4))),
    *(Kind("aarch64", 16, levels) for levels in (2, 3)),
    Kind("aarch64", 12, 5, 3 << 50),
    Kind("aarch64", 14, 4, 2 << 50),
    Kind("aarch64", 16, 3, 5 << 48),
]


@dataclass
class Memory:
    """Physical memory with page tables."""

    kind: Kind
    data: bytearray = field(init=False)
    used: int = 1

    def __post_init__(self) -> None:
        self.data = bytearray(TABLES << self.kind.page_shift)

    def map(self, address: int, shift: int, flags: int) -> int:
        """Map the page of a size that an address is in; the entry for it."""
        kind, table, level = self.kind, 0, self.kind.top_shift
        while level > shift:
            at = self._place(table, address, level)
            entry = int.from_bytes(self.data[at : at + 8], "little")
            if not entry:
                physical = kind.memory_at + (self.used << kind.page_shift)
                entry = kind.entry(physical, leads_on=True, shift=level)
                self.data[at : at + 8] = entry.to_bytes(8, "little")
                self.used += 1
                tables = self.used - 1
            else:
                tables = self._table_of(entry)
            table, level = tables, level - kind.level_bits
        at = self._place(table, address, level)
        entry = kind.entry(1 << 40, leads_on=False, shift=shift) | flags
        self.data[at : at + 8] = entry.to_bytes(8, "little")
        return entry

    def mark(self, address: int, bits: int) -> None:
        """Set bits of the entry of a page that is mapped."""
        table, level = 0, self.kind.top_shift
        while level > self.kind.page_shift:
            at = self._place(table, address, level)
            table = self._table_of(int.from_bytes(self.data[at : at + 8], "little"))
            level -= self.kind.level_bits
        at = self._place(table, address, level)
        entry = int.from_bytes(self.data[at : at + 8], "little") | bits
        self.data[at : at + 8] = entry.to_bytes(8, "little")

    def _place(self, table: int, address: int, level: int) -> int:
        index = address >> level & (1 << self.kind.level_bits) - 1
        return (table << self.kind.page_shift) + 8 * index

    def _table_of(self, entry: int) -> int:
        for number in range(1, self.used):
            physical = self.kind.memory_at + (number << self.kind.page_shift)
            if self.kind.entry(physical, leads_on=True, shift=63) == entry:
                return number
        raise AssertionError("no such table")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], ctypes.CDLL]:
    """Compile the program for this machine."""
    pytest.importorskip("ziglang", reason="needs the compiler of the package ziglang")
    built: dict[tuple[str, ...], ctypes.CDLL] = {}

    def compiled(kind: Kind) -> ctypes.CDLL:
        if kind.flags not in built:
            path = tmp_path_factory.mktemp("walk") / "walk.so"
            subprocess.run(
                [
                    *(sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-O1", "-w"),
                    *(*kind.flags, "-I", str(SOURCES), str(SHIM), "-o", str(path)),
                ],
                check=True,
            )
            library = ctypes.CDLL(str(path))
            for function in (library.walked, library.walked_to, library.told):
                function.restype = ctypes.c_uint64
            library.set_memory.argtypes = [ctypes.c_void_p, *(ctypes.c_uint64,) * 3]
            built[kind.flags] = library
        return built[kind.flags]

    return compiled


class Walker:
    """Walks through made-up memory, which the kernel maps at a random place."""

    def __init__(self, library: ctypes.CDLL, memory: Memory, absent: int = 0) -> None:
        kind = memory.kind
        base = random.Random(7).randrange(1 << 20) << 30 | 0xFFF0 << 48
        self._library, self._kind = library, kind
        self._pgd = (base + kind.memory_at) % 2**64
        self._buffer = (ctypes.c_uint8 * len(memory.data)).from_buffer(memory.data)
        users = kind.user_entries if kind.for_users else 0
        at = ctypes.addressof(self._buffer)
        library.set_memory(at, len(memory.data), self._pgd, users)
        high = HIGH[kind.page_shift][0]
        masks = {"x86_64": ((1 << 46) - 4096, 0)}.get(
            kind.processor,
            ((1 << (48 if kind.page_shift == 16 else 50)) - (1 << kind.page_shift), high),
        )
        self._facts = (ctypes.c_uint64 * 5)(base, masks[0], kind.top_shift, masks[1], absent)

    def walk(self, address: int) -> tuple[int, int]:
        """The entry for an address, and the shift of its page."""
        shift = ctypes.c_uint32()
        pgd, at = ctypes.c_uint64(self._pgd), ctypes.c_uint64(address)
        entry = self._library.walked(self._facts, pgd, at, ctypes.byref(shift))
        return int(entry), shift.value

    def walk_to(self, address: int, bottom: int) -> tuple[int, int]:
        """The entry that leads to the table whose entries map 1 << bottom bytes."""
        shift = ctypes.c_uint32()
        pgd, at = ctypes.c_uint64(self._pgd), ctypes.c_uint64(address)
        entry = self._library.walked_to(self._facts, pgd, at, bottom, ctypes.byref(shift))
        return int(entry), shift.value

    @property
    def absent(self) -> int:
        """What marks entries that are mapped though not present, where it is no low bit."""
        return int(self._facts[4])

    def marks(self, entries: NDArray[np.uint64]) -> NDArray[np.uint16]:
        """What users are told of the entries of a table of the lowest level."""
        marks = np.zeros(len(entries), np.uint16)
        places = (ctypes.c_void_p(array.ctypes.data) for array in (entries, marks))
        self._library.marked(self._facts, *places)
        return marks

    def may_tell(self, address: int, bottom: int, entry: int) -> bool:
        """Whether the table that an entry led to is still the one for an address."""
        pgd, at = ctypes.c_uint64(self._pgd), ctypes.c_uint64(address)
        return bool(self._library.told(self._facts, pgd, at, bottom, ctypes.c_uint64(entry)))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_page_that_is_mapped_is_found_and_no_other(
    kind: Kind, library: Callable[[Kind], ctypes.CDLL]
) -> None:
    rng, memory = random.Random(1), Memory(kind)
    huge_shift = kind.page_shift + kind.level_bits
    mapped: dict[int, tuple[int, int]] = {}
    for number in range(8):
        # High bits differ, so that each has tables of its own; the lowest half has small pages.
        top = rng.randrange(1 << (kind.address_bits - huge_shift - 4)) << 4 | number
        flags = kind.format.accessed if number % 2 else 0
        shift = huge_shift if number > 5 and kind.levels > 2 else kind.page_shift
        page = top << huge_shift | rng.randrange(1 << kind.level_bits) << kind.page_shift
        address = page >> shift << shift
        mapped[address] = (memory.map(address, shift, flags), shift)
    walker = Walker(library(kind), memory)
    for address, (entry, shift) in mapped.items():
        offset = rng.randrange(1 << shift)
        assert walker.walk(address + offset) == (entry, shift)
        assert bool(entry & kind.format.accessed) == bool(
            walker.walk(address)[0] & kind.format.accessed
        )
        leads, at = walker.walk_to(address + offset, kind.page_shift)
        assert leads
        assert at == huge_shift
        if shift == kind.page_shift:
            neighbour = address ^ 1 << kind.page_shift
            assert walker.walk(neighbour)[0] == (mapped[neighbour][0] if neighbour in mapped else 0)
    for _ in range(100):
        elsewhere = rng.randrange(1 << kind.address_bits) >> huge_shift << huge_shift
        if all(elsewhere >> huge_shift != address >> huge_shift for address in mapped):
            assert walker.walk(elsewhere)[0] == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.processor == "aarch64"], ids=str)
def test_one_accessed_page_of_a_contiguous_group_stands_for_its_block(
    kind: Kind, library: Callable[[Kind], ctypes.CDLL]
) -> None:
    memory, page = Memory(kind), 1 << kind.page_shift
    first = 64 * page
    for number in range(48):
        memory.map(first + number * page, kind.page_shift, AARCH64.contiguous if number > 15 else 0)
    memory.mark(first + 3 * page, AARCH64.accessed)
    memory.mark(first + 20 * page, AARCH64.accessed)
    walker = Walker(library(kind), memory)
    accessed = [
        bool(walker.walk(first + number * page)[0] & AARCH64.accessed) for number in range(48)
    ]
    assert accessed == [number == 3 or 16 <= number < 32 for number in range(48)]


@pytest.mark.parametrize("absent", [1 << 11, 1 << 58])
def test_a_page_that_faults_on_access_is_mapped_all_the_same(
    absent: int, library: Callable[[Kind], ctypes.CDLL]
) -> None:
    kind = Kind("aarch64", 16, 3)
    memory = Memory(kind)
    entry = memory.map(0x123_0000, 16, absent | AARCH64.accessed)
    swapped = memory.map(0x124_0000, 16, 0)
    at = memory.data.find(entry.to_bytes(8, "little"))
    memory.data[at : at + 8] = (entry & ~0b11).to_bytes(8, "little")
    at = memory.data.find(swapped.to_bytes(8, "little"))
    memory.data[at : at + 8] = (swapped & ~0b11).to_bytes(8, "little")
    walker = Walker(library(kind), memory, absent)
    assert walker.walk(0x123_0000) == (entry & ~0b11, 16)
    assert walker.walk(0x124_0000)[0] == 0


@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
@pytest.mark.parametrize("for_users", [False, True])
def test_users_are_told_nothing_of_a_table_that_was_freed_meanwhile(
    processor: str, for_users: bool, library: Callable[[Kind], ctypes.CDLL]
) -> None:
    kind = Kind(processor, 12, 4, for_users=for_users)
    memory = Memory(kind)
    memory.map(0x20_0000, 12, 0)
    memory.map(0x7000_0000_0000, 12, 0)
    walker = Walker(library(kind), memory)
    (entry, _), (other, _) = (walker.walk_to(at, 12) for at in (0x20_0000, 0x7000_0000_0000))
    assert walker.may_tell(0x20_0000, 12, entry)
    assert walker.may_tell(0x20_0000, 12, entry ^ kind.format.accessed)
    for instead in (other, 0):  # by now
        at = memory.data.find(entry.to_bytes(8, "little"))
        memory.data[at : at + 8] = instead.to_bytes(8, "little")
        assert walker.may_tell(0x20_0000, 12, entry) is not for_users
        memory.data[at : at + 8] = entry.to_bytes(8, "little")


@pytest.mark.parametrize("kind", [replace(kind, for_users=True) for kind in KINDS[:10]], ids=str)
def test_users_get_to_no_table_that_lies_behind_the_highest_one(
    kind: Kind, library: Callable[[Kind], ctypes.CDLL]
) -> None:
    memory, beyond = Memory(kind), 1 << kind.address_bits
    own = memory.map(0x1234 << kind.page_shift, kind.page_shift, kind.format.accessed)
    if kind.user_entries < 1 << kind.level_bits:
        memory.map(0x1234 << kind.page_shift | beyond, kind.page_shift, 0)
    walker = Walker(library(kind), memory)
    for address in (0, beyond, 3 * beyond, -beyond % (1 << 64)):
        assert walker.walk(address | 0x1234 << kind.page_shift) == (own, kind.page_shift)


@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
@pytest.mark.parametrize("absent", [1 << 11, 1 << 58])
def test_users_are_told_which_pages_are_mapped_and_accessed_and_nothing_else(
    kind: Kind, absent: int, library: Callable[[Kind], ctypes.CDLL]
) -> None:
    rng = np.random.default_rng(absent)
    entries = rng.integers(0, 1 << 63, 512, dtype=np.uint64)
    entries[rng.random(512) < 0.3] &= ~np.uint64(0x101)  # swapped out, or nothing
    if kind.processor == "aarch64":
        # What is absent has bit 11 whatever else says so; groups are contiguous as a whole.
        entries[entries & np.uint64(absent) != 0] |= np.uint64(1 << 11)
        groups = entries.reshape(-1, 16)
        groups &= ~np.uint64(AARCH64.contiguous)
        groups[::3] |= np.uint64(AARCH64.contiguous)
        groups[::2] &= ~np.uint64(AARCH64.accessed)
    walker = Walker(library(kind), Memory(kind), absent if kind.processor == "aarch64" else 0)
    marks = walker.marks(entries)
    bits = kind.format.low_bits(entries.reshape(1, -1), walker.absent)[0]
    mapped = kind.format.is_mapped(bits)
    assert (kind.format.is_mapped(marks) == mapped).all()
    assert (kind.format.is_accessed(marks) == kind.format.is_accessed(bits)).all()
    fields = kind.format.mapped | kind.format.accessed | kind.format.leaf | kind.format.table
    assert not (marks & ~np.uint16(fields)).any()
