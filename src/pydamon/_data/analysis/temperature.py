"""Regions from hot to cold.

The temperature of a region weighs how often it was accessed, how long that has held and how large
it is, as DAMON's tools do (the kernel's schemes rank regions by the same three). Here it is

    temperature = 100 x rate x (0.5 + 0.3 x age + 0.2 x size)        -100 x (...) where rate is 0

with `rate` = `nr_accesses / max_nr_accesses`, `age` = log2(1 + seconds) / 6, `size` =
log2(pages) / 20, both at most 1, which is what a minute and 4 GiB reach. So 100 is a large region
that every sample has found accessed for a minute, 0 one that nearly no sample has, and -100 a large
one that has not been accessed for a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import Latest, fold_some
from pydamon._data.recording import Recorded, Recording, RecordingFile
from pydamon._model.classify import HOT_RATE, UNKNOWN
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.regions import PAGE_SIZE
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
    """Neighbouring regions that are alike: of one mapping, and of about the same access rate.

    Each differs from the next by at most a quarter of the samples, and regions that were accessed
    stay apart from those that were not. `rate` (0 to 1) and `age_ns` (for how long it has held)
    are means by size; an age that nobody knows is -1, and does not count in the temperature.
    `resident_bytes` is how much is in memory (-1 where nobody knows), of which nobody has looked at
    `unseen_bytes` yet.
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

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


def _process(target: Target) -> tuple[int, int, str]:
    return target.pid, target.started_ns, target.name


SORT_KEYS: dict[str, Callable[[RankedRegion], Any]] = {
    "temperature": lambda one: -one.temperature,
    "size": lambda one: -one.size,
    "rate": lambda one: -one.rate,
    "age": lambda one: -one.age_ns,
    "touched": lambda one: -one.touched_bytes,
    "address": lambda one: (one.target.host, *_process(one.target), one.start),
    "mapping": lambda one: one.mapping,
    "target": lambda one: (one.target.name, one.target.host, *_process(one.target)),
}
"""What regions can be sorted by: numbers from the largest, addresses and names from the first."""


@dataclass(frozen=True)
class Temperatures(Displayable):
    """The regions of a snapshot, the hottest first; `end_ns` is its end in Unix time."""

    end_ns: int
    regions: tuple[RankedRegion, ...]

    def sorted_by(self, *keys: str) -> Temperatures:
        """The same in another order: `SORT_KEYS`, the first counts most, `-` turns one around.

        Raises `UsageError` for an unknown one.
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
    """How hot regions are, from -100 to 100: shape (regions,), as the arguments."""
    age = np.minimum(1, np.log2(1 + age_ns / 1e9) / 6)
    size = np.minimum(1, np.log2(np.maximum(1, size_bytes / PAGE_SIZE)) / 20)
    hot: NDArray[np.float64] = np.where(rate > 0, rate, -1) * (50 + 30 * age + 20 * size)
    return hot


def regions(recording: Recorded, index: int | None = None, *, group: bool = True) -> Temperatures:
    """The regions of one snapshot, from hot to cold.

    By default it is the last, without one that the end of the recording has cut short. *group*
    puts neighbours together that are alike. Raises `RecordingError` where there is no such
    snapshot.
    """
    chosen = _Numbered(-1 if index is None else index)
    if chosen.index >= 0 and isinstance(recording, RecordingFile):
        recording = recording.sorted()
    latest = Latest(2 if index is None else max(1, -index), recording)
    fold_some(recording, latest, chosen)
    found = chosen.snapshot
    if index is None:
        found = latest.snapshot(latest.last_whole)
    elif -len(latest.end_ns) <= index < 0:
        found = latest.snapshot(index)
    if found is None:
        raise RecordingError(f"the recording has {chosen.count} snapshots, but none at {index}")
    return regions_of(found, group=group)


class _Numbered:
    """The snapshot of which *index* is the number, in a recording in the order of time."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.count = 0
        self.snapshot: Snapshot | None = None

    def add(self, part: Recording) -> None:
        if 0 <= self.index - self.count < len(part):
            self.snapshot = part.snapshot(self.index - self.count)
        self.count += len(part)


def regions_of(snapshot: Snapshot, *, group: bool = True) -> Temperatures:
    """The regions of a snapshot, as it comes from a recording or from a monitor, hot to cold.

    Without *group*, neighbours that are alike are not put together.
    """
    if len(snapshot) == 0:
        return Temperatures(snapshot.end_ns, ())
    rate = snapshot.nr_accesses / snapshot.max_nr_accesses
    names, name = _names(snapshot)
    new = np.ones(len(snapshot), np.bool_)
    new[1:] = (snapshot.start[1:] != snapshot.end[:-1]) | (np.abs(np.diff(rate)) > _ALIKE)
    known = snapshot.age_ns != UNKNOWN
    resident, unseen = snapshot.resident_bytes, snapshot.unseen_bytes
    for values in (snapshot.target, name, rate > 0, known, resident != UNKNOWN, unseen > 0):
        new[1:] |= values[1:] != values[:-1]
    new |= not group
    heads = np.flatnonzero(new)
    tails = np.append(heads[1:], len(snapshot)) - 1

    start, end = snapshot.start[heads], snapshot.end[tails]
    size = (end - start).astype(np.float64)
    rates = np.add.reduceat(rate * snapshot.size, heads) / size
    ages = np.add.reduceat(snapshot.age_ns * snapshot.size.astype(np.float64), heads) / size
    heat = temperature(rates, np.maximum(ages, 0), size)
    touched = np.add.reduceat(snapshot.touched_bytes, heads)
    unobservable = np.add.reduceat(snapshot.unobservable_bytes, heads)
    residents = np.add.reduceat(np.maximum(resident, 0), heads)
    unseens = np.add.reduceat(unseen, heads)
    order = np.lexsort((start, -size, -heat))
    return Temperatures(
        snapshot.end_ns,
        tuple(
            RankedRegion(
                snapshot.targets[int(snapshot.target[heads[i]])],
                int(start[i]),
                int(end[i]),
                *names[int(name[heads[i]])],
                float(rates[i]),
                int(ages[i]),
                int(touched[i]),
                int(unobservable[i]),
                float(heat[i]),
                UNKNOWN if resident[heads[i]] == UNKNOWN else int(residents[i]),
                int(unseens[i]),
            )
            for i in order
        ),
    )


def _names(snapshot: Snapshot) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
    """The names and permissions of mappings, and for each region which of them it has."""
    codes = {("", ""): 0}
    name = np.zeros(len(snapshot), np.int64)
    for index, target in enumerate(snapshot.targets):
        mine = np.flatnonzero(snapshot.target == index)
        found = snapshot.mapping[mine]
        code = [codes.setdefault((m.name, m.perms), len(codes)) for m in target.mappings.mappings]
        name[mine] = np.append(np.array(code, np.int64), 0)[found]
    return list(codes), name
