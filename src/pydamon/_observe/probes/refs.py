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
from pydamon._model.mappings import MappingTable, forked_ranges
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
    rb".*?^Shared_Clean:\s+(\d+) kB\s+^Shared_Dirty:\s+(\d+) kB.*?^Referenced:\s+(\d+) kB",
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
        self._hits = self._touched = self._resident = self._repeated = np.empty(0)
        self._checks = 0
        self._forked: list[Ranges] = []
        """Memory of each target that a lower one may share with it since a fork."""

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        self._forked = forked_ranges(mappings)
        self._processes = list(processes)
        self._table = RegionTable.of([], [], [])

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        del share  # the kernel clears and counts whole processes
        self._table = table
        self._hits, self._touched, self._resident = np.zeros((3, len(table)))
        self._repeated = np.full(len(table), np.nan)
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
            resident, shared, referenced = (
                amount_within(vmas[:, :2], vmas[:, column], start, end) / (end - start)
                for column in (2, 3, 4)
            )
            forked = covered(self._forked[index], start, end) / (end - start)
            # Whom a page is shared with is not told: most likely those of the same origin.
            self._repeated[rows] = np.where(forked > 0, forked * shared, np.nan)
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
            repeated=self._repeated.copy(),
            lost=not all(process.alive for process in self._processes),
        )

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
    """Start, end, resident, shared and referenced bytes of each mapping: shape (n, 5), sorted."""
    rows = [
        (int(start, 16), int(end, 16), *(int(kib) * 1024 for kib in amounts))
        for start, end, *amounts in _VMA.findall(process.read("smaps"))
        if len(start) < 16  # the vsyscall page lies in the kernel's half
    ]
    start, end, resident, clean, dirty, referenced = np.array(rows, np.int64).reshape(-1, 6).T
    return np.stack([start, end, resident, clean + dirty, referenced], axis=1)


def _refused(process: Process, error: OSError) -> TargetError:
    return refusal(f"cannot watch pid {process.pid}", error)
