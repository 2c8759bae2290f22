"""Which owners have the memory that is idle: page ages and owners of addresses, joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import fold
from pydamon._data.analysis.last_maps import LastMaps, LastWindows
from pydamon._data.recording import AnyRecording
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.owner_sums import MemoryFacts, sums_by_owner
from pydamon._model.owners import Owners
from pydamon._model.page_map import of_shared_memory
from pydamon._model.ranges import PAGE_SIZE, Ranges, locate
from pydamon._model.snapshot import Snapshot

__all__ = ["OWNER_SORT_KEYS", "OwnerReport", "OwnerTree", "OwnerUse", "owners"]

OWNER_SORT_KEYS = ("idle", "hot", "resident", "allocated")
"""What owners can be sorted by."""
_IDLE_NS = 10 * 10**9
_GONE_NS = 10 * 10**9
"""Targets whose last window ended so long before the last one of all have ended."""


@dataclass(frozen=True, slots=True)
class OwnerUse:
    """How the memory of one owner is used.

    Parameters
    ----------
    path
        The labels of the owner, root first.
    allocated_bytes
        What it has allocated.
    resident_bytes
        What of that is in memory.
    hot_bytes, warm_bytes, idle_bytes
        What was accessed between the last two looks at all pages; not then, but within the idle
        time; and not for that time or longer. Idle bytes are certain. Hot and warm bytes lie on
        pages that were accessed.
    shared_bytes
        Hot and warm bytes on pages that other owners have too: who accessed them cannot be told.
    unknown_bytes
        Allocated bytes of which nothing is known: nobody watches them, or they are newer than the
        last look.

    Examples
    --------
    >>> OwnerUse(("main", "load"), 8192, 8192, 0, 0, 8192).name
    'load'
    """

    path: tuple[str, ...]
    allocated_bytes: int = 0
    resident_bytes: int = 0
    hot_bytes: int = 0
    warm_bytes: int = 0
    idle_bytes: int = 0
    shared_bytes: int = 0
    unknown_bytes: int = 0

    @property
    def name(self) -> str:
        """The last label of the path."""
        return self.path[-1] if self.path else ""


@dataclass(slots=True)
class OwnerTree:
    """Owners by the labels of their paths: the sizes of a node include those below it."""

    label: str
    use: OwnerUse
    children: list[OwnerTree] = field(default_factory=list)


@dataclass(frozen=True)
class OwnerReport(Displayable):
    """The owners of memory, and how they use it: see `owners`.

    Attributes
    ----------
    owners : tuple of OwnerUse
        Those of the most idle bytes first.
    others : tuple of OwnerUse
        Memory that no owner is known of, by the name of its mapping: free space in heaps,
        libraries, stacks.
    time_ns : int
        When the pages were looked at (Unix time).
    idle_ns : int
        For how long idle bytes have not been accessed, at least.
    is_by_page : bool
        Whether the ages are those of single pages. Otherwise those of regions are spread evenly
        over them, and the figures of small owners are guesses.
    followed_share : float
        The part of the memory whose pages were looked at; where it is below 1, that part stands for
        the rest.
    notes : tuple of str
        What else a reader must know.
    """

    owners: tuple[OwnerUse, ...]
    others: tuple[OwnerUse, ...]
    time_ns: int
    idle_ns: int
    is_by_page: bool
    followed_share: float = 1.0
    notes: tuple[str, ...] = ()

    def by(self, key: str) -> list[OwnerUse]:
        """The owners sorted by `"idle"`, `"hot"`, `"resident"` or `"allocated"` bytes."""
        if key not in OWNER_SORT_KEYS:
            raise UsageError(f"owners cannot be sorted by {key!r}")
        return sorted(self.owners, key=lambda use: -int(getattr(use, f"{key}_bytes")))

    def total(self) -> OwnerUse:
        """The sums over all owners."""
        return added((), self.owners)

    def below(self, label: str) -> OwnerUse:
        """The sums over the owners with a label in their paths that contains a text."""
        return added(
            (label,), (use for use in self.owners if any(label in part for part in use.path))
        )

    def tree(self) -> OwnerTree:
        """The owners as a tree of the labels of their paths."""
        return _tree("", (), list(self.owners), 0)


def added(path: tuple[str, ...], uses: Iterable[OwnerUse]) -> OwnerUse:
    """The sums of several owners."""
    rows = [_numbers(use) for use in uses]
    sums = np.array(rows, np.int64).reshape(-1, len(_FIELDS)).sum(axis=0)
    return OwnerUse(path, *sums.tolist())


_FIELDS = (
    *("allocated_bytes", "resident_bytes", "hot_bytes", "warm_bytes", "idle_bytes"),
    *("shared_bytes", "unknown_bytes"),
)


def _numbers(use: OwnerUse) -> tuple[int, ...]:
    return tuple(getattr(use, name) for name in _FIELDS)


def _tree(label: str, path: tuple[str, ...], uses: list[OwnerUse], depth: int) -> OwnerTree:
    by_label: dict[str, list[OwnerUse]] = {}
    for use in uses:
        if len(use.path) > depth:
            by_label.setdefault(use.path[depth], []).append(use)
    children = [_tree(name, (*path, name), below, depth + 1) for name, below in by_label.items()]
    children.sort(key=lambda node: -node.use.idle_bytes)
    return OwnerTree(label, added(path, uses), children)


def owners(
    recording: AnyRecording,
    owners: Owners,
    *,
    at_ns: int | None = None,
    idle_ns: int = _IDLE_NS,
) -> OwnerReport:
    """Join the ages of pages with the owners of addresses.

    Parameters
    ----------
    recording
        The recording; with maps of pages (`MonitorOptions.page_map`), figures are those of pages.
    owners
        Who owned which addresses when: see `pydamon.owners`.
    at_ns
        The last ages up to this time (Unix time); by default the last of all.
    idle_ns
        Memory is idle after this time without an access.

    Returns
    -------
    OwnerReport
        The bytes of each owner.

    Raises
    ------
    RecordingError
        If nothing was recorded of the processes of the owners by that time.

    Notes
    -----
    All bytes of an idle page are idle, whoever owns them: idle bytes are exact. A page that was
    accessed may have several owners, of whom one did it: hot and warm bytes are upper bounds, and
    `shared_bytes` says how much of them is on such pages. What an owner has had for less than the
    idle time is not idle.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> from pydamon.owners import OwnedInterval, Owners
    >>> MIB = 1 << 20
    >>> trace = Trace((Phase(10**9, (Access(0, 64 * MIB, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 * MIB)], page_map="5s")
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("20s"))
    >>> told = Owners.of(
    ...     [
    ...         OwnedInterval(("main", "serve"), 0, 64 * MIB),
    ...         OwnedInterval(("main", "load_catalogue"), 64 * MIB, 200 * MIB),
    ...     ]
    ... )
    >>> report = pydamon.analysis.owners(recording, told)
    >>> report.owners[0].name, pydamon.format_size(report.owners[0].idle_bytes)
    ('load_catalogue', '136 MiB')
    """
    maps = LastMaps(at_ns)
    fold(recording, maps)
    windows = _of_processes(maps.windows(), owners)
    parts = _parts(windows, owners, idle_ns)
    sums = np.zeros((len(_FIELDS), len(owners.paths)))
    others: dict[str, NDArray[np.float64]] = {}
    for part in parts:
        mappings, ranges = _Mappings.of(part.snapshot), owners.at(part.time_ns)
        told = sums_by_owner(
            ranges,
            part.facts,
            len(owners.paths),
            young_since_ns=part.time_ns - idle_ns,
            containers=owners.containers,
            group_at=mappings.at,
            groups=len(mappings.names),
        )
        sums += _scaled(told.by_owner, part.followed_share)
        for name, amounts in mappings.left(part, told.by_group).items():
            others[name] = others.get(name, np.zeros(len(_FIELDS))) + amounts
    columns = np.array(list(others.values())).reshape(-1, len(_FIELDS)).T
    return OwnerReport(
        _by_idle(use for use in _rows(owners.paths, sums) if use.allocated_bytes),
        _by_idle(_rows([(name,) for name in others], columns)),
        max(part.time_ns for part in parts),
        idle_ns,
        all(part.is_by_page for part in parts),
        min(part.followed_share for part in parts),
        owners.notes,
    )


def _by_idle(uses: Iterable[OwnerUse]) -> tuple[OwnerUse, ...]:
    return tuple(sorted(uses, key=lambda use: (-use.idle_bytes, -use.allocated_bytes)))


class _Part(NamedTuple):
    """What is known of the memory of one target, or of several that share it."""

    facts: MemoryFacts
    snapshot: Snapshot
    time_ns: int
    followed_share: float
    is_by_page: bool


def _of_processes(windows: list[LastWindows], owners: Owners) -> list[LastWindows]:
    """The windows of the processes that the owners are of."""
    if owners.pids:
        chosen = [each for each in windows if each.last.targets[0].pid in owners.pids]
        if not chosen:
            pids = ", ".join(map(str, owners.pids[:3]))
            known = ", ".join(str(each.last.targets[0].pid) for each in windows[:3])
            raise RecordingError(
                f"the owners are of process {pids}, and the recording is of {known or 'nothing'}",
                hint="both must be of the same run of the program",
            )
        return chosen
    if not windows:
        raise RecordingError("nothing was recorded by that time")
    latest_ns = max(each.last.end_ns for each in windows)
    return [each for each in windows if each.last.end_ns >= latest_ns - _GONE_NS]


def _parts(windows: list[LastWindows], owners: Owners, idle_ns: int) -> list[_Part]:
    mapped = [each.mapped for each in windows]
    if owners.is_shared and all(snapshot is not None for snapshot in mapped):
        maps = [each.page_maps[0] for each in mapped if each is not None]
        merged = of_shared_memory([page_map for page_map in maps if page_map is not None])
        facts = MemoryFacts.of_map(merged, idle_ns)
        snapshot = windows[0].mapped or windows[0].last
        return [_Part(facts, snapshot, merged.looked_ns, merged.followed_share, True)]
    chosen = windows[:1] if owners.is_shared else windows
    return [_part(each, idle_ns) for each in chosen]


def _part(windows: LastWindows, idle_ns: int) -> _Part:
    page_map = windows.mapped.page_maps[0] if windows.mapped is not None else None
    if page_map is not None and windows.mapped is not None:
        facts = MemoryFacts.of_map(page_map, idle_ns)
        share = page_map.followed_share
        return _Part(facts, windows.mapped, page_map.looked_ns, share, True)
    last = windows.last
    facts = _facts_of_regions(last, idle_ns)
    return _Part(facts, last, last.end_ns, 1.0, False)


def _facts_of_regions(snapshot: Snapshot, idle_ns: int) -> MemoryFacts:
    """The facts of regions, each spread evenly over its region."""
    classes = snapshot.classes
    idle = classes.idle(idle_ns)
    known = classes.hot + classes.warm + classes.cold
    amounts = snapshot.size, classes.total, classes.hot, known - classes.hot - idle, idle
    return MemoryFacts(snapshot.start, snapshot.end, np.array(amounts, np.float64))


def _scaled(told: NDArray[np.float64], followed_share: float) -> NDArray[np.float64]:
    """Sums by owner in the order of `_FIELDS`; what is followed stands for all that it is of."""
    allocated, followed, resident, hot, warm, idle, shared = told
    known = resident - hot - warm - idle
    amounts = np.array([resident, hot, warm, idle, shared])
    if followed_share < 1:
        scale = np.where(followed > 0, allocated / np.maximum(followed, 1), 0)
        amounts *= scale
        unknown = np.where(followed > 0, known * scale, allocated)
    else:
        unknown = known + allocated - followed
    return np.array([allocated, *amounts, unknown])


class _Mappings(NamedTuple):
    """The mappings of a part, sorted by address, and the name of each by its number."""

    bounds: Ranges
    number: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, snapshot: Snapshot) -> _Mappings:
        table = snapshot.targets[0].mappings.mappings
        bounds = np.array([(each.start, each.end) for each in table], np.int64).reshape(-1, 2)
        names = {name: number for number, name in enumerate({each.name: 0 for each in table})}
        number = np.array([names[each.name] for each in table], np.int64)
        return cls(bounds, number, tuple(names))

    def at(self, address: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the name at each address; -1 where nothing is mapped."""
        row = locate(self.bounds, address)
        return np.append(self.number, -1)[row]

    def left(self, part: _Part, owned: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """The memory by name that owners do not have, in the order of `_FIELDS`."""
        within = part.facts.within(*self.bounds.T)
        whole = [np.bincount(self.number, row, len(self.names)) for row in within]
        amounts = np.maximum(np.array(whole) - owned, 0) / part.followed_share
        _, resident, hot, warm, idle = amounts
        nothing = np.zeros(len(self.names))
        known = hot + warm + idle
        rows = np.array([nothing, resident, hot, warm, idle, nothing, resident - known])
        return {
            name: rows[:, number]
            for number, name in enumerate(self.names)
            if resident[number] >= PAGE_SIZE
        }


def _rows(paths: Sequence[tuple[str, ...]], amounts: NDArray[np.float64]) -> Iterator[OwnerUse]:
    numbers = np.rint(amounts).astype(np.int64).T.tolist()
    return (OwnerUse(path, *row) for path, row in zip(paths, numbers, strict=True))
