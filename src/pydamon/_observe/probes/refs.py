"""The `refs` probe: referenced pages of each mapping, from /proc/PID/smaps and clear_refs.

It needs no privilege, and cannot tell parts of a mapping apart.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError, TargetError
from pydamon._model.mappings import MappingTable, forked_ranges, of_one_origin
from pydamon._model.ranges import Ranges, amount_within, covered
from pydamon._model.regions import RegionTable
from pydamon._observe.linux.madvise import clear_refs
from pydamon._observe.linux.process import Process, refusal
from pydamon._observe.probes.base import (
    Availability,
    Clock,
    Counts,
    PageBits,
    RealClock,
    Session,
    Traits,
)

__all__ = ["RefsProbe"]

_VMA = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) .*?^Rss:\s+(\d+) kB"
    rb".*?^Pss:\s+(\d+) kB.*?^Shared_Clean:\s+(\d+) kB\s+^Shared_Dirty:\s+(\d+) kB"
    rb".*?^Referenced:\s+(\d+) kB",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class RefsProbe:
    """Sees how many pages of each mapping were referenced, as the kernel counts them.

    It works without privileges for processes of the same user. It cannot tell which pages they
    were, and its cost grows with the resident size (Linux, Documentation/filesystems/proc.rst,
    "clear_refs").
    """

    name: str = "refs"
    traits: Traits = field(
        default=Traits(
            sees="reads and writes, except of pages that stay in the TLB all the time",
            grain="a mapping, with the number of bytes referenced in it",
            needs="a process of the same user",
            side_effects="clears the referenced bits of the whole process, holding its mmap_lock "
            "(about 0.1 us a resident page)",
            follows_mappings=True,
            min_samples=1,
        ),
        repr=False,
    )

    def availability(self) -> Availability:
        """Try on this process."""
        me = Process(os.getpid())
        try:
            clear_refs(me)
            shows_mappings = len(_referenced(me)) > 0
        except OSError as error:
            return Availability(False, f"clear_refs and smaps: {error.strerror}")
        finally:
            me.close()
        if not shows_mappings:
            hint = "the kernel must be built with CONFIG_PROC_PAGE_MONITOR"
            return Availability(False, "smaps shows no referenced pages", hint)
        return Availability(True)

    def open(self) -> RefsSession:
        """Start a session without targets."""
        self.availability().require()
        return RefsSession()


class RefsSession(Session):
    """A session of the `refs` probe; see `pydamon._observe.probes.Session`."""

    def __init__(self) -> None:
        self.clock: Clock = RealClock()
        self._table = RegionTable.of([], [], [])
        self._hits = self._touched = self._resident = np.empty(0)
        self._repeated = np.empty((2, 0))
        """The share of each region that counts elsewhere, if a page that several have counts in the
        first of them, and if each has a part of it; NaN where it can be nobody else's."""
        self._checks = 0
        self._forked: list[tuple[Ranges, Ranges]] = []
        """Memory that each target may share with others since a fork, and with lower ones."""

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        private = of_one_origin(mappings, [table.private for table in mappings])
        self._forked = list(zip(private, forked_ranges(mappings), strict=True))
        self._processes = list(processes)
        self._table = RegionTable.of([], [], [])

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        del share  # the kernel clears and counts whole processes
        self._table = table
        self._hits, self._touched, self._resident = np.zeros((3, len(table)))
        self._repeated = np.full((2, len(table)), np.nan)
        self._checks = 0
        self._clear_all()

    def tick(self, last: bool = False) -> None:
        for index, process in enumerate(self._processes):
            rows = np.flatnonzero(self._table.target == index)
            if not len(rows) or not process.alive:
                continue
            try:
                vmas = _referenced(process)
            except OSError as error:
                if not process.ends:
                    self._give_up(process, _refused(process, error))
                continue
            start, end = self._table.start[rows], self._table.end[rows]
            resident, others, shared, referenced = (
                amount_within(vmas[:, :2], vmas[:, column], start, end) / (end - start)
                for column in (2, 3, 4, 5)
            )
            may_be, forked = (
                covered(ranges, start, end) / (end - start) for ranges in self._forked[index]
            )
            told = np.stack([forked * shared, may_be * others])
            self._repeated[:, rows] = np.where(may_be > 0, told, np.nan)
            self._resident[rows] = resident
            self._hits[rows] += referenced
            self._touched[rows] = np.maximum(self._touched[rows], referenced)
        self._checks += 1
        if not last:
            self._clear_all()

    def counts(self) -> Counts:
        n = len(self._table)
        return Counts(
            self._hits.copy(),
            np.full(n, float(self._checks)),
            np.zeros(n),
            touched=self._touched.copy(),
            resident=self._resident.copy(),
            repeated=self._least_repeated(),
            lost=not all(process.alive for process in self._processes),
        )

    def _least_repeated(self) -> NDArray[np.float64]:
        """What surely counts elsewhere, of two figures that may be too high.

        In the first one what others than the first target share among themselves counts nowhere, in
        the other one the parts that nobody watches.
        """
        sums = np.nansum(self._repeated * self._table.size, axis=1)
        least: NDArray[np.float64] = self._repeated[np.argmin(sums)].copy()
        return least

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        raise ProbeError("the refs probe cannot tell which pages were touched")

    def close(self) -> None:
        """There is nothing to release."""

    def _clear_all(self) -> None:
        begin_ns = time.thread_time_ns()
        for process in self._processes:
            if not process.alive:
                continue
            try:
                clear_refs(process)
            except OSError as error:
                if not process.ends:
                    self._give_up(process, _refused(process, error))
        self.interruption_ns += time.thread_time_ns() - begin_ns


def _referenced(process: Process) -> NDArray[np.int64]:
    """Amounts of memory in each mapping, in bytes: shape (n, 6), sorted by address.

    Start, end, resident, what of that is others' part of shared pages, shared, and referenced.
    """
    rows = [
        (int(start, 16), int(end, 16), *(int(kib) * 1024 for kib in amounts))
        for start, end, *amounts in _VMA.findall(process.read("smaps"))
        if len(start) < 16  # the vsyscall page lies in the kernel's half
    ]
    start, end, resident, own, clean, dirty, used = np.array(rows, np.int64).reshape(-1, 7).T
    return np.stack([start, end, resident, resident - own, clean + dirty, used], axis=1)


def _refused(process: Process, error: OSError) -> TargetError:
    return refusal(f"cannot watch pid {process.pid}", error)
