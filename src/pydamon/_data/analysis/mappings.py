"""Hot and cold bytes by mapping: files, the heap, stacks, named memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.cold_sums import ColdSums, MappingKeys, add_rows
from pydamon._data.analysis.folding import (
    Outline,
    classes_of,
    fold_with_outline,
    region_weights,
)
from pydamon._data.recording import AnyRecording, Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._model.classify import RegionClasses
from pydamon._model.display import Displayable
from pydamon._model.snapshot import Target

__all__ = ["Bytes", "MappingHeat", "MappingSums", "Mappings", "kind_of", "mappings", "together"]

_IDLE_NS = tuple(s * 10**9 for s in (1, 2, 5, 10, 30, 60))
_COLUMNS = ("monitored", "total", "hot", "warm", "unobservable", "unseen", "assumed", "undated")
_FIXED = len(_COLUMNS) + 1
"""Columns of `MappingSums` before those of cold bytes by age: these, and the rates by size."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes of memory by class: means over the time that was recorded.

    `hot`, `warm`, `cold`, `unseen` and `unobservable` add up to `total`.

    Attributes
    ----------
    total : float
        Resident bytes.
    hot, warm : float
        Accessed bytes: hot if at least half of the samples saw accesses, warm if fewer did.
    cold : float
        Bytes that were not accessed.
    idle : float
        The part of `cold` that had not been accessed for `Summary.idle_ns`: see `mappings`.
    unobservable : float
        Bytes that the probe could not watch.
    unseen : float
        Bytes that no probe had looked at yet.
    monitored : float
        The size of all regions, resident or not.
    assumed : float
        The part of `total` that may not have been resident: the recording does not tell.
    undated : float
        The part of `cold` whose idle time is unknown.

    Examples
    --------
    >>> from pydamon.analysis import Bytes
    >>> size = Bytes(total=8192, hot=4096, warm=0, cold=4096, idle=4096, unobservable=0)
    >>> size.hot / size.total
    0.5
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
    """All mappings of one name in one target: see `mappings`.

    Attributes
    ----------
    target : Target
        The process.
    name : str
        The name of the mappings, such as a path or `[heap]`; empty for memory that is not mapped.
    size : Bytes
        Their bytes by class.
    rate : float
        Their access rate, from 0 to 1: the mean by size.

    Examples
    --------
    >>> from pydamon import Target
    >>> from pydamon.analysis import Bytes, MappingHeat
    >>> size = Bytes(total=8192, hot=4096, warm=0, cold=4096, idle=4096, unobservable=0)
    >>> MappingHeat(Target(7, "app"), "[heap]", size, rate=0.5).kind
    'heap'
    """

    target: Target
    name: str
    size: Bytes
    rate: float

    @property
    def kind(self) -> str:
        """Their kind: see `kind_of`."""
        return kind_of(self.name)


class Mappings(tuple[MappingHeat, ...], Displayable):
    """The mappings of every target, from the most hot bytes to the fewest: see `mappings`.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> mappings = pydamon.analysis.mappings(recording)
    >>> isinstance(mappings, tuple), len(mappings)
    (True, 1)
    """

    __slots__ = ()


def mappings(recording: AnyRecording, idle_ns: int | None = None) -> Mappings:
    """Compute hot and cold bytes of the mappings of every target, added up by name.

    Parameters
    ----------
    recording
        The recording.
    idle_ns
        For how long memory must not have been accessed to count as idle: by default a round number
        of seconds, of which the recording is at least twice as long.

    Returns
    -------
    Mappings
        A tuple of `MappingHeat`, from the most hot bytes to the fewest.

    Raises
    ------
    RecordingError
        If there are no snapshots.

    Notes
    -----
    Idle bytes are those of pages where the recording has ages of pages. Only some windows have:
    the cold bytes of a mapping in all windows have the ages that its cold bytes have in these. A
    mapping whose pages were never looked at, as in recordings of earlier versions, is idle for as
    long as its regions.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> (memory,) = pydamon.analysis.mappings(recording)
    >>> memory.kind, pydamon.format_size(memory.size.monitored)
    ('not mapped', '256 MiB')
    """
    sums = MappingSums(idle_ns)
    outline = fold_with_outline(recording, sums)
    return sums.mappings(outline, sums.default_idle_ns(outline))


class MappingSums:
    """Bytes by mapping, times ns: a fold that keeps a row for each mapping of a target.

    Idle memory is idle for *idle_ns*, or for one of several durations that is chosen at the end.
    """

    def __init__(self, idle_ns: int | None = None) -> None:
        self._ages_ns = _IDLE_NS if idle_ns is None else (idle_ns,)
        self._numbers = TargetNumbers()
        self._sums: dict[tuple[int, str], NDArray[np.float64]] = {}
        """By target number and name: a row for the target itself, and one for sums over targets."""
        self._cold = ColdSums(np.array(self._ages_ns, np.int64))

    def add(self, chunk: Recording) -> None:
        keys = MappingKeys.of(chunk, self._numbers)
        own = classes_of(chunk)
        once = own.once()
        own_sums = self._table(chunk, own, keys)
        once_sums = own_sums if once is own else self._table(chunk, once, keys)
        add_rows(self._sums, keys, np.stack([own_sums, once_sums], axis=1))
        self._cold.add(keys, region_weights(chunk), own, once)

    def _table(
        self, chunk: Recording, classes: RegionClasses, keys: MappingKeys
    ) -> NDArray[np.float64]:
        """Sums over the regions of each mapping, times ns: shape (mappings, columns)."""
        weight = region_weights(chunk)
        rate = chunk.access_share
        size = chunk.column("end") - chunk.column("start")
        columns = [size if name == "monitored" else getattr(classes, name) for name in _COLUMNS]
        columns.append(classes.total * rate)
        return np.column_stack([keys.sums(column * weight) for column in columns])

    def default_idle_ns(self, outline: Outline) -> int:
        """The longest duration of which the recording is at least twice as long."""
        fitting = [age for age in self._ages_ns if 2 * age <= outline.duration_ns]
        return (fitting or self._ages_ns[:1])[-1]

    def mappings(self, outline: Outline, idle_ns: int) -> Mappings:
        """The mean of each mapping, from the most hot bytes to the fewest."""
        targets = self._numbers.targets
        sizes, rates = self._means(self._rows(0), outline, idle_ns)
        every = [
            MappingHeat(targets[number], name, size, rate)
            for (number, name), size, rate in zip(self._sums, sizes, rates, strict=True)
        ]
        every.sort(key=lambda mapping: (-mapping.size.hot, -mapping.rate, -mapping.size.total))
        return Mappings(every)

    def together(self, outline: Outline, idle_ns: int) -> Bytes:
        """The means of all mappings; memory that targets share counts once."""
        rows = self._rows(1 if len(self._numbers) > 1 else 0)
        every = sum(rows, start=np.zeros(rows.shape[1]))
        sizes, _ = self._means(every[None], outline, idle_ns)
        return sizes[0]

    def _rows(self, which: int) -> NDArray[np.float64]:
        """A row for each mapping: of the targets themselves (0), or for sums over targets (1)."""
        # A filter may have left no mapping at all.
        sums = np.array([rows[which] for rows in self._sums.values()]).reshape(-1, _FIXED)
        return np.column_stack([sums, self._cold.rows(which)])

    def _means(
        self, sums: NDArray[np.float64], outline: Outline, idle_ns: int
    ) -> tuple[list[Bytes], list[float]]:
        """The bytes of each row by class, and its access rate by size."""
        first_idle = _FIXED + 1 + self._ages_ns.index(idle_ns)
        means = sums / outline.recorded_ns
        total, heat = means[:, _COLUMNS.index("total")], means[:, _FIXED - 1]
        cold, idle = means[:, _FIXED:].sum(axis=1), means[:, first_idle:].sum(axis=1)
        rate = np.divide(heat, total, out=np.zeros_like(heat), where=total > 0)
        names = ("cold", "idle", *_COLUMNS)
        amounts = np.column_stack([cold, idle, means[:, : _FIXED - 1]]).tolist()
        sizes = [Bytes(**dict(zip(names, row, strict=True))) for row in amounts]
        return sizes, rate.tolist()


def together(several: Collection[MappingHeat]) -> tuple[Bytes, float]:
    """The bytes of several mappings by class, and their access rate (0 to 1) by size."""
    sizes = [asdict(mapping.size) for mapping in several]
    names = [field.name for field in fields(Bytes)]
    size = Bytes(**{name: sum(each[name] for each in sizes) for name in names})
    heat = sum(mapping.rate * mapping.size.total for mapping in several)
    return size, heat / size.total if size.total else 0.0


def kind_of(name: str) -> str:
    """Tell the kind of memory of a mapping.

    Parameters
    ----------
    name
        The name of the mapping, as in `/proc/PID/maps`.

    Returns
    -------
    str
        `"heap"`, `"stack"`, `"anonymous"`, `"shared"`, `"file"`, `"named"`, or `"not mapped"`.

    Examples
    --------
    >>> from pydamon.analysis import kind_of
    >>> [kind_of(name) for name in ("[heap]", "/usr/lib/libc.so.6", "/dev/shm/cache")]
    ['heap', 'file', 'shared']
    """
    if not name:
        return "not mapped"
    if name.startswith("[stack"):
        return "stack"
    if name.startswith(("/dev/shm/", "/memfd:", "/SYSV", "/dev/zero", "[anon_shmem:")):
        return "shared"
    if name.startswith("/"):
        return "file"
    return {"[heap]": "heap", "[anon]": "anonymous"}.get(name, "named")
