"""The seam between the engine and what can tell that a page was touched.

A `Probe` says what it sees and whether it works here; `Probe.open` gives a `Session` on some
targets. A session answers two questions. *Were these sample pages touched?* is `watch`, `tick`
and `counts`, the hot path, where one call serves all regions. *Which pages of this range were
touched?* is `scan`, for exact monitoring and for ground truth.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable, TargetError, TargetGoneError
from pydamon._model.mappings import MappingTable
from pydamon._model.regions import PAGE_SIZE, Ranges, RegionTable
from pydamon._model.spots import SPOT_BYTES
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.process import Process

__all__ = [
    "Availability",
    "Clock",
    "Counts",
    "ManyBits",
    "PageBits",
    "Probe",
    "RealClock",
    "Session",
    "Traits",
    "sampling_schedule",
]


@dataclass(frozen=True, slots=True)
class Traits:
    """What a probe is: facts for people, and those that the engine goes by."""

    sees: str
    grain: str
    needs: str
    side_effects: str
    follows_mappings: bool = False
    """Cannot tell apart two parts of one mapping: regions are then the mappings, never split."""
    scans: bool = False
    """Can tell which pages of a range were touched."""
    exact: bool = False
    """Every aggregation looks at every page, instead of at samples."""
    by_name_only: bool = False
    """Sees something else than the others, or costs more: taken only where it is asked for."""
    min_samples: int = 5
    """Samples an aggregation should hold before its counts mean much."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a probe works here, for this user; if not, why, and what would make it work."""

    works: bool
    reason: str = ""
    hint: str = ""
    note: str = ""
    """What is worth knowing of figures though it works."""

    def require(self) -> None:
        """Raise `ProbeUnavailable` unless it works."""
        if not self.works:
            raise ProbeUnavailable(self.reason, hint=self.hint)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a session found since `watch`, one entry a region.

    `checks` is how often the region was sampled and `hits` how many of those found an access;
    both may be fractions. `unobservable` counts samples that could not be watched (they are not
    in `checks`). `touched` is the share of the region's bytes known to have been accessed, and
    `split_hint` an address with all samples that hit on one side and all others on the other, or 0;
    `resident` is the share of the region's bytes that is in memory. `None` where the probe cannot
    tell. `lost` says that a target has another address space now (it
    called exec) or none: look at its mappings again.
    """

    hits: NDArray[np.float64]
    checks: NDArray[np.float64]
    unobservable: NDArray[np.float64]
    touched: NDArray[np.float64] | None = None
    split_hint: NDArray[np.int64] | None = None
    resident: NDArray[np.float64] | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class PageBits:
    """What a scan found from address `start` on, one entry for each 4 KiB page.

    `huge` marks pages that a huge page maps: their accessed bit is that of all of it.
    `unobservable` marks pages that were accessed once but cannot be reset, so that nothing can
    be said of them now; they are never marked `accessed`.
    """

    start: int
    present: NDArray[np.bool_]
    huge: NDArray[np.bool_]
    accessed: NDArray[np.bool_]
    unobservable: NDArray[np.bool_]

    @property
    def accessed_bytes(self) -> int:
        """Bytes of the pages found accessed."""
        return int(self.accessed.sum()) * PAGE_SIZE


@dataclass(frozen=True, slots=True)
class ManyBits:
    """What a scan of several stretches found: flat arrays as `Stretches` has them.

    `gone` says of each stretch that its target has no such address space any more: nothing can be
    said of its pages then.
    """

    present: NDArray[np.bool_]
    accessed: NDArray[np.bool_]
    unobservable: NDArray[np.bool_]
    gone: NDArray[np.bool_]


def sampling_schedule(
    share: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """At which ticks to sample each region: those whose number plus the second is a multiple of
    the first. Evenly spaced turns vary less in number than a decision by lot at each tick."""
    wanted = 1 / np.maximum(share, 1e-6)
    period = (wanted + rng.random(len(share))).astype(np.int64)
    return period, rng.integers(0, period)


class Clock(Protocol):
    """Time as a session knows it: the machine's, or a simulation's."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds."""
        ...

    def unix_ns(self, now_ns: int) -> int:
        """The Unix time of a moment that `now_ns` gave; never runs backwards."""
        ...

    def cpu_ns(self) -> int:
        """CPU time that this thread has used so far."""
        ...

    def wait_until(self, deadline_ns: int) -> None:
        """Return at *deadline_ns*, or at once where that has passed."""
        ...


class RealClock:
    """The machine's monotonic clock."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def unix_ns(self, now_ns: int) -> int:
        return self._offset_ns + now_ns

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def cpu_ns(self) -> int:
        return time.thread_time_ns()

    def wait_until(self, deadline_ns: int) -> None:
        left_ns = deadline_ns - time.monotonic_ns()
        if left_ns > 0:
            time.sleep(left_ns / 1e9)


class Session(Closing):
    """A probe at work on some targets."""

    clock: Clock
    interruption_ns: int = 0
    """An upper estimate of the time that clearing took from the targets' threads so far."""
    _processes: Sequence[Process] = ()

    @property
    def caveat(self) -> str:
        """Why figures may be wrong at the moment; empty where nothing is known to be amiss."""
        return ""

    @abstractmethod
    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        """Watch these processes, with what they map now; a region's `target` is an index into them.

        Regions watched before are forgotten: call `watch` next.
        """

    @abstractmethod
    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        """Sample these regions from now on; counts start at 0.

        A region is sampled at a *share* of the ticks (one for all regions, or one for each), in
        turns that do not depend on what would be found, so that cost can be bounded without a bias.
        """

    @abstractmethod
    def tick(self, last: bool = False) -> None:
        """Check the samples taken at the last tick, and take new ones unless this is the *last*."""

    @abstractmethod
    def counts(self) -> Counts:
        """What was found since `watch`."""

    @abstractmethod
    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        """Which pages of a range were touched since they were last cleared.

        Clears them again if *clear* is set. Raises `ProbeError` where the probe cannot scan, and
        `TargetGoneError` where it has seen that the target has no such address space any more.
        """

    def scan_many(self, stretches: Stretches, *, clear: bool) -> ManyBits:
        """As `scan`, of several stretches of targets at once; none of them has an error.

        In one go this costs less, where targets are many and small.
        """
        found = np.zeros((3, int(stretches.offsets[-1])), np.bool_)
        gone = np.zeros(len(stretches), np.bool_)
        for index in range(len(stretches)):
            mine = slice(*stretches.offsets[index : index + 2].tolist())
            place = (int(column[index]) for column in (stretches.start, stretches.end))
            try:
                bits = self.scan(int(stretches.target[index]), *place, clear=clear)
            except TargetGoneError:
                gone[index] = True
                continue
            found[:, mine] = bits.present, bits.accessed, bits.unobservable
        return ManyBits(found[0], found[1], found[2], gone)

    def populated(self) -> list[Ranges] | None:
        """For each target where it has memory at all; all that can be accessed lies in there.

        `None` where the probe cannot tell cheaply, whatever the size of the address space.
        """
        return None

    def _give_up(self, process: Process, reason: TargetError) -> None:
        """Watch a process no longer; raises *reason* where no other one is left."""
        process.give_up(reason)
        if not any(one.alive for one in self._processes):
            raise reason

    def look(self, target: int, spots: NDArray[np.int64], *, clear: bool) -> NDArray[np.float64]:
        """Which share of each spot was touched since it was last cleared.

        *spots* are sorted addresses, multiples of `SPOT_BYTES`, each standing for as many bytes.
        NaN where nothing can be said, because the spot cannot be cleared: that shows when *clear*
        is set. Raises `ProbeError` where the probe cannot scan.
        """
        share = np.empty(len(spots))
        for index, start in enumerate(spots.tolist()):
            bits = self.scan(target, start, start + SPOT_BYTES, clear=clear)
            share[index] = np.nan if bits.unobservable.any() else bits.accessed.mean()
        return share

    def clear_whole(self, target: int) -> bool:
        """Clear all of a target at once, before its ranges are gone through.

        Does nothing, and says so, where `scan` does better.
        """
        del target
        return False

    def leaves_much(self, target: int) -> bool:
        """Whether `scan` cleared so little of a target that `clear_shared` is to follow."""
        del target
        return False

    def clear_shared(self, target: int) -> bool:
        """Clear all of a target, even what `scan` cannot clear; whether that was possible.

        No TLB is flushed: what is in one, and stays there, will not be seen to be touched.
        """
        del target
        return False


class Probe(Protocol):
    """A way to find out that memory was accessed."""

    @property
    def name(self) -> str:
        """What `--probe` calls it."""
        ...

    @property
    def traits(self) -> Traits:
        """What it is and needs."""
        ...

    def availability(self) -> Availability:
        """Try whether the probe works here, for this user; cheap enough to ask at every start."""
        ...

    def open(self) -> Session:
        """Start, with no targets yet; raises `ProbeUnavailable` where it does not work here."""
        ...
