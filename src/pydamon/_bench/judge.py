"""The judge of real programs: every accessed bit of theirs, read while no monitor watches.

Two observers that clear accessed bits of one process disturb each other: each makes pages look
idle to the other. So the judge has the program for itself, right after a monitor has ended, and the
program must be in a steady state: what it accesses in a window is then a matter of chance, with
one chance for each page, and several windows of the length of the monitor's tell that chance. How
well single windows of the judge agree with its others says how steady the program was, and how
well anybody could have told.

It clears in another way than the probe that it judges: by clear_refs, which also reaches memory
that processes share; then by MADV_COLD what was touched meanwhile, which flushes the TLB.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
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
from pydamon._observe.linux.maps import parse_maps, read_maps
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.base import Session
from pydamon._observe.probes.ebpf.probe import EbpfProbe
from pydamon._workloads import PageTruth

__all__ = ["ExactTruth", "judge"]

Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ExactTruth:
    """What some processes accessed in each of several windows (of `window_ns` in the median).

    `parts` say which process (pid) the bytes from `start` on belong to; `accessed` has a row for
    each window, with one entry for each page of all parts. `resident_bytes` is how much is there.
    """

    parts: tuple[tuple[int, int, int], ...]
    accessed: Bits
    resident_bytes: int
    window_ns: float
    cpu_share: float

    @property
    def pids(self) -> list[int]:
        """The processes, in order."""
        return list(dict.fromkeys(pid for pid, _, _ in self.parts))

    def pages(self, pid: int) -> list[PageTruth]:
        """The chance of each page of a process to be accessed in a window."""
        return [page for part, page in self._pages(self.accessed.mean(axis=0)) if part == pid]

    def all_pages(self) -> list[PageTruth]:
        """The same of every process, one after the other."""
        return [page for _, page in self._pages(self.accessed.mean(axis=0))]

    @property
    def accessed_bytes(self) -> float:
        """The working set: what was accessed in a window, in the mean."""
        return float(self.accessed.sum()) / len(self.accessed) * PAGE_SIZE

    @property
    def hot_bytes(self) -> float:
        """Pages with at least an even chance of being accessed in a window."""
        return float((self.accessed.mean(axis=0) >= 0.5).sum()) * PAGE_SIZE

    def agreement(self) -> list[Score]:
        """Of each window, how well it tells the others: what exact knowledge is worth here."""
        scores = []
        for number, row in enumerate(self.accessed):
            others = np.delete(self.accessed, number, axis=0).mean(axis=0)
            seen = row.astype(np.float64)
            pages = [page for _, page in self._pages(others)]
            scores.append(score(pages, View(seen, seen, np.zeros_like(seen))))
        return scores

    def _pages(self, chance: NDArray[np.float64]) -> list[tuple[int, PageTruth]]:
        pages, at = [], 0
        for pid, start, count in self.parts:
            part = chance[at : at + count]
            pages.append((pid, PageTruth("", start, part, np.full(count, np.nan))))
            at += count
        return pages


def judge(pids: Sequence[int], window_ns: float, windows: int) -> ExactTruth:
    """Look at all memory of some processes in so many windows, one after the other.

    Those that end meanwhile access nothing. Raises `TargetError` if none is there.
    """
    with ExitStack() as stack:
        session = stack.enter_context(EbpfProbe().open())
        looked_at = []
        for pid in pids:
            try:
                process = Process(pid)
                stack.callback(process.close)
                looked_at.append(_Looked(process, parse_maps(read_maps(pid))))
            except (TargetError, OSError):
                continue
        if not looked_at:
            raise TargetError("the program has ended")
        session.set_targets([one.process for one in looked_at], [one.maps for one in looked_at])
        rows, lengths, cpus, resident = [], [], [], 0
        for _ in range(windows):
            begin_s = time.process_time()
            starts_ns = [_clear(session, target, one) for target, one in enumerate(looked_at)]
            row, resident = [], 0
            for target, (one, start_ns) in enumerate(zip(looked_at, starts_ns, strict=True)):
                left_ns = start_ns + window_ns - time.monotonic_ns()
                time.sleep(max(0, left_ns / 1e9))
                for low, high in one.chunks:
                    bits = session.scan(target, low, high, clear=False)
                    row.append(bits.accessed)
                    resident += int(bits.present.sum()) * PAGE_SIZE
                lengths.append(time.monotonic_ns() - start_ns)
            cpus.append((time.process_time() - begin_s) * 1e9 / window_ns)
            rows.append(np.concatenate(row))
    parts = tuple(
        (one.process.pid, low, (high - low) // PAGE_SIZE)
        for one in looked_at
        for low, high in one.chunks
    )
    return ExactTruth(parts, np.array(rows), resident, median(lengths), median(cpus))


@dataclass(frozen=True, slots=True)
class _Looked:
    process: Process
    maps: MappingTable

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """Its memory, in pieces."""
        return chunks(self.maps.runs.tolist())


def _clear(session: Session, target: int, one: _Looked) -> int:
    """Clear all of a process; when (monotonic ns) that was done."""
    if one.process.alive:
        with suppress(OSError):  # it has just ended
            clear_refs(one.process)
        for low, high in one.chunks:
            session.scan(target, low, high, clear=True)
    return time.monotonic_ns()
