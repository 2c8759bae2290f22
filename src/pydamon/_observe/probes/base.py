"""The seam between the engine and the ways to find out that a page was accessed.

A `Probe` says what it sees and whether it works on this machine; `Probe.open` starts a `Session`
on some targets. A session answers two questions. *Were these sample pages accessed?* is `watch`,
`tick` and `counts`, the hot path, where one call serves all regions. *Which pages of this range
were accessed?* is `scan`, for exact monitoring and for ground truth.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable, TargetError, TargetGoneError
from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import PAGE_SIZE, Ranges
from pydamon._model.regions import RegionTable
from pydamon._model.spots import SPOT_BYTES
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.epochs import Epochs

__all__ = [
    "PAGE_GRAIN",
    "Availability",
    "Clock",
    "Counts",
    "ManyBits",
    "PageBits",
    "Probe",
    "RealClock",
    "Session",
    "Traits",
    "Witness",
    "sampling_schedule",
]


PAGE_GRAIN = f"a page ({PAGE_SIZE >> 10} KiB, or the huge page)"
"""The grain of probes that see single pages."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a probe can do: texts for people, and what the engine chooses a collector by."""

    sees: str
    """Which accesses the probe sees."""
    grain: str
    """The smallest piece of memory that it tells apart from others."""
    needs: str
    """The rights and the kernel that it needs."""
    side_effects: str
    """What it does to the target."""
    follows_mappings: bool = False
    """It cannot tell parts of a mapping apart: regions are whole mappings, and never split."""
    scans: bool = False
    """It can tell which pages of a range were accessed."""
    exact: bool = False
    """It looks at every page in every aggregation, and takes no samples."""
    by_name_only: bool = False
    """Users must name it: it sees something else than other probes, or costs more."""
    by_epochs_only: bool = False
    """It takes samples by epochs only, and cannot sample plainly."""
    min_samples: int = 5
    """How many samples an aggregation should have before its counts mean much."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a probe works on this machine, for this user."""

    works: bool
    reason: str = ""
    """Why the probe does not work."""
    hint: str = ""
    """What would make it work."""
    note: str = ""
    """What to know about its figures, though it works."""

    def require(self) -> None:
        """Raise `ProbeUnavailable` unless the probe works."""
        if not self.works:
            raise ProbeUnavailable(self.reason, hint=self.hint)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a session counted since `watch`: arrays with one entry a region."""

    hits: NDArray[np.float64]
    """How many of the `checks` found an access; may be a fraction."""
    checks: NDArray[np.float64]
    """How many samples were checked."""
    unobservable: NDArray[np.float64]
    """How many samples could not be watched; they are not in `checks`."""
    touched: NDArray[np.float64] | None = None
    """The share of the region's bytes that was accessed; `None` if the probe cannot tell."""
    split_hint: NDArray[np.int64] | None = None
    """An address that parts the samples with an access from all others, 0 for none; or `None`."""
    resident: NDArray[np.float64] | None = None
    """The share of the region's bytes that is in memory; `None` if the probe cannot tell."""
    repeated: NDArray[np.float64] | None = None
    """The share of the region's bytes that counts in another target, too; NaN where that is not
    known, `None` if the probe cannot tell."""
    lost: bool = False
    """A target has another address space now (it called exec), or none: read its mappings again."""


@dataclass(frozen=True, slots=True)
class PageBits:
    """The pages from address `start` on: arrays with one entry for each 4 KiB page.

    `huge` marks parts of a huge page, which has a single accessed bit. `unobservable` marks pages
    whose accessed bit is set and cannot be cleared, so that nothing is known of them; they are
    never marked `accessed`.
    """

    start: int
    present: NDArray[np.bool_]
    huge: NDArray[np.bool_]
    accessed: NDArray[np.bool_]
    unobservable: NDArray[np.bool_]

    @property
    def accessed_bytes(self) -> int:
        """Bytes of the accessed pages."""
        return int(self.accessed.sum()) * PAGE_SIZE


@dataclass(frozen=True, slots=True)
class ManyBits:
    """The pages of several stretches: flat arrays, as `Stretches` explains.

    `gone` has one entry a stretch: its target does not have this address space any more, so that
    nothing is known of its pages.
    """

    present: NDArray[np.bool_]
    accessed: NDArray[np.bool_]
    unobservable: NDArray[np.bool_]
    gone: NDArray[np.bool_]


def sampling_schedule(
    share: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the ticks at which to sample each region, a *share* of them.

    Returns period and phase: a region is sampled when tick number + phase is a multiple of period.
    The number of such evenly spaced samples varies less than that of independent random ones.
    """
    wanted = 1 / np.maximum(share, 1e-6)
    period = (wanted + rng.random(len(share))).astype(np.int64)
    return period, rng.integers(0, period)


class Clock(Protocol):
    """The clock of a session: the machine's, or a simulated one."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds."""
        ...

    def unix_ns(self, now_ns: int) -> int:
        """The Unix time of a value of `now_ns`; never runs backwards."""
        ...

    def cpu_ns(self) -> int:
        """CPU time that this thread has used."""
        ...

    def wait_until(self, deadline_ns: int) -> None:
        """Wait until *deadline_ns*; return at once if that has passed."""
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


Accessed: TypeAlias = tuple[NDArray[np.int64], NDArray[np.bool_] | NDArray[np.uint16]]
"""Order keys, and which of the pages from each key on are accessed: a row for each key, or a bit
for each of 16 pages."""
Witness: TypeAlias = Callable[[Callable[[], Accessed]], None]
"""Takes a function that tells which pages are accessed now. It is called later, if at all."""


class Session(Closing):
    """A probe at work on some targets."""

    clock: Clock
    interruption_ns: int = 0
    """An upper estimate of the time that the targets' threads lost to clears so far."""
    witness: Witness | None = None
    """Told which pages are accessed before their accessed bits are cleared."""
    _processes: Sequence[Process] = ()

    @property
    def caveat(self) -> str:
        """Why figures may be wrong at the moment; empty where no reason is known."""
        return ""

    @abstractmethod
    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        """Watch these processes and their *mappings*; the `target` of a region is an index of both.

        The session forgets the regions: call `watch` next.
        """

    @abstractmethod
    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        """Sample these regions from now on; counts start at 0.

        A region is sampled at a *share* of the ticks (one share for all regions, or one for each).
        The choice of ticks does not depend on accesses, so that it bounds the cost without a bias.
        """

    @abstractmethod
    def tick(self, last: bool = False) -> None:
        """Check the samples of the previous tick, and take new ones unless this is the *last*."""

    @abstractmethod
    def counts(self) -> Counts:
        """The counts since `watch`."""

    def epochs(self) -> Epochs | None:
        """Survival sampling, in place of `watch`, `tick` and `counts`; `None` if it cannot."""
        return None

    @abstractmethod
    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        """Find out which pages of a range were accessed since they were last cleared.

        With *clear*, clear them again. Raises `ProbeError` if the probe cannot scan, and
        `TargetGoneError` if it sees that the target does not have this address space any more.
        """

    def scan_many(
        self, stretches: Stretches, *, clear: bool, kept: NDArray[np.bool_] | None = None
    ) -> ManyBits:
        """Scan several stretches; targets that are gone raise no error.

        The *kept* pages (flat) need not be cleared, if that costs less. A session can make this
        cheaper than single scans, where targets are many and small.
        """
        present, accessed, unobservable = np.zeros((3, int(stretches.offsets[-1])), np.bool_)
        gone = np.zeros(len(stretches), np.bool_)
        columns = (stretches.target, stretches.start, stretches.end)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for index, (pages, row) in enumerate(zip(stretches.slices(), rows, strict=True)):
            try:
                bits = self.scan(*row, clear=clear)
            except TargetGoneError:
                gone[index] = True
                continue
            present[pages], accessed[pages] = bits.present, bits.accessed
            unobservable[pages] = bits.unobservable
        return ManyBits(present, accessed, unobservable, gone)

    def shared_frames(self, stretches: Stretches) -> NDArray[np.uint32]:
        """Tell which pages (flat) of processes of one origin are the same: see `ForkedPages`.

        The frame, or the low bits of it, of each page that another process may map, too; 0 for
        pages that no other process maps, and where nothing is known.
        """
        return np.zeros(int(stretches.offsets[-1]), np.uint32)

    def populated(self) -> list[Ranges] | None:
        """Where each target has memory at all: every page that can be accessed lies in there.

        `None` if the probe cannot tell cheaply, whatever the size of the address space.
        """
        return None

    def _give_up(self, process: Process, reason: TargetError) -> None:
        """Stop watching a process; raises *reason* if no other process is left."""
        process.give_up(reason)
        if not any(other.alive for other in self._processes):
            raise reason

    def look(
        self, targets: NDArray[np.int32], spots: NDArray[np.int64], *, clear: bool
    ) -> NDArray[np.float64]:
        """The share of each spot of a target that was accessed since it was last cleared.

        *spots* are addresses, sorted by target and address, and multiples of `SPOT_BYTES`; a spot
        has as many bytes. The share is NaN where nothing is known: the target is gone, or the spot
        cannot be cleared; that shows when *clear* is set. Raises `ProbeError` if the probe cannot
        scan.
        """
        share = np.full(len(spots), np.nan)
        for index, (target, start) in enumerate(zip(targets.tolist(), spots.tolist(), strict=True)):
            with suppress(TargetGoneError):
                bits = self.scan(target, start, start + SPOT_BYTES, clear=clear)
                share[index] = np.nan if bits.unobservable.any() else bits.accessed.mean()
        return share

    def clear_whole(self, target: int) -> bool:
        """Clear a whole target at once, where that is better than `scan`; False if it is not.

        This comes before any range of the target is scanned.
        """
        del target
        return False

    def needs_process_wide_clear(self, target: int) -> bool:
        """Whether `scan` clears so little of a target that `clear_process_wide` must follow."""
        del target
        return False

    def clear_process_wide(self, target: int) -> bool:
        """Clear every page that a target maps, even those that `scan` cannot; False if it cannot.

        The TLB is not flushed: accesses to pages that stay in a TLB will not be seen.
        """
        del target
        return False


class Probe(Protocol):
    """A way to find out that memory was accessed."""

    @property
    def name(self) -> str:
        """The name for `--probe`."""
        ...

    @property
    def traits(self) -> Traits:
        """What the probe can do and needs."""
        ...

    def availability(self) -> Availability:
        """Try whether the probe works here; cheap enough for every start."""
        ...

    def open(self) -> Session:
        """Start a session without targets; raises `ProbeUnavailable` if it does not work here."""
        ...
