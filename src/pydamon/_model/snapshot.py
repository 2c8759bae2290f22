"""Snapshots: the regions of every target at the end of one aggregation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pydamon._model.accessed_within import WITHIN_INTERVALS
from pydamon._model.classify import UNKNOWN, RegionClasses, RegionFacts, classify
from pydamon._model.cold_ages import Looked
from pydamon._model.cpu_use import CpuUse
from pydamon._model.display import Displayable
from pydamon._model.mappings import Mapping
from pydamon._model.page_ages import PageAges
from pydamon._model.page_map import PageMap
from pydamon._model.passed import PassedBytes
from pydamon._model.runs import group_bounds
from pydamon._model.target import Cost, Footprint, Target

__all__ = ["UNKNOWN", "Cost", "Footprint", "Snapshot", "SnapshotRegion", "Target"]

_NOT_GIVEN = np.empty(0, np.int64)
_NO_SHARES = np.empty(0)


@dataclass(frozen=True, slots=True)
class SnapshotRegion:
    """One region of a snapshot.

    Indexing a `Snapshot` and iterating over it give such regions; the snapshot's columns, which
    have the same names, are explained there.
    """

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
    access_share: float = 0.0
    access_share_error: float = math.nan

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class Snapshot(Displayable):
    """The regions of every target at the end of one aggregation.

    The columns (from `target` to `unobservable_bytes`, and those behind `footprints`) are arrays
    with one entry a region, sorted by target and address.

    Parameters
    ----------
    start_ns, end_ns
        The window as it was measured (Unix time).
    sampling_ns
        The sampling interval.
    max_nr_accesses
        The largest `nr_accesses` there can be.
    targets
        The monitored address spaces.
    target
        The index of the region's target in `targets`.
    start, end
        The region's addresses in bytes, half open.
    nr_accesses
        How many samples found the region accessed. The count is scaled up where the CPU budget
        allowed fewer samples than one every `sampling_ns`.
    age
        For how many aggregations the access rate has held.
    touched_bytes
        How much of the region was accessed in the window, as far as the probe can tell.
    unobservable_bytes
        How much of the region the probe could not watch.
    cost
        What the aggregation cost.
    footprints
        VSZ and RSS of each target, as of the last update interval; empty where they are not known.
    age_ns
        The same as `age`, as a time; `UNKNOWN` (-1) where it is not known.
    resident_bytes
        How much of the region is in memory; `UNKNOWN` (-1) where it is not known.
    unseen_bytes
        How much of the region nobody has looked at yet.
    repeated_bytes
        How much of `resident_bytes` counts in another target, too, because both share it.
    access_share
        The share of sampling intervals with an access, from 0 to 1: what `nr_accesses` says of
        `max_nr_accesses`, as a real number. It is an estimate from the last windows, too, so that
        it tells rates that are too low for one window.
    access_share_error
        The standard deviation of `access_share`; NaN where it is not known.
    accessed_within
        The shares of the region that are accessed within 4, 8, 16, ..., 256 sampling intervals,
        from 0 to 1: shape (regions, 7). They are estimates from the last windows, as `access_share`
        is; NaN where they are not known.
    page_ages
        How long the pages of the regions have been idle; `None` if they were not looked at in this
        window.
    passed
        How much of each region passes filters of pages; `None` if that was not asked for (see
        `MonitorOptions.passed`), or nobody has looked yet.
    page_maps
        The age of each single page of each target, in some of the windows with `page_ages`; empty
        if that was not asked for (see `MonitorOptions.page_map`).
    cpu_use
        Which functions each target ran since the snapshot before; empty if that was not asked for
        (see `record`).

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20),)),))
    >>> *_, snapshot = pydamon.simulate(trace, [(0, 256 << 20)]).run("2s")
    >>> pydamon.format_size(snapshot.working_set())
    '64 MiB'
    >>> hottest = snapshot.hottest(1)[0]
    >>> hottest.end <= 64 << 20, hottest.nr_accesses == snapshot.max_nr_accesses
    (True, True)
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
    access_share: NDArray[np.float64] = field(default_factory=lambda: _NO_SHARES)
    access_share_error: NDArray[np.float64] = field(default_factory=lambda: _NO_SHARES)
    accessed_within: NDArray[np.float64] = field(default_factory=lambda: _NO_SHARES)
    page_ages: PageAges | None = None
    passed: PassedBytes | None = None
    page_maps: tuple[PageMap | None, ...] = ()
    cpu_use: tuple[CpuUse | None, ...] = ()

    def __post_init__(self) -> None:
        defaults = {
            "age_ns": self.age * self.window_ns,
            "resident_bytes": np.full(len(self), UNKNOWN, np.int64),
            "unseen_bytes": np.zeros(len(self), np.int64),
            "repeated_bytes": np.zeros(len(self), np.int64),
            "access_share": self.nr_accesses / max(1, self.max_nr_accesses),
            "access_share_error": np.full(len(self), np.nan),
            "accessed_within": np.full((len(self), len(WITHIN_INTERVALS)), np.nan),
        }
        for name, values in defaults.items():
            if getattr(self, name) is _NOT_GIVEN or getattr(self, name) is _NO_SHARES:
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
            float(self.access_share[index]),
            float(self.access_share_error[index]),
        )

    @property
    def size(self) -> NDArray[np.int64]:
        """Bytes of each region."""
        return self.end - self.start

    @property
    def window_ns(self) -> int:
        """How long the aggregation took, as it was measured."""
        return self.end_ns - self.start_ns

    @cached_property
    def mapping(self) -> NDArray[np.int64]:
        """The mapping that fills most of each region: an index in its target's mappings, or -1."""
        mapping = np.full(len(self), -1, np.int64)
        for target, rows in zip(self.targets, self.rows_by_target, strict=True):
            mapping[rows] = target.mappings.largest_in(self.start[rows], self.end[rows])
        return mapping

    @property
    def rows_by_target(self) -> list[slice]:
        """Which regions each target has: a slice of the columns."""
        bounds = group_bounds(self.target, len(self.targets)).tolist()
        return list(map(slice, bounds[:-1], bounds[1:]))

    @cached_property
    def classes(self) -> RegionClasses:
        """The bytes of each region, classified; sums over several targets take `over`."""
        rss_bytes = [footprint.rss_bytes for footprint in self.footprints]
        rss_bytes = rss_bytes or [0] * len(self.targets)
        ages = self.page_ages
        is_sampled = np.full(len(self), ages is not None and ages.followed_share < 1)
        return classify(
            RegionFacts(
                self.size,
                self.access_rate,
                self.age_ns,
                self.touched_bytes,
                self.unobservable_bytes,
                self.resident_bytes,
                self.unseen_bytes,
                self.repeated_bytes,
                self.target,
                np.array(rss_bytes, np.int64),
                Looked(ages, is_sampled) if ages else None,
            )
        )

    @property
    def access_rate(self) -> NDArray[np.float64]:
        """`access_share`, and 0 where no access was found in the window."""
        return np.where(self.nr_accesses > 0, self.access_share, 0.0)

    @property
    def accesses(self) -> NDArray[np.float64]:
        """`nr_accesses` as real numbers: of `access_share`, and 0 where no access was found."""
        return self.access_rate * self.max_nr_accesses

    @property
    def access_hz(self) -> NDArray[np.float64]:
        """Accesses a second of each region, as far as the sampling interval can tell them."""
        rates: NDArray[np.float64] = self.access_share * (1e9 / max(1, self.sampling_ns))
        return rates

    def working_set(self) -> int:
        """Bytes that were accessed in the window, as far as the probe can tell.

        Memory that targets share counts once. `unseen_bytes` may have been accessed as well.

        Returns
        -------
        int
            The size of the working set in bytes.
        """
        return int(self.classes.over(len(self.targets)).accessed.sum())

    def hottest(self, count: int = 10) -> list[SnapshotRegion]:
        """The regions with the highest access rates; of equal ones the oldest first.

        Parameters
        ----------
        count
            How many regions, at most.

        Returns
        -------
        list of SnapshotRegion
            The regions, the hottest first.
        """
        order = np.lexsort((-self.size, -self.age, -self.access_share))[:count]
        return [self[int(i)] for i in order]

    def of_target(self, index: int) -> Snapshot:
        """The same snapshot with one of its targets only.

        Parameters
        ----------
        index
            Which of `targets`.
        """
        rows = np.flatnonzero(self.target == index)
        return replace(
            self.pick(rows),
            targets=(self.targets[index],),
            footprints=self.footprints[index : index + 1],
            page_maps=self.page_maps[index : index + 1],
            cpu_use=self.cpu_use[index : index + 1],
            target=np.zeros(len(rows), np.int32),
        )

    def pick(self, regions: NDArray[np.bool_] | NDArray[np.integer]) -> Snapshot:
        """The same snapshot with some of its regions only; all targets stay.

        Parameters
        ----------
        regions
            Whether to keep each region, or the indices of those to keep, in their order.
        """
        rows = np.flatnonzero(regions) if regions.dtype == np.bool_ else regions.astype(np.intp)
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        ages = self.page_ages and self.page_ages.pick(rows)
        passed = self.passed and self.passed.pick(rows)
        return replace(self, page_ages=ages, passed=passed, **columns)


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
    "access_share",
    "access_share_error",
    "accessed_within",
)
