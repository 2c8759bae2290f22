"""Other processors: one clear error instead of a wrong system call."""

from __future__ import annotations

import os
import platform

import numpy as np
import pytest

from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.linux import arch
from pydamon._observe.linux.arch import PAGE_TABLES
from pydamon._observe.linux.inject import injecting
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.writes import WritesProbe


@pytest.fixture
def on_arm64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arch, "MACHINE", "aarch64")


def test_the_name_is_that_of_the_platform() -> None:
    assert platform.machine() == arch.MACHINE


@pytest.mark.usefixtures("on_arm64")
def test_page_tables_of_another_processor_are_refused() -> None:
    with pytest.raises(ProbeUnavailable, match="page tables are not supported on aarch64") as error:
        Machine(8, 8)
    assert "refs" in error.value.hint


@pytest.mark.usefixtures("on_arm64")
def test_system_calls_are_not_injected_on_another_processor() -> None:
    here = WritesProbe().availability()
    assert not here.works
    assert "not supported on aarch64" in here.reason
    assert "refs" in here.hint
    process = Process(os.getpid())
    with pytest.raises(ProbeUnavailable, match="aarch64"), injecting(process):
        pytest.fail("it was traced")
    process.close()


@pytest.mark.usefixtures("on_arm64")
def test_numbers_of_system_calls() -> None:
    assert arch.system_call("kcmp") == 272
    assert arch.system_call("process_madvise") == 440
    assert arch.system_call("bpf") == -1


def test_bits_of_entries() -> None:
    present, protnone = 1, 1 << 8
    accessed, special = 1 << 5, 1 << 9
    entries = np.array([0, present, protnone, accessed, present | accessed, present | special])
    bits = entries.astype(np.uint16)
    assert PAGE_TABLES.is_mapped(bits).tolist() == [False, True, True, False, True, True]
    assert PAGE_TABLES.is_accessed(bits).tolist() == [False] * 4 + [True, False]
    assert PAGE_TABLES.may_lack_accessed(bits).tolist() == [False, True, True, False, False, False]


def test_physical_addresses_are_inverted_where_nothing_is_present() -> None:
    mask = (1 << 46) - 4096
    entry = 0x1234_5000
    entries = np.array([entry | 1, (entry ^ mask) | 1 << 8], np.uint64)
    assert PAGE_TABLES.physical(entries, mask).tolist() == [entry, entry]


@pytest.mark.parametrize(("levels", "lowest"), [(4, 0xFFFF_8880_0000_0000), (5, 0xFF11 << 48)])
def test_the_direct_map_begins_at_or_below_what_it_maps(levels: int, lowest: int) -> None:
    pgd = lowest + 5 * (1 << 30) + 4096
    candidates = list(PAGE_TABLES.direct_map_candidates(levels, pgd))
    assert candidates[0] == lowest
    assert candidates[1:] == [lowest + n * (1 << 30) for n in (5, 4, 3, 2, 1)]
    assert PAGE_TABLES.top_shift(levels) == {4: 39, 5: 48}[levels]
