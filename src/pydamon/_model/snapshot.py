"""What one aggregation found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pydamon._model.classify import UNKNOWN, RegionClasses, RegionFacts, classify
from pydamon._model.display import Displayable
from pydamon._model.mappings import Mapping, MappingTable

__all__ = ["UNKNOWN", "Cost", "Footprint", "Snapshot", "SnapshotRegion", "Target"]

_NOT_GIVEN = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Target:
    """A monitored address space: `pid` is 0 where no process is behind it.

    `started_ns` is when that process started (Unix time), which tells it from others that had or
    will have its pid; 0 is not known. `host` is where it ran, where there are several hosts.
    """

    pid: int
    name: str = ""
    mappings: MappingTable = field(default_factory=MappingTable, compare=False, repr=False)
    started_ns: int = 0
    host: str = ""

    @property
    def key(self) -> tuple[str, int, int, str]:
        """What it is, whatever it is called by now: host, pid and start.

        Where the start is not known, only the name can tell two processes of one pid apart.
        """
        return self.host, self.pid, self.started_ns, "" if self.started_ns else self.name


@dataclass(frozen=True, slots=True)
class Cost:
    """What one aggregation cost.

    `cpu_ns` is CPU time of the monitor, `interruption_ns` an upper estimate of the time that the
    target's threads lost to it, `late_ticks` the number of samples that could not be taken in time.
    """

    cpu_ns: int = 0
    interruption_ns: int = 0
    late_ticks: int = 0


@dataclass(frozen=True, slots=True)
class Footprint:
    """How much a process has mapped (VSZ), and how much of it is in memory (RSS).

    Both are 0 where that is not known.
    """

    vsz_bytes: int = 0
    rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotRegion:
    """One region of a snapshot, for people; `Snapshot` has the columns."""

    target: Target
    start: int
    end: int
    nr_accesses: int
    age: int
    touched_bytes: int
    unobservable_bytes: int
    mapping: Mapping | None
    age_ns: int = UNKNOWN
    resident_bytes: int = UNKNOWN
    unseen_bytes: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class Snapshot(Displayable):
    """The regions of every target at the end of one aggregation.

    `start_ns` and `end_ns` bound the window as it was measured (Unix time). The columns have one
    entry a region, sorted by target and address: `target` indexes `targets`; `start` and `end`
    are bytes; `nr_accesses` counts the samples that found the region accessed, of at most
    `max_nr_accesses` (scaled, where the CPU budget allowed fewer samples than were asked for, one
    every `sampling_ns`); `age` counts aggregations for which that has held, and `age_ns` is the
    same as a time (`UNKNOWN` where nobody knows).

    `touched_bytes` is how much of the region was accessed in the window as far as the probe can
    tell; `unobservable_bytes` how much of it the probe could not watch, and `unseen_bytes` how much
    of it nobody has looked at yet; `resident_bytes` is how much of it is in memory (`UNKNOWN` where
    nobody knows), and `repeated_bytes` the part of that which counts in another target too, because
    both share it. `footprints`, where they are known, has one entry a target, as of the last update
    interval.
    """

    start_ns: int
    end_ns: int
    sampling_ns: int
    max_nr_accesses: int
    targets: tuple[Target, ...]
    target: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_accesses: NDArray[np.int64]
    age: NDArray[np.int64]
    touched_bytes: NDArray[np.int64]
    unobservable_bytes: NDArray[np.int64]
    cost: Cost = field(default_factory=Cost)
    footprints: tuple[Footprint, ...] = ()
    age_ns: NDArray[np.int64] = field(default_factory=lambda: _NOT_GIVEN)
    resident_bytes: NDArray[np.int64] = field(default_factory=lambda: _NOT_GIVEN)
    unseen_bytes: NDArray[np.int64] = field(default_factory=lambda: _NOT_GIVEN)
    repeated_bytes: NDArray[np.int64] = field(default_factory=lambda: _NOT_GIVEN)

    def __post_init__(self) -> None:
        defaults = {
            "age_ns": self.age * self.window_ns,
            "resident_bytes": np.full(len(self), UNKNOWN, np.int64),
            "unseen_bytes": np.zeros(len(self), np.int64),
            "repeated_bytes": np.zeros(len(self), np.int64),
        }
        for name, values in defaults.items():
            if getattr(self, name) is _NOT_GIVEN:
                object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.start)

    def __iter__(self) -> Iterator[SnapshotRegion]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> SnapshotRegion:
        mapping = int(self.mapping[index])
        target = self.targets[int(self.target[index])]
        return SnapshotRegion(
            target,
            int(self.start[index]),
            int(self.end[index]),
            int(self.nr_accesses[index]),
            int(self.age[index]),
            int(self.touched_bytes[index]),
            int(self.unobservable_bytes[index]),
            target.mappings.mappings[mapping] if mapping >= 0 else None,
            int(self.age_ns[index]),
            int(self.resident_bytes[index]),
            int(self.unseen_bytes[index]),
        )

    @property
    def size(self) -> NDArray[np.int64]:
        """Bytes of each region."""
        return self.end - self.start

    @property
    def window_ns(self) -> int:
        """How long the aggregation really took."""
        return self.end_ns - self.start_ns

    @cached_property
    def mapping(self) -> NDArray[np.int64]:
        """For each region the index in its target's mappings of the one that fills most of it."""
        found = np.full(len(self), -1, np.int64)
        for index, target in enumerate(self.targets):
            mine = self.target == index
            found[mine] = target.mappings.largest_in(self.start[mine], self.end[mine])
        return found

    @cached_property
    def classes(self) -> RegionClasses:
        """The bytes of each region by what is known of them; sums over targets take `over`."""
        rss_bytes = [one.rss_bytes for one in self.footprints] or [0] * len(self.targets)
        return classify(
            RegionFacts(
                self.size,
                self.nr_accesses / max(1, self.max_nr_accesses),
                self.age_ns,
                self.touched_bytes,
                self.unobservable_bytes,
                self.resident_bytes,
                self.unseen_bytes,
                self.repeated_bytes,
                self.target,
                np.array(rss_bytes, np.int64),
            )
        )

    def working_set(self) -> int:
        """Bytes that were accessed in the window, as far as the probe can tell.

        What targets share counts once. `unseen_bytes` may have been accessed as well.
        """
        return int(self.classes.over(len(self.targets)).accessed.sum())

    def hottest(self, count: int = 10) -> list[SnapshotRegion]:
        """The *count* regions with the highest access rates; of equals, the oldest first."""
        order = np.lexsort((-self.size, -self.age, -self.nr_accesses))[:count]
        return [self[int(i)] for i in order]

    def of_target(self, index: int) -> Snapshot:
        """The same snapshot with the regions of one of its targets only."""
        mine = self.target == index
        return replace(
            self.pick(mine),
            targets=(self.targets[index],),
            footprints=self.footprints[index : index + 1],
            target=np.zeros(int(mine.sum()), np.int32),
        )

    def pick(self, regions: NDArray[np.bool_]) -> Snapshot:
        """The same snapshot with some of its regions only; all targets stay."""
        return replace(self, **{name: getattr(self, name)[regions] for name in _COLUMNS})


_COLUMNS = (
    "target",
    "start",
    "end",
    "nr_accesses",
    "age",
    "touched_bytes",
    "unobservable_bytes",
    "age_ns",
    "resident_bytes",
    "unseen_bytes",
    "repeated_bytes",
)
