"""Regions from hot to cold.

The temperature of a region weighs how often it was accessed, how long that has held and how large
it is, as DAMON's tools do (the kernel's schemes rank regions by the same three). Here it is

    temperature = 100 x rate x (0.5 + 0.3 x age + 0.2 x size)        -100 x (...) if rate is 0

with `rate` = `access_share`, `age` = log2(1 + seconds) / 6, `size` =
log2(pages) / 20, both at most 1: they reach that at a minute and at 4 GiB. So 100 is a large region
that every sample has found accessed for a minute, 0 a region that hardly any sample has found
accessed, and -100 a large region that has not been accessed for a minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import LatestSnapshots, fold_with_outline
from pydamon._data.recording import AnyRecording, Recording, RecordingFile
from pydamon._model.classify import HOT_RATE, UNKNOWN
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.passed import sums_by_run
from pydamon._model.runs import Runs
from pydamon._model.snapshot import Snapshot, Target

__all__ = [
    "HOT_RATE",
    "SORT_KEYS",
    "RankedRegion",
    "Temperatures",
    "regions",
    "regions_of",
    "temperature",
]

_ALIKE = 0.25


@dataclass(frozen=True, slots=True)
class RankedRegion:
    """A region of a snapshot with its temperature; or alike neighbours taken together.

    Neighbours are alike if they have the same mapping, and access rates that differ by at most a
    quarter of the samples. Accessed regions stay apart from the others.

    Attributes
    ----------
    target : Target
        The process.
    start, end : int
        The addresses, in bytes, half open.
    mapping, perms : str
        The mapping that fills most of the region, and its permissions; empty if there is none.
    rate : float
        The access rate, from 0 to 1: the mean of `access_share` by size.
    age_ns : int
        For how long the access rate has held: the mean by size; -1 if it is not known.
    touched_bytes : int
        How much of it was accessed in the window.
    unobservable_bytes : int
        How much of it the probe could not watch.
    temperature : float
        From -100 to 100: see `temperature`. An unknown age counts as 0.
    resident_bytes : int
        How much of it is in memory; -1 if that is not known.
    unseen_bytes : int
        How much of it no probe has looked at yet.
    rate_error : float
        The standard deviation of `rate`: the mean by size; NaN where it is not known.
    sampling_ns : int
        The sampling interval that `rate` refers to; 0 where it is not known.
    passed : dict of str to int
        How much of it is of each kind of pages that the recording tells: see `PassedBytes`.

    Examples
    --------
    >>> from pydamon import Target
    >>> from pydamon.analysis import RankedRegion
    >>> bounds, names = (0x1000, 0x3000), ("[heap]", "rw-p")
    >>> region = RankedRegion(Target(7, "app"), *bounds, *names, 1.0, 10**9, 8192, 0, 55.0)
    >>> region.size
    8192
    """

    target: Target
    start: int
    end: int
    mapping: str
    perms: str
    rate: float
    age_ns: int
    touched_bytes: int
    unobservable_bytes: int
    temperature: float
    resident_bytes: int = UNKNOWN
    unseen_bytes: int = 0
    rate_error: float = math.nan
    sampling_ns: int = 0
    passed: dict[str, int] = field(default_factory=dict)

    @property
    def access_hz(self) -> float:
        """Accesses a second: `rate` by the sampling interval; NaN where that is not known."""
        return self.rate * self._samples_hz

    @property
    def access_hz_error(self) -> float:
        """The standard deviation of `access_hz`; NaN where it is not known."""
        return self.rate_error * self._samples_hz

    @property
    def _samples_hz(self) -> float:
        return 1e9 / self.sampling_ns if self.sampling_ns else math.nan

    @property
    def size(self) -> int:
        """Bytes from `start` to `end`."""
        return self.end - self.start


def _process(target: Target) -> tuple[int, int, str]:
    return target.pid, target.started_ns, target.name


SORT_KEYS: dict[str, Callable[[RankedRegion], Any]] = {
    "temperature": lambda region: -region.temperature,
    "size": lambda region: -region.size,
    "rate": lambda region: -region.rate,
    "age": lambda region: -region.age_ns,
    "touched": lambda region: -region.touched_bytes,
    "address": lambda region: (region.target.host, *_process(region.target), region.start),
    "mapping": lambda region: region.mapping,
    "target": lambda region: (region.target.name, region.target.host, *_process(region.target)),
}
"""Keys to sort regions by: numbers from the largest, addresses and names from the first."""


@dataclass(frozen=True)
class Temperatures(Displayable):
    """The regions of a snapshot, from hot to cold: see `regions`.

    Attributes
    ----------
    end_ns : int
        When the snapshot ended, in Unix time.
    regions : tuple of RankedRegion
        Its regions, the hottest first.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=10_000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> temperatures = pydamon.analysis.regions(recording)
    >>> [region.start for region in temperatures.sorted_by("address").regions]
    [0, 67108864]
    """

    end_ns: int
    regions: tuple[RankedRegion, ...]

    def sorted_by(self, *keys: str) -> Temperatures:
        """Sort the regions in another way.

        Parameters
        ----------
        *keys
            Names in `SORT_KEYS`, the most important first; `-` before a name reverses it.

        Returns
        -------
        Temperatures
            The same regions in that order.

        Raises
        ------
        UsageError
            If there is no such name.
        """
        regions = list(self.regions)
        for key in reversed(keys):
            name = key.removeprefix("-")
            if name not in SORT_KEYS:
                raise UsageError(f"cannot sort by {name!r}: one of {', '.join(SORT_KEYS)}")
            regions.sort(key=SORT_KEYS[name], reverse=key.startswith("-"))
        return Temperatures(self.end_ns, tuple(regions))


def temperature(
    rate: NDArray[np.float64], age_ns: NDArray[np.float64], size_bytes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute how hot regions are.

    Parameters
    ----------
    rate
        Access rates, from 0 to 1.
    age_ns
        For how long each rate has held.
    size_bytes
        The sizes of the regions.

    Returns
    -------
    ndarray, shape (regions,)
        Temperatures from -100 to 100.

    Notes
    -----
    100 x rate x (0.5 + 0.3 x age + 0.2 x size) with age = log2(1 + seconds) / 6 and
    size = log2(pages) / 20, both at most 1; of regions that were not accessed, the same with a rate
    of -1. DAMON's user space tool ranks regions by the same three properties.

    Examples
    --------
    >>> import numpy as np
    >>> from pydamon.analysis import temperature
    >>> rate, size_bytes = np.array([1.0, 0.0]), np.array([2.0**32, 4096.0])
    >>> temperature(rate, np.array([64e9, 64e9]), size_bytes).tolist()
    [100.0, -80.0]
    """
    age = np.minimum(1, np.log2(1 + age_ns / 1e9) / 6)
    size = np.minimum(1, np.log2(np.maximum(1, size_bytes / SMALLEST_PAGE)) / 20)
    hot: NDArray[np.float64] = np.where(rate > 0, rate, -1) * (50 + 30 * age + 20 * size)
    return hot


def regions(
    recording: AnyRecording, index: int | None = None, *, group: bool = True
) -> Temperatures:
    """Rank the regions of one snapshot from hot to cold.

    Parameters
    ----------
    recording
        The recording.
    index
        The number of the snapshot, from the end if it is negative. By default it is the last; the
        one before if the end of the recording has cut that short.
    group
        Take neighbours together that are alike: see `RankedRegion`.

    Returns
    -------
    Temperatures
        The regions, the hottest first.

    Raises
    ------
    RecordingError
        If there is no such snapshot.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=10_000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> hottest = pydamon.analysis.regions(recording).regions[0]
    >>> hottest.start, pydamon.format_size(hottest.size)
    (0, '64 MiB')
    """
    numbered = _NumberedSnapshot(-1 if index is None else index)
    if numbered.index >= 0 and isinstance(recording, RecordingFile):
        recording = recording.sorted()
    latest = LatestSnapshots(2 if index is None else max(1, -index), recording)
    fold_with_outline(recording, latest, numbered)
    snapshot = numbered.snapshot
    if index is None:
        snapshot = latest.snapshot(latest.last_whole)
    elif -len(latest.end_ns) <= index < 0:
        snapshot = latest.snapshot(index)
    if snapshot is None:
        raise RecordingError(f"the recording has {numbered.count} snapshots, but none at {index}")
    return regions_of(snapshot, group=group)


class _NumberedSnapshot:
    """The snapshot with the number *index*, in a recording in the order of time."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.count = 0
        self.snapshot: Snapshot | None = None

    def add(self, chunk: Recording) -> None:
        if 0 <= self.index - self.count < len(chunk):
            self.snapshot = chunk.snapshot(self.index - self.count)
        self.count += len(chunk)


def regions_of(snapshot: Snapshot, *, group: bool = True) -> Temperatures:
    """Rank the regions of a snapshot, of a recording or of a monitor, from hot to cold.

    Parameters
    ----------
    snapshot
        The snapshot.
    group
        Take neighbours together that are alike: see `RankedRegion`.

    Returns
    -------
    Temperatures
        The regions, the hottest first.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> *_, snapshot = pydamon.simulate(trace, [(0, 256 << 20)]).run("2s")
    >>> coldest = pydamon.analysis.regions_of(snapshot).regions[-1]
    >>> coldest.rate, coldest.temperature < 0
    (0.0, True)
    """
    if len(snapshot) == 0:
        return Temperatures(snapshot.end_ns, ())
    rate = snapshot.access_share
    names, name = _mapping_names(snapshot)
    runs = Runs.at(np.arange(len(snapshot)), len(snapshot))
    if group:
        runs = _alike(snapshot, rate, name)
    start, end = snapshot.start[runs.heads], snapshot.end[runs.tails]
    size = (end - start).astype(np.float64)
    mean_rate = runs.sum(rate * snapshot.size) / size
    mean_age_ns = runs.sum(snapshot.age_ns * snapshot.size.astype(np.float64)) / size
    heat = temperature(mean_rate, np.maximum(mean_age_ns, 0), size)
    is_resident_known = snapshot.resident_bytes[runs.heads] != UNKNOWN
    resident = np.where(
        is_resident_known, runs.sum(np.maximum(snapshot.resident_bytes, 0)), UNKNOWN
    )
    columns = (
        snapshot.target[runs.heads],
        start,
        end,
        name[runs.heads],
        mean_rate,
        mean_age_ns.astype(np.int64),
        runs.sum(snapshot.touched_bytes),
        runs.sum(snapshot.unobservable_bytes),
        heat,
        resident,
        runs.sum(snapshot.unseen_bytes),
        runs.sum(snapshot.access_share_error * snapshot.size) / size,
        np.full(len(runs), snapshot.sampling_ns),
        np.array(sums_by_run(snapshot.passed, runs) if snapshot.passed else [{}] * len(runs)),
    )
    order = np.lexsort((start, -size, -heat))
    return Temperatures(
        snapshot.end_ns,
        tuple(
            RankedRegion(snapshot.targets[target], low, high, *names[mapping], *others)
            for target, low, high, mapping, *others in zip(
                *(column[order].tolist() for column in columns), strict=True
            )
        ),
    )


def _alike(snapshot: Snapshot, rate: NDArray[np.float64], name: NDArray[np.int64]) -> Runs:
    """Runs of neighbours that are alike; of all of them the same facts are known."""
    apart = (snapshot.start[1:] != snapshot.end[:-1]) | (np.abs(np.diff(rate)) > _ALIKE)
    for values in (
        snapshot.target,
        name,
        rate > 0,
        snapshot.age_ns != UNKNOWN,
        snapshot.resident_bytes != UNKNOWN,
        snapshot.unseen_bytes > 0,
        *((snapshot.passed.size_bytes < 0) if snapshot.passed else ()),
    ):
        apart |= values[1:] != values[:-1]
    return Runs.split(apart, len(snapshot))


def _mapping_names(snapshot: Snapshot) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
    """Pairs of a mapping's name and permissions, and the index of each region's pair."""
    codes = {("", ""): 0}
    name = np.zeros(len(snapshot), np.int64)
    for index, target in enumerate(snapshot.targets):
        rows = np.flatnonzero(snapshot.target == index)
        of_mappings = [
            codes.setdefault((mapping.name, mapping.perms), len(codes))
            for mapping in target.mappings.mappings
        ]
        # The last code is for regions without a mapping, whose index is -1.
        name[rows] = np.array([*of_mappings, 0], np.int64)[snapshot.mapping[rows]]
    return list(codes), name
