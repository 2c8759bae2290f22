"""How much memory each container uses and needs, from the snapshots of one monitor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pydamon._containers.advice import Recommendation, recommend
from pydamon._containers.cache import CacheSource, CacheUse
from pydamon._data.analysis import Needs, NeedsCurve, NeedsOfSnapshots, NeedsPoint, kind_of
from pydamon._model.mappings import Mapping as MemoryMapping
from pydamon._model.page_ages import share_beyond
from pydamon._model.snapshot import Snapshot
from pydamon._model.target_groups import split_by_groups
from pydamon._observe.linux.cgroup_memory import CgroupMemory, cgroup_memory
from pydamon._observe.linux.containers import Container
from pydamon._observe.targets.container_table import ContainerTable

__all__ = ["ContainerUse", "ContainerWatch"]

_KINDS = ("anonymous", "file", "shared")
"""Of memory; every kind of mapping but files and shared memory is the first."""
_FORGOTTEN_NS = 3600 * 10**9
"""Containers that ended so long ago are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUse:
    """The memory of a container: what it has, what it uses, and what it needs.

    Parameters
    ----------
    container
        Which container.
    processes
        How many processes it had at the end.
    memory
        The kernel's figures of its cgroup; `None` where there are none.
    mapped_bytes
        What its processes have in memory. Memory that they share, by mapping the same file or
        since a fork, counts once.
    used_bytes
        How much of that was used within `within_ns`: its working set without unmapped page cache.
    used_by_kind
        The same by ``"anonymous"``, ``"file"`` and ``"shared"`` memory.
    within_ns
        The time for which `used_bytes` holds: shorter than asked for where it was not watched for
        twice as long.
    from_pages
        Whether `used_bytes` comes from the ages of pages; otherwise from one window of regions.
    cache
        The page cache that it used beside that; `None` where that is not known.
    needs
        The needs curve of all its processes together; `None` without ages of pages.
    recommendation
        What to request, and its limit; `None` where nothing is known.
    """

    container: Container
    processes: int
    memory: CgroupMemory | None
    mapped_bytes: int
    used_bytes: int
    used_by_kind: Mapping[str, int]
    within_ns: int
    from_pages: bool
    cache: CacheUse | None = None
    needs: NeedsCurve | None = None
    recommendation: Recommendation | None = None

    @property
    def working_set_bytes(self) -> int:
        """What it used: memory of its processes, and page cache as far as that is known."""
        return self.used_bytes + (self.cache.used_bytes if self.cache else 0)


@dataclass(slots=True)
class _Watched:
    """What the looks at all pages told about one container so far."""

    container: Container
    needs: NeedsOfSnapshots = field(default_factory=NeedsOfSnapshots)
    looked: Snapshot | None = None
    """Its part of the last snapshot with ages of pages."""


class ContainerWatch:
    """Adds up the snapshots of a monitor by container.

    Parameters
    ----------
    cache
        Who tells how much page cache was used; `None` if nobody does.

    Examples
    --------
    Watch all containers for a minute:

    ```python
    watch = ContainerWatch()
    with pydamon.monitor(pydamon.TargetSelection(all_containers=True)) as mon:
        for snapshot in mon.run("1min"):
            watch.add(snapshot)
    for use in watch.result():
        print(use.container.label, pydamon.format_size(use.working_set_bytes))
    ```

    Processes that have no container count as their systemd unit or cgroup:

    >>> from pydamon.containers import ContainerWatch
    >>> ContainerWatch().result()
    []
    """

    def __init__(self, cache: CacheSource | None = None) -> None:
        self._cache = cache
        self._table = ContainerTable()
        self._watched: dict[str, _Watched] = {}
        self._last: Snapshot | None = None

    def add(self, snapshot: Snapshot) -> None:
        """Take the next snapshot into account.

        Parameters
        ----------
        snapshot
            Of processes, whichever containers they belong to.
        """
        self._last = snapshot
        if snapshot.page_ages is None:
            return  # as of most snapshots
        for container, part in self._parts(snapshot):
            watched = self._watched.setdefault(container.cgroup, _Watched(container))
            watched.container = container
            if part.page_ages is not None and len(part.page_ages.region):
                watched.needs.add(part)
                watched.looked = part
        for cgroup, watched in list(self._watched.items()):
            if watched.looked is None or snapshot.end_ns - watched.looked.end_ns > _FORGOTTEN_NS:
                del self._watched[cgroup]

    def result(
        self, *, within_ns: int = 60 * 10**9, refaults_per_s: float | None = None
    ) -> list[ContainerUse]:
        """The memory of each container, the largest working set first.

        Parameters
        ----------
        within_ns
            Memory is used if it was accessed within this time.
        refaults_per_s
            How many pages a second may come back; by default 0.2 % of the working set each minute.

        Returns
        -------
        list of ContainerUse
            One for each container that had a process at the last snapshot, or ended within an hour.
        """
        options = (within_ns, refaults_per_s)
        running = dict[str, tuple[Container, Snapshot]]()
        if self._last is not None:
            parts = self._parts(self._last)
            running = {container.cgroup: (container, part) for container, part in parts}
        uses = [
            self._use_of(self._watched.get(cgroup, _Watched(container)), part, *options)
            for cgroup, (container, part) in running.items()
        ]
        uses += [
            self._use_of(watched, None, *options)
            for cgroup, watched in self._watched.items()
            if cgroup not in running
        ]
        return sorted(uses, key=lambda use: (-use.working_set_bytes, use.container.label))

    def _parts(self, snapshot: Snapshot) -> Iterator[tuple[Container, Snapshot]]:
        """The part of a snapshot that belongs to each container."""
        containers = self._table.of([target.pid for target in snapshot.targets])
        by_cgroup = {container.cgroup: container for container in containers.values()}
        groups: dict[str, list[int]] = {}
        for index, target in enumerate(snapshot.targets):
            if target.pid in containers:  # others have just exited
                groups.setdefault(containers[target.pid].cgroup, []).append(index)
        parts = split_by_groups(snapshot, list(groups.values()))
        for cgroup, part in zip(groups, parts, strict=True):
            yield by_cgroup[cgroup], part

    def _use_of(
        self,
        watched: _Watched,
        last: Snapshot | None,
        within_ns: int,
        refaults_per_s: float | None,
    ) -> ContainerUse:
        """The use of a container; without its part of the *last* snapshot it has ended."""
        needs = watched.needs.result()
        has_curve = len(needs.total.idle_ns) > 0 and watched.looked is not None
        seen = watched.looked if has_curve or last is None else last
        assert seen is not None
        if has_curve:
            mapped, used, within_ns = _by_ages(seen, needs.total, within_ns)
        else:
            mapped, used, within_ns = _by_regions(seen)
        memory = cgroup_memory(watched.container.cgroup)
        cache = None
        if self._cache is not None:
            cache = self._cache.used_within(watched.container, within_ns)
        return ContainerUse(
            container=watched.container,
            processes=len(last.targets) if last is not None else 0,
            memory=memory,
            mapped_bytes=mapped,
            used_bytes=sum(used.values()),
            used_by_kind=used,
            within_ns=within_ns,
            from_pages=has_curve,
            cache=cache,
            needs=needs.total if has_curve else None,
            recommendation=_advice(needs, memory, cache, refaults_per_s) if has_curve else None,
        )


def _advice(
    needs: Needs, memory: CgroupMemory | None, cache: CacheUse | None, refaults_per_s: float | None
) -> Recommendation:
    curve, point = needs.total, needs.point(refaults_per_s)
    peak = needs.peak(point) if point else None
    if point is None:  # more pages come back than is tolerated, whatever is taken
        point = NeedsPoint(curve.longest_ns, curve.resident_bytes, 0.0)
    return recommend(point, peak.kept_bytes if peak else 0, memory, cache)


def _by_ages(
    looked: Snapshot, curve: NeedsCurve, within_ns: int
) -> tuple[int, dict[str, int], int]:
    """Mapped bytes, the used ones by kind, and within which time, as of a look at all pages."""
    ages = looked.page_ages
    assert ages is not None
    # Pages that were never seen accessed are as old as the watching: an age at the edge of what
    # is known cannot be told from older ones.
    within_ns = min(within_ns, max(curve.shortest_ns, curve.longest_ns // 2))
    repeated = looked.repeated_bytes / np.maximum(looked.resident_bytes, 1)
    once = ages.once(np.clip(1 - repeated, 0, 1))
    recent = once.resident_bytes * (1 - share_beyond(within_ns)[once.bucket])
    used = np.bincount(once.region, recent, len(looked)).astype(np.float64)
    return int(once.resident_bytes.sum()), _by_kind(looked, used), within_ns


def _by_regions(snapshot: Snapshot) -> tuple[int, dict[str, int], int]:
    """The same of one window, where there are no ages of pages."""
    classes = snapshot.classes.over(len(snapshot.targets))
    mapped = int((classes.total - classes.assumed).sum())
    used = _by_kind(snapshot, classes.accessed.astype(np.float64))
    return mapped, used, snapshot.window_ns


def _by_kind(snapshot: Snapshot, amounts: NDArray[np.float64]) -> dict[str, int]:
    kinds = [_kinds_of(target.mappings.mappings) for target in snapshot.targets]
    mapping = snapshot.mapping
    kind = np.zeros(len(snapshot), np.int64)
    for of_target, rows in zip(kinds, snapshot.rows_by_target, strict=True):
        # The last entry is for -1: a region without a mapping.
        kind[rows] = np.append(of_target, 0)[mapping[rows]]
    sums = np.bincount(kind, amounts, minlength=len(_KINDS))
    return {name: round(float(amount)) for name, amount in zip(_KINDS, sums, strict=True)}


def _kinds_of(mappings: Sequence[MemoryMapping]) -> NDArray[np.int64]:
    """The index in `_KINDS` of each mapping."""
    kinds = [kind_of(mapping.name) for mapping in mappings]
    return np.array([_KINDS.index(kind) if kind in _KINDS else 0 for kind in kinds], np.int64)
