"""The frames of pages that another process may map, too, as page tables and pagemaps say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from pydamon._model.stretches import Stretches
from pydamon._observe.linux.arch import HUGE_BYTES, PAGE_SIZE, TABLE_BYTES, TABLE_ENTRIES
from pydamon._observe.linux.page_tables import X86_64
from pydamon._observe.linux.pagemap import Entry, Pagemap
from pydamon._observe.probes.ebpf import page_frames
from pydamon._observe.probes.ebpf.btf import GONE
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.ebpf.page_frames import frames_in_tables

WRITABLE, HUGE, PROTNONE = 2, 1 << 7, 1 << 8


class Tables:
    """Copies page tables: by the number of each, its entries and the one that leads to it."""

    def __init__(self, **rows: tuple[int, int]) -> None:
        self.rows = rows

    def copies(
        self, targets: NDArray[Any], addresses: NDArray[np.int64], shift: int
    ) -> Iterator[tuple[int, NDArray[np.uint64], NDArray[np.uint64]]]:
        rows = [self.rows[f"t{address // TABLE_BYTES}"] for address in addresses.tolist()]
        for at, (entry, parent) in enumerate(rows):
            table = np.full((1, TABLE_ENTRIES), entry, np.uint64)
            yield at, table, np.array([parent], np.uint64)


def frames_of(tables: Tables, *rows: tuple[int, int, int]) -> list[int]:
    found = frames_in_tables(cast("Machine", tables), Stretches.of(rows))
    assert found.dtype == np.uint32
    return [int(frame) for frame in found]


@pytest.fixture(autouse=True)
def _of_x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_frames, "PAGE_TABLES", X86_64)


def test_pages_that_their_process_may_write_are_its_own() -> None:
    shift = PAGE_SIZE.bit_length() - 1
    no_execute = 1 << 63
    tables = Tables(
        t0=(7 << shift | 1 | no_execute, 1),
        t1=(7 << shift | 1 | WRITABLE, 1),
        t2=(0, 0),
        t3=(7 << shift | 1, int(GONE)),
        # Automatic NUMA balancing has made it absent, with all bits of the address inverted.
        t4=(~(7 << shift) & ((1 << 46) - PAGE_SIZE) | PROTNONE, 1),
        # Beyond 32 bits only the lowest of a frame count.
        t5=((1 << 33 | 5) << shift | 1, 1),
    )
    page = PAGE_SIZE
    rows = [(0, n * TABLE_BYTES + page, n * TABLE_BYTES + 3 * page) for n in range(6)]
    expected = [7, 7, 0, 0, 0, 0, 0, 0]
    assert frames_of(tables, *rows[:4]) == expected
    assert frames_of(tables, rows[4]) == [7, 7]
    assert frames_of(tables, rows[5]) == [5, 5]
    assert frames_of(tables, (0, 0, 2 * TABLE_BYTES)) == [7] * 512 + [0] * 512
    assert frames_of(tables) == []


def test_pages_of_a_huge_page_are_in_frames_side_by_side() -> None:
    head = 3 * HUGE_BYTES
    tables = Tables(t0=(0, head | 1 | HUGE), t1=(0, head | 1 | HUGE | WRITABLE))
    frames = frames_of(tables, (0, 0, 3 * PAGE_SIZE), (0, TABLE_BYTES, TABLE_BYTES + PAGE_SIZE))
    assert frames == [head // PAGE_SIZE, head // PAGE_SIZE + 1, head // PAGE_SIZE + 2, 0]


def test_who_may_not_know_frames_sees_which_pages_are_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    present, exclusive = int(Entry.PRESENT), int(Entry.EXCLUSIVE)
    entries = np.array([present | 9, present, present | exclusive | 9, 0, 9], np.uint64)
    pagemap = Pagemap(cast("Any", os))
    monkeypatch.setattr(pagemap, "entries", lambda *_: entries)
    assert pagemap.shared_frames(0, 5 * PAGE_SIZE).tolist() == [9, 1, 0, 0, 0]
