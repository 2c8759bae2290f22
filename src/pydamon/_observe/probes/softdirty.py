"""The `softdirty` probe: which pages were written to, for processes of the same user.

Linux, Documentation/admin-guide/mm/soft-dirty.rst.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import PAGE_SIZE, order_keys
from pydamon._observe.linux.madvise import clear_soft_dirty
from pydamon._observe.linux.pagemap import Entry, Pagemap
from pydamon._observe.linux.process import Process, refusal
from pydamon._observe.probes.base import PAGE_GRAIN, Availability, PageBits, Traits
from pydamon._observe.probes.scanning import PagemapSession

__all__ = ["SoftDirtyProbe"]


@dataclass(frozen=True, slots=True)
class SoftDirtyProbe:
    """Sees which pages were written to since their soft-dirty bits were last cleared."""

    name: str = "softdirty"
    traits: Traits = field(
        default=Traits(
            sees="writes",
            grain=PAGE_GRAIN,
            needs="a process of the same user; CONFIG_MEM_SOFT_DIRTY",
            side_effects="write-protects all pages of the process once an aggregation, under its "
            "mmap_lock; the next write to each page is a page fault",
            scans=True,
            exact=True,
            by_name_only=True,
            min_samples=1,
        ),
        repr=False,
    )

    def availability(self) -> Availability:
        """Try on a page of this process."""
        hint = "the kernel must be built with CONFIG_MEM_SOFT_DIRTY"
        me = Process(os.getpid())
        with Pagemap(me) as pagemap:
            try:
                pagemap.open()
                dirty = _sees_a_write(pagemap)
            except OSError as error:
                return Availability(False, str(refusal(f"cannot watch pid {me.pid}", error)))
            finally:
                me.close()
        if not dirty:
            return Availability(False, "a page that was written to is not marked as such", hint)
        return Availability(True)

    def open(self) -> SoftDirtySession:
        """Start a session without targets."""
        self.availability().require()
        return SoftDirtySession()


class SoftDirtySession(PagemapSession):
    """A session of the `softdirty` probe; see `pydamon._observe.probes.Session`."""

    def __init__(self) -> None:
        super().__init__()
        self._clean: set[int] = set()
        """Targets that were cleared as a whole since they were last scanned."""

        self._memory: Sequence[MappingTable] = ()

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        super().set_targets(processes, mappings)
        self._memory = mappings
        self._clean.clear()

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        entries = self._pagemaps[target].entries(start, end)
        if not clear:
            self._clean.discard(target)
        elif target not in self._clean:
            self._clear(target)
        present = (entries & Entry.PRESENT) != 0
        dirty = (entries & Entry.SOFT_DIRTY) != 0
        nothing = np.zeros_like(present)
        return PageBits(start, present, nothing, present & dirty, nothing)

    def clear_whole(self, target: int) -> bool:
        self._witness_target(target)
        self._clear(target)
        self._clean.add(target)
        return True

    def _witness_target(self, target: int) -> None:
        """Tell the witness which pages of a target were written to."""
        if self.witness is None:
            return
        found = [np.zeros(0, np.int64)]
        for start, end in self._memory[target].runs.tolist():
            written = np.flatnonzero(self.scan(target, start, end, clear=False).accessed)
            found.append(start + written * PAGE_SIZE)
        pages = np.concatenate(found)
        keys = order_keys(np.full(len(pages), target), pages)
        self.witness(lambda: (keys, np.ones((len(keys), 1), np.bool_)))

    def _clear(self, target: int) -> None:
        process = self._processes[target]
        try:
            clear_soft_dirty(process)
        except OSError as error:
            if process.ends:
                return
            self._give_up(process, refusal(f"cannot watch pid {process.pid}", error))


def _sees_a_write(pagemap: Pagemap) -> bool:
    with mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as page:
        address = np.frombuffer(page, np.uint8).ctypes.data
        page[0] = 1
        return bool(pagemap.entries(address, address + mmap.PAGESIZE)[0] & Entry.SOFT_DIRTY)
