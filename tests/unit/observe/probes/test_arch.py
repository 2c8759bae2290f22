"""Other processors: numbers of system calls, and formats of page tables.

Private names: what is particular to a processor shows nowhere else.
"""

from __future__ import annotations

import os
import platform

import numpy as np
import pytest

from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.linux import arch, page_tables
from pydamon._observe.linux.inject import REGISTERS, injecting
from pydamon._observe.linux.page_tables import AARCH64, X86_64
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.writes import WritesProbe

GIB = 1 << 30


@pytest.fixture(params=["aarch64", "riscv64"])
def other(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of another processor, which this machine seems to have."""
    name = str(request.param)
    if platform.machine() == name:
        pytest.skip(f"this machine has a processor of that kind: {name}")
    monkeypatch.setattr(arch, "MACHINE", name)
    monkeypatch.setattr(page_tables, "MACHINE", name)
    return name


def test_the_name_is_that_of_the_platform() -> None:
    assert platform.machine() == arch.MACHINE


def test_page_tables_of_an_unknown_processor_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_tables, "MACHINE", "riscv64")
    with pytest.raises(ProbeUnavailable, match="page tables are not supported on riscv64") as error:
        Machine(8, 8)
    assert "refs" in error.value.hint


def test_system_calls_are_not_injected_on_another_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arch, "MACHINE", "riscv64")
    here = WritesProbe().availability()
    assert not here.works
    assert "not supported on riscv64" in here.reason
    assert "refs" in here.hint
    process = Process(os.getpid())
    with pytest.raises(ProbeUnavailable, match="riscv64"), injecting(process):
        pytest.fail("it was traced")
    process.close()


def test_a_call_may_follow_any_branch_on_arm64() -> None:
    """A program that is about to handle a signal has BTYPE set, which BTI checks (bits 10, 11)."""
    kept = [*range(32), 0x6A6D40, 0x4000_1800]
    values = REGISTERS["aarch64"].of_call(kept, 0x1000, 282, (5, 6))
    assert values[:9] == [5, 6, 2, 3, 4, 5, 6, 7, 282]
    assert values[9:] == [*range(9, 32), 0x1000, 0x4000_1000]


def test_numbers_of_system_calls(other: str) -> None:
    assert arch.system_call("kcmp") == 272
    assert arch.system_call("process_madvise") == 440
    assert arch.system_call("bpf") == (280 if other == "aarch64" else -1)


def test_bits_of_entries_of_x86_64() -> None:
    present, protnone = 1, 1 << 8
    accessed, special = 1 << 5, 1 << 9
    entries = np.array([0, present, protnone, accessed, present | accessed, present | special])
    bits = entries.astype(np.uint16)
    assert X86_64.is_mapped(bits).tolist() == [False, True, True, False, True, True]
    assert X86_64.is_accessed(bits).tolist() == [False] * 4 + [True, False]
    assert X86_64.may_lack_accessed(bits).tolist() == [False, True, True, False, False, False]


def test_bits_of_entries_of_arm64() -> None:
    page, absent, accessed = 0b11, 1 << 11, 1 << 10
    entries = np.array([0, page, absent, accessed, page | accessed, absent | accessed])
    bits = entries.astype(np.uint16)
    assert AARCH64.is_mapped(bits).tolist() == [False, True, True, False, True, True]
    assert AARCH64.is_accessed(bits).tolist() == [False] * 4 + [True, True]
    upper = np.array([0, 0b01 | accessed, 0b11 | accessed, absent, 2**64 - 1], np.uint64)
    assert AARCH64.is_leaf(upper).tolist() == [False, True, False, True, False]


def test_an_entry_of_older_kernels_that_is_swapped_out_maps_nothing() -> None:
    """Before Linux 6.10, bit 11 of it may be set, and bit 58 marks what is mapped but absent."""
    swapped, absent, present = 1 << 11, 1 << 58 | 1 << 11, 0b11 | 1 << 11
    tables = np.resize(np.array([swapped, absent, present], np.uint64), (2, 512))
    mapped = AARCH64.is_mapped(AARCH64.low_bits(tables, 1 << 58))
    assert mapped[0, :3].tolist() == [False, True, True]
    assert AARCH64.is_mapped(AARCH64.low_bits(tables, 1 << 11)).all()


def test_contiguous_pages_are_one_grain() -> None:
    tables = AARCH64._replace(contiguous_pages=16)
    entries = np.full((3, 512), 0b11, np.uint64)
    entries[1, 16:64] |= np.uint64(1 << 52)
    entries[1, 35] |= np.uint64(1 << 10)
    entries[2, 35] |= np.uint64(1 << 10)
    before = entries.copy()
    accessed = tables.is_accessed(tables.low_bits(entries))
    assert np.flatnonzero(accessed[1]).tolist() == list(range(32, 48))
    assert np.flatnonzero(accessed[2]).tolist() == [35]
    assert not accessed[0].any()
    assert (entries == before).all()


def test_physical_addresses_are_inverted_where_nothing_is_present_on_x86_64() -> None:
    mask = (1 << 46) - 4096
    entry = 0x1234_5000
    entries = np.array([entry | 1, (entry ^ mask) | 1 << 8], np.uint64)
    assert X86_64.physical(entries, mask).tolist() == [entry, entry]


@pytest.mark.parametrize(
    ("mask", "high_mask", "shift", "entry", "address"),
    [
        ((1 << 50) - 4096, 0, 42, 0x4000_0F43, 0x4000_0000),
        ((1 << 50) - 4096, 0x300, 42, 0x4000_0F43 ^ 0x100, 0x8_0000_4000_0000),
        ((1 << 48) - 65536, 0xF000, 36, 0x4000_0F43, 0x4000_0000),
        ((1 << 48) - 65536, 0xF000, 36, 0x4000_3F43, 0x3_0000_4000_0000),
    ],
)
def test_physical_addresses_of_arm64(
    mask: int, high_mask: int, shift: int, entry: int, address: int
) -> None:
    tables = AARCH64._replace(high_shift=shift)
    assert tables.physical(np.array([entry], np.uint64), mask, high_mask).tolist() == [address]


def test_the_map_of_x86_64_begins_at_or_below_what_it_maps() -> None:
    lowest = 0xFFFF_8880_0000_0000
    candidates = list(X86_64.map_candidates(lowest + 5 * GIB + 4096))
    assert [base for levels, base in candidates if levels == 4] == [
        lowest + n * GIB for n in (0, 5, 4, 3, 2, 1)
    ]
    assert {levels for levels, _ in candidates} == {4, 5}
    shifts = [page_tables.top_shift(levels) for levels in (4, 5)]
    assert shifts == [39, 48] or arch.PAGE_SHIFT != 12


def test_the_map_of_arm64_may_begin_below_its_lowest_address() -> None:
    """Physical memory begins at 1 GiB there, for example, and address 0 is not mapped."""
    lowest = 0xFFF0_0000_0000_0000
    tables = AARCH64._replace(levels=(5, 4), map_step=GIB)
    candidates = tables.map_candidates(lowest + GIB + 4096)
    nearest = [next(candidates) for _ in range(6)]
    assert nearest == [(n, lowest + at * GIB) for at in (1, 0, -1) for n in (5, 4)]
