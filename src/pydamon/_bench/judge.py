"""The judge of real programs: exact scans of all accessed bits while no monitor runs.

Two observers that clear accessed bits of the same process disturb each other: each makes pages
look idle to the other. So the judge runs alone, right after a monitor has ended, and the program
must be in a steady state. Each page then has a fixed chance to be accessed in a window, and several
windows of the length of the monitor's windows estimate that chance. The agreement between single
windows of the judge tells how steady the program was, and how well any monitor could do.

The judge clears accessed bits in another way than the ebpf probe. It uses clear_refs, which also
reaches shared memory, and then MADV_COLD for the pages that were touched meanwhile, which flushes
the TLB.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pydamon._bench.scores import Score, View, score
from pydamon._bench.tools import chunks
from pydamon._model.errors import TargetError
from pydamon._model.mappings import MappingTable
from pydamon._model.regions import PAGE_SIZE
from pydamon._observe.linux.madvise import clear_refs
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.probes.base import Session
from pydamon._observe.probes.ebpf.probe import EbpfProbe
from pydamon._workloads import PageTruth

__all__ = ["ExactTruth", "judge", "judged_parts"]

Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ExactTruth:
    """The pages that some processes accessed in each of several windows.

    `parts` are tuples of pid, start address and number of pages. `accessed` has a row for each
    window, and a column for each page of all parts. `window_ns` is the median length of a window,
    and `cpu_share` the share of one CPU that the judge used.
    """

    parts: tuple[tuple[int, int, int], ...]
    accessed: Bits
    resident_bytes: int
    window_ns: float
    cpu_share: float

    @property
    def pids(self) -> list[int]:
        """The pids of the processes, in order."""
        return list(dict.fromkeys(pid for pid, _, _ in self.parts))

    def pages(self, pid: int) -> list[PageTruth]:
        """Return the chance of each page of a process to be accessed in a window."""
        return [page for part, page in self._pages(self.accessed.mean(axis=0)) if part == pid]

    def all_pages(self) -> list[PageTruth]:
        """Return the chances of the pages of all processes, in the order of `pids`."""
        return [page for _, page in self._pages(self.accessed.mean(axis=0))]

    @property
    def accessed_bytes(self) -> float:
        """The working set: the mean of the bytes accessed in a window."""
        return float(self.accessed.sum()) / len(self.accessed) * PAGE_SIZE

    @property
    def hot_bytes(self) -> float:
        """Bytes of the pages that were accessed in at least half of the windows."""
        return float((self.accessed.mean(axis=0) >= 0.5).sum()) * PAGE_SIZE

    def agreement(self) -> list[Score]:
        """Score each window against the others: the best score that a monitor can expect."""
        scores = []
        for number, row in enumerate(self.accessed):
            others = np.delete(self.accessed, number, axis=0).mean(axis=0)
            touched = row.astype(np.float64)
            pages = [page for _, page in self._pages(others)]
            scores.append(score(pages, View(touched, touched, np.zeros_like(touched))))
        return scores

    def _pages(self, chance: NDArray[np.float64]) -> list[tuple[int, PageTruth]]:
        pages, at = [], 0
        for pid, start, count in self.parts:
            part = chance[at : at + count]
            pages.append((pid, PageTruth("", start, part, np.full(count, np.nan))))
            at += count
        return pages


def judged_parts(pids: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """The memory that the judge would look at now: see `ExactTruth.parts`."""
    parts: list[tuple[int, int, int]] = []
    for pid in pids:
        with suppress(TargetError, OSError), closing(Process(pid)) as process:
            parts += _Target(process, parse_maps(read_maps(pid))).parts
    return tuple(parts)


def judge(pids: Sequence[int], window_ns: float, windows: int) -> ExactTruth:
    """Scan all memory of some processes in a number of windows, one after the other.

    A process that exits meanwhile accesses nothing from then on. Raises `TargetError` if all
    processes have exited before.
    """
    with ExitStack() as stack:
        session = stack.enter_context(EbpfProbe().open())
        targets = []
        for pid in pids:
            try:
                process = Process(pid)
                stack.callback(process.close)
                targets.append(_Target(process, parse_maps(read_maps(pid))))
            except (TargetError, OSError):
                continue
        if not targets:
            raise TargetError("the program has exited")
        session.set_targets([t.process for t in targets], [t.maps for t in targets])
        rows, lengths, cpus, resident = [], [], [], 0
        for _ in range(windows):
            begin_s = time.process_time()
            starts_ns = [_clear(session, index, target) for index, target in enumerate(targets)]
            row, resident = [], 0
            for index, (target, start_ns) in enumerate(zip(targets, starts_ns, strict=True)):
                left_ns = start_ns + window_ns - time.monotonic_ns()
                time.sleep(max(0, left_ns / 1e9))
                for low, high in target.chunks:
                    bits = session.scan(index, low, high, clear=False)
                    row.append(bits.accessed)
                    resident += int(bits.present.sum()) * PAGE_SIZE
                lengths.append(time.monotonic_ns() - start_ns)
            cpus.append((time.process_time() - begin_s) * 1e9 / window_ns)
            rows.append(np.concatenate(row))
    parts = tuple(part for target in targets for part in target.parts)
    return ExactTruth(parts, np.array(rows), resident, median(lengths), median(cpus))


@dataclass(frozen=True, slots=True)
class _Target:
    """A process, and its mappings at the start."""

    process: Process
    maps: MappingTable

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """Ranges of the mapped memory, each small enough for a scan."""
        return chunks(self.maps.runs.tolist())

    @property
    def parts(self) -> list[tuple[int, int, int]]:
        """The same, as pid, start address and number of pages."""
        pid = self.process.pid
        return [(pid, low, (high - low) // PAGE_SIZE) for low, high in self.chunks]


def _clear(session: Session, index: int, target: _Target) -> int:
    """Clear all accessed bits of a target, and return the time (monotonic ns)."""
    if target.process.alive:
        with suppress(OSError):  # it exited just now
            clear_refs(target.process)
        for low, high in target.chunks:
            session.scan(index, low, high, clear=True)
    return time.monotonic_ns()
