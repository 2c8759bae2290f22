"""What huge pages would hold: blocks of their size, by how often their memory is accessed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import fold
from pydamon._data.analysis.last_maps import LastMaps
from pydamon._data.analysis.mappings import kind_of
from pydamon._data.recording import AnyRecording
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError
from pydamon._model.owner_sums import MemoryFacts
from pydamon._model.runs import expand
from pydamon._model.snapshot import Snapshot

__all__ = ["HugePoint", "HugeUse", "huge_use"]

_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.9)
_IDLE_NS = 10 * 10**9
_LEAST_RESIDENT_SHARE = 0.5
"""Blocks with less in memory are not collapsed: see the action `hugepage`."""


@dataclass(frozen=True, slots=True)
class HugePoint:
    """What it would be to back all memory with huge pages that has at least a rate.

    Parameters
    ----------
    min_rate
        The rate, as a share of sampling intervals with an access.
    blocks
        How many huge pages that makes.
    used_bytes
        What of their memory was accessed within the idle time.
    idle_bytes
        What was not, and can then be reclaimed only with the rest of its huge page.
    added_bytes
        What is not in memory now, and would be.
    """

    min_rate: float
    blocks: int
    used_bytes: int
    idle_bytes: int
    added_bytes: int

    @property
    def wasted_bytes(self) -> int:
        """Memory of these huge pages that nobody uses."""
        return self.idle_bytes + self.added_bytes


@dataclass(frozen=True)
class HugeUse(Displayable):
    """How much of huge pages would be used: see `huge_use`.

    Attributes
    ----------
    points : tuple of HugePoint
        From the lowest rate to the highest; each counts the memory of those after it, too.
    resident_bytes : int
        All memory of the targets.
    block_bytes : int
        Bytes of a huge page on the machine that was recorded.
    idle_ns : int
        Memory is used if it was accessed within this time.
    """

    points: tuple[HugePoint, ...]
    resident_bytes: int
    block_bytes: int
    idle_ns: int

    def most(self, wasted_share: float) -> HugePoint | None:
        """The most huge pages that waste at most a share of all memory; `None` if all do more."""
        limit = wasted_share * self.resident_bytes
        fitting = (point for point in self.points if point.wasted_bytes <= limit and point.blocks)
        return next(fitting, None)


def huge_use(recording: AnyRecording, *, idle_ns: int = _IDLE_NS) -> HugeUse:
    """Find out how many pages of each block of the size of a huge page are in use.

    Parameters
    ----------
    recording
        A recording with maps of pages (`MonitorOptions.page_map`); the last map of each target
        counts.
    idle_ns
        Memory is in use if it was accessed within this time.

    Raises
    ------
    RecordingError
        If the recording has no maps of pages.

    Notes
    -----
    As the action `hugepage` does, it leaves blocks alone that are less than half in memory. So it
    does with memory of files. The rate of a block is the mean over its memory.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> MIB = 1 << 20
    >>> trace = Trace((Phase(10**9, (Access(0, 64 * MIB, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 * MIB)], page_map="5s")
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("20s"))
    >>> point = pydamon.analysis.huge_use(recording).most(0.05)
    >>> point.blocks * 2, point.wasted_bytes
    (64, 0)
    """
    maps = LastMaps()
    fold(recording, maps)
    page_size = recording.info.page_size
    block_bytes = page_size * page_size // 8
    parts = []
    for windows in maps.windows():
        page_map = windows.mapped.page_maps[0] if windows.mapped is not None else None
        if windows.mapped is not None and page_map is not None:
            facts = MemoryFacts.of_map(page_map, idle_ns)
            blocks = _blocks(windows.mapped, facts, block_bytes)
            parts.append((blocks, facts.totals[1], page_map.followed_share))
    if not parts:
        raise RecordingError(
            "the recording has no maps of pages",
            hint="record with --page-map, as root, for a minute or longer",
        )
    rate, resident, idle = (
        np.concatenate([getattr(blocks, name) for blocks, _, _ in parts])
        for name in ("rate", "resident", "idle")
    )
    # A part of the blocks stands for all.
    weight = np.concatenate([np.full(len(blocks), 1 / share) for blocks, _, share in parts])
    points = [_point(least, rate, resident, idle, weight, block_bytes) for least in _RATES]
    total = sum(resident_bytes / share for _, resident_bytes, share in parts)
    return HugeUse(tuple(points), round(total), block_bytes, idle_ns)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Blocks that could be huge pages: the rate of each, its resident bytes and its idle bytes."""

    rate: NDArray[np.float64]
    resident: NDArray[np.float64]
    idle: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rate)


def _blocks(snapshot: Snapshot, facts: MemoryFacts, block_bytes: int) -> _Blocks:
    """The blocks of followed memory that can be huge pages."""
    first, beyond = snapshot.start // block_bytes, -(-snapshot.end // block_bytes)
    region, place = expand(beyond - first)
    number, row = np.unique(first[region] + place, return_inverse=True)
    start = number * block_bytes
    low = np.maximum(snapshot.start[region], start[row])
    high = np.minimum(snapshot.end[region], start[row] + block_bytes)
    rate = np.bincount(row, snapshot.access_share[region] * (high - low)) / block_bytes
    followed, resident, _, _, idle = facts.within(start, start + block_bytes)
    chosen = (followed > 0) & (resident >= _LEAST_RESIDENT_SHARE * block_bytes)
    chosen &= ~_of_files(snapshot, start)
    return _Blocks(rate[chosen], resident[chosen], idle[chosen])


def _of_files(snapshot: Snapshot, address: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a file is mapped at each address."""
    mappings = sorted(snapshot.targets[0].mappings.mappings, key=lambda each: each.start)
    starts = np.array([0, *(each.start for each in mappings)], np.int64)
    is_file = np.array([False, *(kind_of(each.name) == "file" for each in mappings)])
    of_file: NDArray[np.bool_] = is_file[np.searchsorted(starts, address, side="right") - 1]
    return of_file


def _point(
    least: float,
    rate: NDArray[np.float64],
    resident: NDArray[np.float64],
    idle: NDArray[np.float64],
    weight: NDArray[np.float64],
    block_bytes: int,
) -> HugePoint:
    weight = np.where(rate >= least, weight, 0.0)
    return HugePoint(
        least,
        round(weight.sum()),
        round(float(((resident - idle) * weight).sum())),
        round(float((idle * weight).sum())),
        round(float(((block_bytes - resident) * weight).sum())),
    )
