"""The memory of the processes that owners are of: each process, or what several share."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pydamon._data.analysis.last_maps import LastWindows
from pydamon._model.errors import RecordingError
from pydamon._model.owner_sums import MemoryFacts
from pydamon._model.owners import Owners
from pydamon._model.page_map import ABSENT_NS, PageMap, of_shared_memory, of_views
from pydamon._model.ranges import locate
from pydamon._model.snapshot import Snapshot

__all__ = ["MemoryPart", "memory_parts", "windows_of"]

_GONE_NS = 10 * 10**9
"""Targets whose last window ended so long before the last one of all have ended."""
_ADDRESSES = 100_000
"""So many addresses are enough to find the process of owners."""


class MemoryPart(NamedTuple):
    """What is known of the memory of one target, or of several that share it."""

    facts: MemoryFacts
    snapshot: Snapshot
    time_ns: int
    followed_share: float
    is_by_page: bool


def windows_of(windows: list[LastWindows], owners: Owners) -> list[LastWindows]:
    """The windows of the processes that the owners are of, and that still run.

    If all of them ended before the recording did, all count. Owners that do not say of which
    process they are belong to those that have most of their addresses.
    """
    if not windows:
        raise RecordingError("nothing was recorded by that time")
    chosen = windows
    if owners.pids:
        chosen = [each for each in windows if each.last.targets[0].pid in owners.pids]
        if not chosen:
            pids = ", ".join(map(str, owners.pids[:3]))
            known = ", ".join(str(each.last.targets[0].pid) for each in windows[:3])
            raise RecordingError(
                f"the owners are of process {pids}, and the recording is of {known}",
                hint="both must be of the same run of the program",
            )
    latest_ns = max(each.last.end_ns for each in windows)
    chosen = [each for each in chosen if each.last.end_ns >= latest_ns - _GONE_NS] or chosen
    return chosen if owners.pids or len(chosen) == 1 else _with_addresses(chosen, owners)


def _with_addresses(windows: list[LastWindows], owners: Owners) -> list[LastWindows]:
    """The windows of the processes whose mappings have most of the owners' addresses."""
    step = max(1, len(owners) // _ADDRESSES)
    start = owners.start[::step].astype(np.int64)
    end = owners.end[::step].astype(np.int64)
    counts = [
        np.count_nonzero(locate(each.last.targets[0].mappings.runs, start, end) >= 0)
        for each in windows
    ]
    return [each for each, count in zip(windows, counts, strict=True) if count * 2 >= max(counts)]


def memory_parts(windows: list[LastWindows], owners: Owners, idle_ns: int) -> list[MemoryPart]:
    """The memory of each of the targets, or what they share if the owners do.

    A process that ended before there was a map of its pages says nothing of shared memory.
    """
    if not owners.is_shared:
        return [_part(each, owners, idle_ns) for each in windows]
    mapped = [each.mapped for each in windows if each.mapped is not None]
    maps = [page_map for snapshot in mapped if (page_map := snapshot.page_maps[0]) is not None]
    if not maps:
        return [_part(windows[0], owners, idle_ns)]
    merged = of_shared_memory(maps)
    if owners.stays_resident:
        merged = _with_unmapped_pages(merged)
    facts = MemoryFacts.of_map(merged, idle_ns)
    return [MemoryPart(facts, mapped[0], merged.looked_ns, merged.followed_share, True)]


def _with_unmapped_pages(page_map: PageMap) -> PageMap:
    """Count pages that no process maps as resident, and idle for as long as any other page."""
    longest_ns = max(0, *page_map.idle_ns.tolist())
    idle_ns = np.where(page_map.idle_ns == ABSENT_NS, longest_ns, page_map.idle_ns)
    return replace(page_map, idle_ns=idle_ns)


def _part(windows: LastWindows, owners: Owners, idle_ns: int) -> MemoryPart:
    page_map = windows.mapped.page_maps[0] if windows.mapped is not None else None
    if page_map is not None and windows.mapped is not None:
        page_map = of_views(page_map, owners.views)
        facts = MemoryFacts.of_map(page_map, idle_ns)
        share = page_map.followed_share
        return MemoryPart(facts, windows.mapped, page_map.looked_ns, share, True)
    last = windows.last
    facts = _facts_of_regions(last, idle_ns)
    return MemoryPart(facts, last, last.end_ns, 1.0, False)


def _facts_of_regions(snapshot: Snapshot, idle_ns: int) -> MemoryFacts:
    """The facts of regions, each spread evenly over its region."""
    classes = snapshot.classes
    idle = classes.idle(idle_ns)
    known = classes.hot + classes.warm + classes.cold
    amounts = snapshot.size, classes.total, classes.hot, known - classes.hot - idle, idle
    return MemoryFacts(snapshot.start, snapshot.end, np.array(amounts, np.float64))
