"""Referenced pages of each mapping, from /proc/PID/smaps and clear_refs.

No privilege is needed; the grain is the mapping.
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
from pydamon._model.mappings import MappingTable
from pydamon._model.regions import PAGE_SIZE, RegionTable
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

__all__ = ["NO_SPAN", "RefsProbe", "borders"]

NO_SPAN = (2**62, 0)
"""Lowest and highest address of no samples at all."""


def borders(hit: NDArray[np.int64], miss: NDArray[np.int64]) -> NDArray[np.int64]:
    """Half-way between the samples that hit and those that did not; 0 where they lie mixed.

    *hit* and *miss* are lowest and highest addresses, one row a region: shape (n, 2).
    """
    hit_is_low = hit[:, 1] < miss[:, 0]
    below = np.where(hit_is_low, hit[:, 1], miss[:, 1])
    above = np.where(hit_is_low, miss[:, 0], hit[:, 0])
    apart = (below < above) & (below > 0) & (above < NO_SPAN[0])
    return np.where(apart, ((below + above) // 2 // PAGE_SIZE + 1) * PAGE_SIZE, 0)


_VMA = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) .*?^Rss:\s+(\d+) kB.*?^Referenced:\s+(\d+) kB",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class RefsProbe:
    """How many pages of each mapping were referenced, counted by the kernel.

    Works for one's own processes without any privilege. It cannot tell which pages they were, and
    its cost grows with the resident size (Linux, Documentation/filesystems/proc.rst, "clear_refs").
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
            found = len(_referenced(me)) > 0
        except OSError as error:
            return Availability(False, f"clear_refs and smaps: {error.strerror}")
        finally:
            me.close()
        if not found:
            hint = "the kernel must be built with CONFIG_PROC_PAGE_MONITOR"
            return Availability(False, "smaps shows no referenced pages", hint)
        return Availability(True)

    def open(self) -> RefsSession:
        """Start, with no targets yet."""
        self.availability().require()
        return RefsSession()


class RefsSession(Session):
    """A session of the `refs` probe; see `pydamon._observe.probes.Session`."""

    def __init__(self) -> None:
        self.clock: Clock = RealClock()
        self._table = RegionTable.of([], [], [])
        self._hits = self._touched = self._resident = np.empty(0)
        self._checks = 0

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        del mappings
        self._processes = list(processes)
        self._table = RegionTable.of([], [], [])

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        del share  # the kernel clears and counts whole processes
        self._table = table
        self._hits, self._touched, self._resident = np.zeros((3, len(table)))
        self._checks = 0
        self._clear_all()

    def tick(self, last: bool = False) -> None:
        for index, process in enumerate(self._processes):
            mine = np.flatnonzero(self._table.target == index)
            if not len(mine) or not process.alive:
                continue
            try:
                vmas = _referenced(process)
            except OSError as error:
                if not process.ends:
                    self._give_up(process, _refused(process, error))
                continue
            start, end = self._table.start[mine], self._table.end[mine]
            share = _overlapping(vmas[:, [0, 1, 3]], start, end) / (end - start)
            self._resident[mine] = _overlapping(vmas[:, :3], start, end) / (end - start)
            self._hits[mine] += share
            self._touched[mine] = np.maximum(self._touched[mine], share)
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
            lost=not all(process.alive for process in self._processes),
        )

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        raise ProbeError("the refs probe cannot tell which pages were touched")

    def close(self) -> None:
        """Nothing to give back."""

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
    """Start, end, resident and referenced bytes of each mapping: shape (n, 4)."""
    rows = [
        (int(start, 16), int(end, 16), int(rss_kib) * 1024, int(referenced_kib) * 1024)
        for start, end, rss_kib, referenced_kib in _VMA.findall(process.read("smaps"))
        if len(start) < 16  # the vsyscall page lies in the kernel's half
    ]
    return np.array(rows, np.int64).reshape(-1, 4)


def _overlapping(
    vmas: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Bytes within some ranges, if those of each mapping (start, end, bytes) are spread evenly."""
    if not len(vmas):
        return np.zeros(len(start))
    # Bytes below an address grow linearly within a mapping and stand still between.
    size = vmas[:, 1] - vmas[:, 0]
    points = np.stack([vmas[:, 0], vmas[:, 0] + size], axis=1).ravel()
    below = np.repeat(np.cumsum(vmas[:, 2]), 2).astype(np.float64)
    below[::2] -= vmas[:, 2]
    found: NDArray[np.float64] = np.interp(end, points, below) - np.interp(start, points, below)
    return found


def _refused(process: Process, error: OSError) -> TargetError:
    return refusal(f"cannot watch pid {process.pid}", error)
