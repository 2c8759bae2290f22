"""Another monitor at work: read back the accesses that it took."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.linux.arch import HUGE_SHIFT
from pydamon._observe.linux.monitors import other_monitor
from pydamon._observe.linux.page_tables import PAGE_TABLES
from pydamon._observe.probes.ebpf.machine import Machine

__all__ = ["CopiedTables", "ReadBack", "mark_taken"]


_ASK_NS = 10**9
"""How often to ask whether another monitor is at work."""
_ONE_IN, _ENOUGH_PAGES, _RARE = 16, 1024, 1 / 1000
"""One table in so many is asked first, if it has enough pages to tell; and the others where more
than such a part of these pages was taken."""
_LITTLE = 0.1
"""Sampling need not read back where no more than this part of the pages in use was taken between
two looks. Epochs are a fraction of that time, and miss as much less."""
_rng = np.random.default_rng()


class CopiedTables(NamedTuple):
    """Copies of page tables, and the entries that lead to them."""

    entries: NDArray[np.uint64]
    """Shape (n, 512)."""
    parents: NDArray[np.uint64]
    without_table: NDArray[np.bool_]
    """Where there is no table: a huge page or nothing takes its place."""


def mark_taken(
    machine: Machine,
    bits: NDArray[np.uint16],
    copied: CopiedTables,
    wanted: NDArray[np.bool_] | None,
    *,
    sparing: bool,
) -> None:
    """Mark in *bits* (n, 512) as accessed the pages whose access only another monitor saw.

    To ask costs ten times what it does to read the tables, and finds nearly nothing where the other
    one samples a large memory. *sparing* asks one table in 16, drawn at random, and all others only
    if more than one page in 1,000 of those was taken. What is missed stays to be found later. What
    was taken of the pages in use tells sampling whether it must read back.
    """
    used = PAGE_TABLES.is_accessed(bits)
    asked = PAGE_TABLES.may_lack_accessed(bits)
    if wanted is not None:
        asked &= wanted
    huge = np.flatnonzero(copied.without_table & asked.any(axis=1))
    bits[huge[machine.young(copied.parents[huge], HUGE_SHIFT)]] |= PAGE_TABLES.accessed
    asked &= ~copied.without_table[:, None]
    drawn = slice(int(_rng.integers(_ONE_IN)), None, _ONE_IN)
    if sparing and np.count_nonzero(asked[drawn]) >= _ENOUGH_PAGES:
        taken, rare = _mark(machine, bits[drawn], copied.entries[drawn], asked[drawn], used[drawn])
        if taken <= rare:
            return
        asked[drawn] = sparing = False
    _mark(machine, bits, copied.entries, asked, used if sparing else None)


def _mark(
    machine: Machine,
    bits: NDArray[np.uint16],
    entries: NDArray[np.uint64],
    asked: NDArray[np.bool_],
    used: NDArray[np.bool_] | None,
) -> tuple[int, float]:
    """Ask for some pages; returns how many of them were taken, and how many were if it is rare.

    With the pages that are *used* beside them, it tells sampling how much it would miss.
    """
    row, page = np.nonzero(asked)
    young = machine.young(entries[row, page])
    bits[row[young], page[young]] |= PAGE_TABLES.accessed
    taken, rare = int(np.count_nonzero(young)), _RARE * len(row)
    if used is not None and len(row) >= _ENOUGH_PAGES:
        machine.says_seldom(taken <= rare + _LITTLE * np.count_nonzero(used))
    return taken, rare


class ReadBack:
    """Switches reading back on and off: without another monitor it would only cost time."""

    def __init__(self) -> None:
        self.caveat = ""
        """Why figures may be wrong now, if they may."""
        self._other = self._why_not = ""
        self._asked_ns = -_ASK_NS

    @property
    def note(self) -> str:
        """What another monitor at work means for the figures; empty if there is none."""
        if not self._other or self.caveat:
            return self.caveat
        return f"{self._other} clears accessed bits, too; what it takes is read back"

    def ask(self, machine: Machine) -> None:
        """Find out whether another monitor is at work, unless that was done a moment ago."""
        now_ns = time.monotonic_ns()
        if now_ns - self._asked_ns >= _ASK_NS:
            self._asked_ns = now_ns
            self._other = other_monitor()
            self.apply(machine)

    def apply(self, machine: Machine) -> None:
        """Switch reading back on or off in a machine, as needed."""
        if self._why_not == "" or not self._other:
            try:
                machine.read_back(bool(self._other))
            except ProbeUnavailable as error:
                self._why_not = str(error)
        self.caveat = ""
        if self._other and self._why_not:
            self.caveat = (
                f"{self._other} clears accessed bits, too, and what it takes cannot be read back "
                f"({self._why_not}): memory in use may look idle, huge pages most of all"
            )
