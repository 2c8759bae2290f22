"""Hot and cold bytes by what is mapped: files, the heap, stacks, named memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import Outline, classes_of, fold_some, row_weights
from pydamon._data.recording import Recorded, Recording
from pydamon._data.recording.targets import TargetNumbers
from pydamon._model.classify import UNKNOWN, RegionClasses
from pydamon._model.display import Displayable
from pydamon._model.snapshot import Target

__all__ = ["Bytes", "MappingHeat", "MappingSums", "Mappings", "kind_of", "mappings", "together"]

_IDLE_NS = tuple(s * 10**9 for s in (1, 2, 5, 10, 30, 60))
_COLUMNS = ("monitored", "total", "hot", "warm", "unobservable", "unseen", "assumed", "undated")
_FIXED = len(_COLUMNS) + 1
"""Columns of `MappingSums` before those of cold bytes by age: these, and the rates by size."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Memory by how hot it is; its mean over the time that was recorded.

    What was accessed is hot where at least half of the samples found that, and warm where fewer
    did; cold is what was not. `idle` is the part of `cold` that has not been accessed for
    `Summary.idle_ns`; of `undated` cold bytes nobody knows for how long. What could not be
    observed, and what nobody has looked at yet (`unseen`), is in none of those.

    `total` counts what is resident, of which `assumed` bytes may not be: nobody knows that of them.
    `monitored` is the size of all regions, resident or not.
    """

    total: float
    hot: float
    warm: float
    cold: float
    idle: float
    unobservable: float
    unseen: float = 0.0
    monitored: float = 0.0
    assumed: float = 0.0
    undated: float = 0.0


@dataclass(frozen=True, slots=True)
class MappingHeat:
    """All mappings of one name in one target: `rate` (0 to 1) is the mean access rate by size."""

    target: Target
    name: str
    size: Bytes
    rate: float

    @property
    def kind(self) -> str:
        """What it is: see `kind_of`."""
        return kind_of(self.name)


class Mappings(tuple[MappingHeat, ...], Displayable):
    """The mappings of every target, from the most hot bytes to the fewest."""

    __slots__ = ()


def mappings(recording: Recorded, idle_ns: int | None = None) -> Mappings:
    """The mappings of every target, added up by name, from the most hot bytes to the fewest.

    *idle_ns* is for how long memory must not have been accessed to be idle; by default a round
    number of seconds that the recording is at least twice as long as. Raises `RecordingError`
    where there are no snapshots.
    """
    sums = MappingSums(idle_ns)
    outline = fold_some(recording, sums)
    return sums.mappings(outline, sums.default_idle_ns(outline))


class MappingSums:
    """Bytes by mapping, times ns: a fold that keeps a row for each mapping of a target.

    What is idle is *idle_ns*, or one of several durations, of which one is chosen at the end.
    """

    def __init__(self, idle_ns: int | None = None) -> None:
        self._ages_ns = _IDLE_NS if idle_ns is None else (idle_ns,)
        self._numbers = TargetNumbers()
        self._sums: dict[tuple[int, str], NDArray[np.float64]] = {}
        """By number of a target and name: two rows, by itself and in sums over targets."""

    def add(self, part: Recording) -> None:
        names = part.names("mapping")
        key = self._numbers.of_rows(part).astype(np.int64) * len(names) + part.codes("mapping")
        keys, place = np.unique(key, return_inverse=True)
        rate = part.column("nr_accesses") / part.column("max_nr_accesses")
        weight = row_weights(part)
        own = classes_of(part)
        once = own.once()
        monitored = part.column("end") - part.column("start")
        ages = len(self._ages_ns) + 1

        def table(classes: RegionClasses) -> NDArray[np.float64]:
            amounts = {
                "monitored": monitored,
                "undated": np.where(classes.idle_ns == UNKNOWN, classes.cold, 0),
            }
            columns = [
                amounts[name] if name in amounts else getattr(classes, name) for name in _COLUMNS
            ]
            sums = [
                np.bincount(place, column * weight) for column in (*columns, classes.total * rate)
            ]
            # How many of the ages it has reached, where it is cold.
            reached = np.searchsorted(self._ages_ns, classes.idle_ns, side="right")
            cold = np.bincount(place * ages + reached, classes.cold * weight, len(keys) * ages)
            return np.column_stack([*sums, cold.reshape(len(keys), ages)])

        by_itself = table(own)
        tables = by_itself, by_itself if once is own else table(once)
        for number, rows in zip(keys.tolist(), np.stack(tables, axis=1), strict=True):
            target, code = divmod(number, len(names))
            known = self._sums.get((target, names[code]))
            self._sums[target, names[code]] = rows if known is None else known + rows

    def default_idle_ns(self, outline: Outline) -> int:
        """The longest of the durations that the recording is at least twice as long as."""
        fitting = [age for age in self._ages_ns if 2 * age <= outline.duration_ns]
        return (fitting or self._ages_ns[:1])[-1]

    def mappings(self, outline: Outline, idle_ns: int) -> Mappings:
        """Their means, from the most hot bytes to the fewest."""
        targets = self._numbers.targets
        width = _FIXED + len(self._ages_ns) + 1
        # A filter may have left nothing of any mapping.
        rows = np.array([rows[0] for rows in self._sums.values()]).reshape(-1, width)
        means = zip(self._sums, *self._means(rows, outline, idle_ns), strict=True)
        found = [MappingHeat(targets[at], name, size, rate) for (at, name), size, rate in means]
        return Mappings(sorted(found, key=lambda one: (-one.size.hot, -one.rate, -one.size.total)))

    def together(self, outline: Outline, idle_ns: int) -> Bytes:
        """The means of all mappings; what several targets share counts once."""
        row = 1 if len(self._numbers) > 1 else 0
        nothing = np.zeros(_FIXED + len(self._ages_ns) + 1)
        every = sum((rows[row] for rows in self._sums.values()), start=nothing)
        sizes, _ = self._means(every[None], outline, idle_ns)
        return sizes[0]

    def _means(
        self, sums: NDArray[np.float64], outline: Outline, idle_ns: int
    ) -> tuple[list[Bytes], list[float]]:
        """Bytes of each row, and the mean access rate by size."""
        at = _FIXED + 1 + self._ages_ns.index(idle_ns)
        means = sums / outline.recorded_ns
        total, heat = means[:, _COLUMNS.index("total")], means[:, _FIXED - 1]
        cold, idle = means[:, _FIXED:].sum(axis=1), means[:, at:].sum(axis=1)
        rate = np.divide(heat, total, out=np.zeros_like(heat), where=total > 0)
        names = ("cold", "idle", *_COLUMNS)
        amounts = np.column_stack([cold, idle, means[:, : _FIXED - 1]]).tolist()
        sizes = [Bytes(**dict(zip(names, row, strict=True))) for row in amounts]
        return sizes, rate.tolist()


def together(found: Collection[MappingHeat]) -> tuple[Bytes, float]:
    """The bytes of several mappings, and their mean access rate (0 to 1) by size."""
    sizes = [asdict(one.size) for one in found]
    size = Bytes(**{one.name: sum(each[one.name] for each in sizes) for one in fields(Bytes)})
    heat = sum(one.rate * one.size.total for one in found)
    return size, heat / size.total if size.total else 0.0


def kind_of(name: str) -> str:
    """The kind of a mapping: heap, stack, anonymous, shared, file, named, or not mapped."""
    if not name:
        return "not mapped"
    if name.startswith("[stack"):
        return "stack"
    if name.startswith(("/dev/shm/", "/memfd:", "/SYSV", "/dev/zero", "[anon_shmem:")):
        return "shared"
    if name.startswith("/"):
        return "file"
    return {"[heap]": "heap", "[anon]": "anonymous"}.get(name, "named")
