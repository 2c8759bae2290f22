"""How much of each region is of some kinds of pages, as the kernel's DAMON tells.

Probes (Linux 7.2) count, for each region, the samples whose page has an attribute; the count comes
with each aggregation. Schemes that filter pages (physical memory: Linux 6.14; processes: 6.18) tell
bytes, but walk all pages for that: they are there for the time of a look only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pydamon._model.passed import PassedBytes, memcg_path
from pydamon._model.ranges import amount_within
from pydamon._model.schemes import Filter, Scheme
from pydamon._model.snapshot import Snapshot
from pydamon._observe.kernel.files import Files
from pydamon._observe.linux.arch import HUGE_BYTES

__all__ = [
    "MAX_PROBES",
    "SchemeLooks",
    "TriesSchemes",
    "can_probe",
    "passed_by_probes",
    "scheme_of_kind",
    "write_probes",
]

MAX_PROBES = 4
"""Linux 7.2 takes no more."""
_FILTERS = {
    "anon": Filter("anon", allow=True),
    "file": Filter("anon", matching=False, allow=True),
    "active": Filter("active", allow=True),
    "huge": Filter("hugepage_size", min_size=HUGE_BYTES, allow=True),
    "young": Filter("young", allow=True),
}
_MOST_HITS = 255


def can_probe(kinds: Sequence[str], samples: int) -> bool:
    """Whether probes can tell these kinds at so many samples an aggregation.

    Linux 7.2 probes for anonymous pages and for those of cgroups, and counts in bytes.
    """
    known = all(kind == "anon" or memcg_path(kind) for kind in kinds)
    return bool(kinds) and known and len(kinds) <= MAX_PROBES and samples <= _MOST_HITS


def write_probes(files: Files, path: str, kinds: Sequence[str]) -> None:
    """Write a probe for each kind to the directory *path*; without any, older kernels need none."""
    if not kinds and not files.has(path):
        return
    files.write(f"{path}/nr_probes", len(kinds))
    for number, kind in enumerate(kinds):
        place = f"{path}/{number}/filters"
        files.write(f"{place}/nr_filters", 1)
        files.write(f"{place}/0/type", "memcg" if memcg_path(kind) else kind)
        files.write(f"{place}/0/matching", "Y")
        files.write(f"{place}/0/allow", "Y")
        if memcg_path(kind):
            files.write(f"{place}/0/path", _absolute(memcg_path(kind)))


def passed_by_probes(
    kinds: Sequence[str], hits: NDArray[np.uint8], samples: int, size: NDArray[np.int64]
) -> PassedBytes:
    """The bytes of each kind in regions, of whose *samples* so many had a page of each kind."""
    shares = np.minimum(hits.T / max(1, samples), 1.0)
    return PassedBytes(tuple(kinds), np.rint(shares * size).astype(np.int64))


def scheme_of_kind(kind: str) -> Scheme:
    """A scheme that does nothing to the pages of a kind, but tells how many bytes they are."""
    path = memcg_path(kind)
    rule = Filter("memcg", memcg_path=_absolute(path), allow=True) if path else _FILTERS[kind]
    return Scheme("stat", filters=(rule,), name=f"passed {kind}")


def _absolute(path: str) -> str:
    return f"/{path.strip('/')}"


class TriesSchemes(Protocol):
    """What lets the kernel try schemes for a moment."""

    @property
    def cpu_ns(self) -> int:
        """CPU time of the kernel's thread."""
        ...

    def passed_regions(self, schemes: Sequence[Scheme]) -> list[NDArray[np.int64]]:
        """Return target, start, end and passed bytes of the regions that each scheme tried."""
        ...


class SchemeLooks:
    """Adds to snapshots what the filters of schemes let pass, as of a look now and then.

    Looks may take at most *share* of a CPU (`None`: no bound).
    """

    def __init__(
        self, kinds: tuple[str, ...], driver: TriesSchemes, update_ns: int, share: float | None
    ) -> None:
        self._kinds = kinds
        self._schemes = [scheme_of_kind(kind) for kind in kinds]
        self._driver = driver
        self._update_ns = update_ns
        self._share = share
        self._due_ns = 0
        self._last: list[NDArray[np.int64]] = []

    def added_to(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the bytes of each kind; what that cost is part of its cost."""
        spent_ns = 0
        now_ns = time.monotonic_ns()
        if now_ns >= self._due_ns:
            spent_ns = _cost(lambda: time.thread_time_ns() + self._driver.cpu_ns, self._look)
            rest_ns = int(spent_ns / self._share) if self._share else 0
            self._due_ns = now_ns + max(self._update_ns, rest_ns)
        cost = replace(snapshot.cost, cpu_ns=snapshot.cost.cpu_ns + spent_ns)
        passed = self._passed(snapshot) if self._last else None
        return replace(snapshot, passed=passed, cost=cost)

    def close(self) -> None:
        """There is nothing to release."""

    def _look(self) -> None:
        self._last = self._driver.passed_regions(self._schemes)

    def _passed(self, snapshot: Snapshot) -> PassedBytes:
        passed = PassedBytes.unknown(self._kinds, len(snapshot))
        for row, regions in enumerate(self._last):
            for number in range(len(snapshot.targets)):
                tried = regions[regions[:, 0] == number]
                rows = np.flatnonzero(snapshot.target == number)
                if len(tried):
                    bounds = snapshot.start[rows], snapshot.end[rows]
                    within = amount_within(tried[:, 1:3], tried[:, 3], *bounds)
                    passed.size_bytes[row, rows] = np.rint(within).astype(np.int64)
        return passed


def _cost(clock: Callable[[], int], act: Callable[[], None]) -> int:
    begin_ns = clock()
    act()
    return max(0, clock() - begin_ns)
