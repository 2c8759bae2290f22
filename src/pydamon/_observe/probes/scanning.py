"""What probes have in common that look at every page instead of at samples."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError, TargetError
from pydamon._model.mappings import MappingTable
from pydamon._model.regions import PAGE_SIZE, RegionTable
from pydamon._observe.linux.process import Process, refusal
from pydamon._observe.probes.base import Clock, Counts, PageBits, RealClock, Session

__all__ = ["PRESENT", "Pagemap", "PagemapSession", "ScanSession"]

PRESENT = np.uint64(1 << 63)
"""Of an entry of /proc/PID/pagemap (Linux, Documentation/admin-guide/mm/pagemap.rst)."""


class ScanSession(Session):
    """A session that only scans; its traits say that it is exact, so it is asked for no more."""

    def __init__(self) -> None:
        self.clock: Clock = RealClock()

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        del mappings
        self._processes = list(processes)

    @abstractmethod
    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits: ...

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        raise ProbeError("this probe looks at all pages; it takes no samples")

    def tick(self, last: bool = False) -> None:
        raise ProbeError("this probe looks at all pages; it takes no samples")

    def counts(self) -> Counts:
        raise ProbeError("this probe looks at all pages; it takes no samples")

    def close(self) -> None:
        """Nothing to give back."""


class Pagemap:
    """/proc/PID/pagemap of one process, open; of one that has exited there is nothing to say."""

    fd = -1

    def __init__(self, process: Process) -> None:
        try:
            self.fd = process.open("pagemap")
        except OSError as error:
            if process.ends:
                return
            raise refusal(f"cannot watch pid {process.pid}", error) from error

    @classmethod
    def closed(cls) -> Self:
        """That of a process of which nothing can be said."""
        return cls.__new__(cls)

    def entries(self, start: int, end: int) -> NDArray[np.uint64]:
        """One entry a page of [start, end); 0 where nothing can be said."""
        found = np.zeros((end - start) // PAGE_SIZE, np.uint64)
        try:
            data = os.pread(self.fd, 8 * len(found), start // PAGE_SIZE * 8)
        except OSError:
            data = b""
        entries = np.frombuffer(data, np.uint64)
        found[: len(entries)] = entries
        return found

    def close(self) -> None:
        """Close it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class PagemapSession(ScanSession):
    """One that holds the pagemap of each target."""

    def __init__(self) -> None:
        super().__init__()
        self._pagemaps: list[Pagemap] = []

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        super().set_targets(processes, mappings)
        self._close_pagemaps()
        for process in processes:
            try:
                self._pagemaps.append(Pagemap(process))
            except TargetError as error:
                self._pagemaps.append(Pagemap.closed())
                self._give_up(process, error)

    def close(self) -> None:
        self._close_pagemaps()

    def _close_pagemaps(self) -> None:
        for pagemap in self._pagemaps:
            pagemap.close()
        self._pagemaps = []
