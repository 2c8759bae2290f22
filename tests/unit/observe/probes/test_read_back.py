"""Accesses that another monitor took: which tables are asked for them."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from pydamon._observe.linux.page_tables import PAGE_TABLES
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.ebpf.readback import CopiedTables, mark_taken

TABLES, ENTRIES = 128, 512
IDLE = PAGE_TABLES.mapped


class TakenPages:
    """In place of the BPF programs: every page with this number in its entry was taken."""

    def __init__(self) -> None:
        self.asked = 0
        self.seldom = False

    def says_seldom(self, taken_seldom: bool) -> None:
        self.seldom = bool(taken_seldom)

    def young(self, entries: NDArray[np.uint64], shift: int = 0) -> NDArray[np.bool_]:
        del shift
        self.asked += len(entries)
        taken: NDArray[np.bool_] = entries == 7
        return taken


@pytest.mark.parametrize(
    ("one_in", "sparing", "asked"),
    [(0, True, 1 / 16), (20, True, 1), (4000, True, 1 / 16), (4000, False, 1)],
)
def test_what_is_hardly_ever_taken_is_asked_of_a_part(
    one_in: int, sparing: bool, asked: float
) -> None:
    bits = np.full((TABLES, ENTRIES), IDLE, np.uint16)
    entries = np.zeros((TABLES, ENTRIES), np.uint64)
    if one_in:
        entries.reshape(-1)[::one_in] = 7
    machine = TakenPages()
    copied = CopiedTables(entries, np.zeros(TABLES, np.uint64), np.zeros(TABLES, np.bool_))
    mark_taken(cast(Machine, machine), bits, copied, None, sparing=sparing)
    assert machine.asked == pytest.approx(asked * TABLES * ENTRIES)
    assert machine.seldom == (sparing and one_in != 20)
    found = PAGE_TABLES.is_accessed(bits)
    assert not found[entries != 7].any()
    if asked == 1:
        assert found[entries == 7].all()


@pytest.mark.parametrize(("taken_in", "seldom"), [(50, True), (5, False)])
def test_sampling_need_not_read_back_where_little_of_what_is_used_was_taken(
    taken_in: int, seldom: bool
) -> None:
    bits = np.full((TABLES, ENTRIES), IDLE, np.uint16)
    bits[:, : ENTRIES // 2] |= PAGE_TABLES.accessed
    entries = np.zeros((TABLES, ENTRIES), np.uint64)
    entries[:, ENTRIES // 2 :] = np.where(
        np.arange(TABLES * ENTRIES // 2).reshape(TABLES, -1) % taken_in == 0, 7, 0
    )
    machine = TakenPages()
    copied = CopiedTables(entries, np.zeros(TABLES, np.uint64), np.zeros(TABLES, np.bool_))
    mark_taken(cast(Machine, machine), bits, copied, None, sparing=True)
    assert machine.seldom == seldom
