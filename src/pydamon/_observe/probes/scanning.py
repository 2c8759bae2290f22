"""The common part of probes that look at every page, and take no samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError
from pydamon._model.mappings import MappingTable
from pydamon._model.regions import RegionTable
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.pagemap import Pagemap, ProcessPages
from pydamon._observe.linux.process import Process, refusal
from pydamon._observe.probes.base import Clock, Counts, PageBits, RealClock, Session

__all__ = ["PagemapSession", "ScanSession", "frames_in_pagemaps"]


class ScanSession(Session):
    """A session that only scans; the traits of its probe say `exact`, so that it never samples."""

    def __init__(self) -> None:
        self.clock: Clock = RealClock()

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        del mappings
        self._processes = list(processes)

    @abstractmethod
    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits: ...

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        raise ProbeError("this probe looks at all pages, and takes no samples")

    def tick(self, last: bool = False) -> None:
        raise ProbeError("this probe looks at all pages, and takes no samples")

    def counts(self) -> Counts:
        raise ProbeError("this probe looks at all pages, and takes no samples")

    def close(self) -> None:
        """There is nothing to release."""


class PagemapSession(ScanSession):
    """A session that reads the pagemap of each target."""

    def __init__(self) -> None:
        super().__init__()
        self._pagemaps: list[Pagemap] = []

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        super().set_targets(processes, mappings)
        self._close_pagemaps()
        for process in processes:
            pagemap = Pagemap(process)
            self._pagemaps.append(pagemap)
            try:
                pagemap.open()
            except OSError as error:
                if not process.ends:
                    reason = refusal(f"cannot watch pid {process.pid}", error)
                    self._give_up(process, reason)

    def shared_frames(self, stretches: Stretches) -> NDArray[np.uint32]:
        return frames_in_pagemaps(self._pagemaps, stretches)

    def close(self) -> None:
        self._close_pagemaps()

    def _close_pagemaps(self) -> None:
        for pagemap in self._pagemaps:
            pagemap.close()
        self._pagemaps = []


def frames_in_pagemaps(
    pagemaps: Sequence[Pagemap | ProcessPages | None], stretches: Stretches
) -> NDArray[np.uint32]:
    """What `Session.shared_frames` tells, from the pagemap of each target that has one."""
    frames = np.zeros(int(stretches.offsets[-1]), np.uint32)
    columns = (stretches.target, stretches.start, stretches.end)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for pages, (target, start, end) in zip(stretches.slices(), rows, strict=True):
        pagemap = pagemaps[target]
        if pagemap is not None:
            frames[pages] = pagemap.shared_frames(start, end)
    return frames
