"""Which owners have the memory that is idle: page ages and owners of addresses, joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import fold
from pydamon._data.analysis.last_maps import LastMaps, LastWindows
from pydamon._data.analysis.owner_parts import MemoryPart, memory_parts, windows_of
from pydamon._data.recording import AnyRecording
from pydamon._model.display import Displayable
from pydamon._model.errors import UsageError
from pydamon._model.owner_sums import sums_by_owner
from pydamon._model.owners import Owners
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.ranges import Ranges, locate
from pydamon._model.snapshot import Snapshot

__all__ = ["OWNER_SORT_KEYS", "OwnerReport", "OwnerTree", "OwnerUse", "owners"]

OWNER_SORT_KEYS = ("idle", "hot", "resident", "allocated")
"""What owners can be sorted by."""
_IDLE_NS = 10 * 10**9
_SHARED, _PRIVATE = "s", "p"
"""The last permission of a mapping, as in /proc/PID/maps."""


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
        return _tree(list(self.owners))


_numbers = attrgetter(
    *("allocated_bytes", "resident_bytes", "hot_bytes", "warm_bytes", "idle_bytes"),
    *("shared_bytes", "unknown_bytes"),
)
"""The figures of an `OwnerUse`, in the order of its fields."""


def added(path: tuple[str, ...], uses: Iterable[OwnerUse]) -> OwnerUse:
    """The sums of several owners."""
    return OwnerUse(path, *map(sum, zip(*map(_numbers, uses), strict=True)))


def _tree(uses: list[OwnerUse]) -> OwnerTree:
    root = OwnerTree("", added((), uses))
    pending = [(root, uses)]
    # A loop, because stacks may be deeper than calls of Python may be.
    for node, below in pending:
        depth = len(node.use.path)
        by_label: dict[str, list[OwnerUse]] = {}
        for use in below:
            if len(use.path) > depth:
                by_label.setdefault(use.path[depth], []).append(use)
        children = [
            (OwnerTree(label, added((*node.use.path, label), uses)), uses)
            for label, uses in by_label.items()
        ]
        children.sort(key=lambda child: -child[0].use.idle_bytes)
        node.children = [child for child, _ in children]
        pending += children
    return root


def owners(
    recording: AnyRecording,
    owners: Owners | Sequence[Owners],
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
        Who owned which addresses when: see `pydamon.owners`; several if address spaces have owners
        of their own, as the processes of a server have beside the memory that they share.
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
    spaces = [owners] if isinstance(owners, Owners) else list(owners)
    windows = maps.windows()
    joined = _Joined()
    for space in _recorded(spaces, windows):
        counts = _SHARED + _PRIVATE
        if any(other.is_shared for other in spaces):
            # Shared memory counts once, where its owners do.
            counts = "" if space.is_shared else _PRIVATE
        for part in memory_parts(windows_of(windows, space), space, idle_ns):
            joined.add(space, part, idle_ns, counts)
    return joined.report(idle_ns, tuple(dict.fromkeys(n for space in spaces for n in space.notes)))


def _recorded(spaces: list[Owners], windows: list[LastWindows]) -> list[Owners]:
    """The address spaces that were recorded; if none was, all, so that an error says so."""
    pids = {each.last.targets[0].pid for each in windows}
    return [space for space in spaces if not space.pids or pids & set(space.pids)] or spaces


class _Joined:
    """Sums up owners over address spaces."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], NDArray[np.float64]] = {}
        self._others: dict[str, NDArray[np.float64]] = {}
        self._parts: list[MemoryPart] = []

    def add(self, owners: Owners, part: MemoryPart, idle_ns: int, counts: str) -> None:
        """Add a part of the memory; what has no owner counts in mappings of some permissions."""
        mappings, ranges = _Mappings.of(part.snapshot, counts), owners.at(part.time_ns)
        told = sums_by_owner(
            ranges,
            part.facts,
            len(owners.paths),
            young_since_ns=part.time_ns - idle_ns,
            containers=owners.containers,
            group_at=mappings.at,
            groups=len(mappings.names),
        )
        by_owner = told.by_owner
        if owners.stays_resident and part.is_by_page:
            by_owner = _with_unmapped(by_owner)
        scaled = _scaled(by_owner, part.followed_share)
        for path, amounts in zip(owners.paths, scaled.T, strict=True):
            self._sums[path] = self._sums.get(path, 0) + amounts
        for name, amounts in mappings.left(part, told.by_group).items():
            self._others[name] = self._others.get(name, 0) + amounts
        self._parts.append(part)

    def report(self, idle_ns: int, notes: tuple[str, ...]) -> OwnerReport:
        """The owners of all parts."""
        parts = self._parts
        others: dict[tuple[str, ...], NDArray[np.float64]] = {
            (name,): amounts for name, amounts in self._others.items()
        }
        return OwnerReport(
            _by_idle(use for use in _rows(self._sums) if use.allocated_bytes),
            _by_idle(_rows(others)),
            max(part.time_ns for part in parts),
            idle_ns,
            all(part.is_by_page for part in parts),
            min(part.followed_share for part in parts),
            notes,
        )


def _by_idle(uses: Iterable[OwnerUse]) -> tuple[OwnerUse, ...]:
    return tuple(sorted(uses, key=lambda use: (-use.idle_bytes, -use.allocated_bytes)))


def _with_unmapped(told: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums in which memory that no process maps, and so none has used, is resident and idle."""
    allocated, followed, resident, hot, warm, idle, shared = told
    unmapped = allocated - followed
    return np.array([allocated, allocated, resident + unmapped, hot, warm, idle + unmapped, shared])


def _scaled(told: NDArray[np.float64], followed_share: float) -> NDArray[np.float64]:
    """Sums by owner in the order of `OwnerUse`; what is followed stands for all that it is of."""
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
    def of(cls, snapshot: Snapshot, counts: str) -> _Mappings:
        table = snapshot.targets[0].mappings.mappings
        table = tuple(each for each in table if each.perms[-1] in counts)
        bounds = np.array([(each.start, each.end) for each in table], np.int64).reshape(-1, 2)
        names = {name: number for number, name in enumerate({each.name: 0 for each in table})}
        number = np.array([names[each.name] for each in table], np.int64)
        return cls(bounds, number, tuple(names))

    def at(self, address: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the name at each address; -1 where nothing is mapped."""
        row = locate(self.bounds, address)
        return np.append(self.number, -1)[row]

    def left(self, part: MemoryPart, owned: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """The memory by name that owners do not have, in the order of `OwnerUse`."""
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
            if resident[number] >= SMALLEST_PAGE
        }


def _rows(sums: Mapping[tuple[str, ...], NDArray[np.float64]]) -> Iterator[OwnerUse]:
    return (
        OwnerUse(path, *np.rint(amounts).astype(np.int64).tolist())
        for path, amounts in sums.items()
    )
