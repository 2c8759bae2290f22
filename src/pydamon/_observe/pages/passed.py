"""Which pages of the targets are of some kinds, as the files of /proc tell."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._model.errors import UsageError
from pydamon._model.passed import PassedBytes, memcg_path
from pydamon._model.ranges import EMPTY, PAGE_SIZE, Ranges, covered, join
from pydamon._model.runs import true_runs
from pydamon._model.snapshot import Snapshot
from pydamon._observe.linux.cgroups import cgroup_directory
from pydamon._observe.linux.frames import ACTIVE, ANON, HUGE, LRU, FrameFile, flags_of, owners_of
from pydamon._observe.linux.pagemap import FILE, PRESENT, PageRuns, ProcessPages
from pydamon._observe.linux.pagemap import HUGE as HUGE_MAPPING
from pydamon._observe.linux.process import Process
from pydamon._observe.monitor import Monitor
from pydamon._observe.options import MonitorOptions

__all__ = ["Looks", "PassedLooks", "looks_at_pages"]

_FLAGS, _OWNERS = Path("/proc/kpageflags"), Path("/proc/kpagecgroup")
_PIECE_BYTES = 1 << 27
_PATIENCE_NS, _PATIENCE_SHARE = 20 * 10**6, 0.1
"""CPU time after which a look waits for the next snapshot; the share is of the window."""
_OUTGROWN = 1.5
"""Where memory has become so many times as much, the next look does not wait."""
_LOOKED_AT = 0.9
"""A look tells of regions of which it has seen this part at least."""
_BY_CATEGORY = {"anon": (PRESENT, FILE), "file": (PRESENT | FILE, 0), "huge": (HUGE_MAPPING, 0)}
"""Kinds that a scan of page tables tells: the categories of their pages, and those of others."""
_OF_FRAMES: dict[str, Callable[[NDArray[np.uint64]], NDArray[np.bool_]]] = {
    "anon": lambda flags: (flags & ANON) != 0,
    "file": lambda flags: ((flags & LRU) != 0) & ((flags & ANON) == 0),
    "active": lambda flags: (flags & (LRU | ACTIVE)) == (LRU | ACTIVE),
    "huge": lambda flags: (flags & HUGE) != 0,
}
"""Kinds that the flags of frames tell."""

KindRanges = Mapping[str, Ranges]
"""Where the pages of each kind are."""


class PassedLooks(Closing):
    """Adds to snapshots how much of each region is of some kinds of pages.

    *looks* finds the pages of one target in ranges, by its pid; `None` where nobody may look. The
    pages are those of a look that is at most an update interval old, or older where looks cost more
    than *share* of a CPU (`None`: any cost). A look at much memory goes on from snapshot to
    snapshot, so that no snapshot is late.
    """

    def __init__(
        self, kinds: tuple[str, ...], looks: Looks, update_ns: int, share: float | None
    ) -> None:
        self._kinds = kinds
        self._looks = looks
        self._update_ns = update_ns
        self._share = share
        self._due_ns = self._spent_ns = 0
        self._asked_bytes = 0
        """The size of all regions at the last look."""
        self._pieces: deque[tuple[int, Ranges]] = deque()
        self._next: dict[int, dict[str, list[Ranges]]] = {}
        """What the look that goes on has told so far."""
        self._by_target: dict[int, KindRanges] = {}
        self._looked_at: dict[int, Ranges] = {}
        """What the last look was at, of each target."""
        self._next_at: dict[int, list[Ranges]] = {}

    def added_to(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the bytes of each kind; what that cost is part of its cost."""
        begin_ns, now_ns = time.thread_time_ns(), time.monotonic_ns()
        if not self._pieces and (now_ns >= self._due_ns or self._is_outgrown(snapshot)):
            self._begin(snapshot)
        if self._pieces:
            patience_ns = max(_PATIENCE_NS, int(_PATIENCE_SHARE * snapshot.window_ns))
            self._go_on(begin_ns + patience_ns)
            self._spent_ns += time.thread_time_ns() - begin_ns
            if not self._pieces:
                rest_ns = int(self._spent_ns / self._share) if self._share else 0
                self._due_ns = now_ns + max(self._update_ns, rest_ns)
        passed = self._passed(snapshot) if self._by_target else None
        spent_ns = time.thread_time_ns() - begin_ns
        cost = replace(snapshot.cost, cpu_ns=snapshot.cost.cpu_ns + spent_ns)
        return replace(snapshot, passed=passed, cost=cost)

    def close(self) -> None:
        """Close the files."""
        self._looks.close()

    def _is_outgrown(self, snapshot: Snapshot) -> bool:
        """Whether there is much more memory than at the last look: programs start small."""
        return int(snapshot.size.sum()) > _OUTGROWN * self._asked_bytes

    def _begin(self, snapshot: Snapshot) -> None:
        """Begin a look at all regions of a snapshot."""
        self._next, self._next_at, self._spent_ns = {}, {}, 0
        self._asked_bytes = int(snapshot.size.sum())
        for index, target in enumerate(snapshot.targets):
            rows = snapshot.target == index
            ranges = join(np.stack([snapshot.start[rows], snapshot.end[rows]], axis=1))
            self._pieces += ((target.pid, piece) for piece in _pieces(ranges))

    def _go_on(self, until_ns: int) -> None:
        """Look at more pieces, until a CPU time; the last one makes the look count."""
        while self._pieces:
            pid, ranges = self._pieces.popleft()
            of_piece = self._looks.find(pid, ranges)
            if of_piece is not None:
                of_target = self._next.setdefault(pid, {kind: [EMPTY] for kind in self._kinds})
                for kind, of_kind in of_piece.items():
                    of_target[kind].append(of_kind)
                self._next_at.setdefault(pid, []).append(ranges)
            if time.thread_time_ns() > until_ns:
                break
        if not self._pieces:
            self._by_target = {
                pid: {kind: join(np.concatenate(parts)) for kind, parts in of_target.items()}
                for pid, of_target in self._next.items()
            }
            self._looked_at = {pid: join(np.concatenate(r)) for pid, r in self._next_at.items()}

    def _passed(self, snapshot: Snapshot) -> PassedBytes:
        passed = PassedBytes.unknown(self._kinds, len(snapshot))
        for index, target in enumerate(snapshot.targets):
            by_kind = self._by_target.get(target.pid)
            if by_kind is None:
                continue
            rows = np.flatnonzero(snapshot.target == index)
            known = covered(self._looked_at[target.pid], snapshot.start[rows], snapshot.end[rows])
            rows = rows[known >= _LOOKED_AT * snapshot.size[rows]]  # the rest is newer
            for row, kind in enumerate(self._kinds):
                sizes = covered(by_kind[kind], snapshot.start[rows], snapshot.end[rows])
                passed.size_bytes[row, rows] = sizes
        return passed


class _Frames(NamedTuple):
    """What tells kinds of page frames: /proc/kpageflags, and the cgroups that are meant."""

    flags: FrameFile | None
    owners: FrameFile | None
    cgroups: Mapping[str, NDArray[np.uint64]]

    def of_kind(
        self, kind: str, flags: NDArray[np.uint64], owners: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """Whether each frame is of a kind."""
        if kind in self.cgroups:
            return np.isin(owners, self.cgroups[kind])
        return _OF_FRAMES[kind](flags)


class Looks(Closing):
    """Finds pages of some kinds: of processes, and of physical memory, whose pid is 0."""

    def __init__(
        self,
        kinds: tuple[str, ...],
        processes: Callable[[], Mapping[int, Process]],
        young: Callable[[Process, int, int], NDArray[np.bool_]] | None = None,
        *,
        physical: bool = False,
    ) -> None:
        self._kinds = kinds
        self._processes = processes
        self._young = young
        self._pages: dict[int, tuple[Process, ProcessPages]] = {}
        with ExitStack() as stack:
            cgroups = {kind: _inodes(memcg_path(kind)) for kind in kinds if memcg_path(kind)}
            self._frames = _Frames(
                stack.enter_context(_opened(_FLAGS, "active"))
                if physical or cgroups or "active" in kinds
                else None,
                stack.enter_context(_opened(_OWNERS, "memcg")) if cgroups else None,
                cgroups,
            )
            self._files = stack.pop_all()

    def find(self, pid: int, ranges: Ranges) -> KindRanges | None:
        """The pages of each kind in some ranges of a target; `None` if they cannot be seen."""
        if pid == 0:
            return self._find_frames(ranges)
        pages, process = self._pages_of(pid)
        if pages is None or process is None or pages.refusal:
            return None
        runs = pages.runs(ranges)
        by_kind = {
            kind: _with_categories(runs, *_BY_CATEGORY[kind])
            for kind in self._kinds
            if kind in _BY_CATEGORY
        }
        others = [kind for kind in self._kinds if kind not in by_kind]
        if others:
            resident = join(_with_categories(runs, PRESENT, 0))
            by_kind |= self._find_single(others, process, pages, resident)
        return by_kind

    def close(self) -> None:
        """Close the files."""
        for _, pages in self._pages.values():
            pages.close()
        self._pages.clear()
        self._files.close()

    def _pages_of(self, pid: int) -> tuple[ProcessPages | None, Process | None]:
        """The pages of a process; those of processes that are gone are closed."""
        processes = self._processes()
        for known, (process, pages) in list(self._pages.items()):
            if processes.get(known) is not process:
                pages.close()
                del self._pages[known]
        if pid not in processes:
            return None, None
        if pid not in self._pages:
            self._pages[pid] = processes[pid], ProcessPages(processes[pid])
        return self._pages[pid][1], processes[pid]

    def _find_single(
        self, kinds: list[str], process: Process, pages: ProcessPages, resident: Ranges
    ) -> dict[str, Ranges]:
        """Pages of kinds that only single pages tell."""
        parts: dict[str, list[Ranges]] = {kind: [EMPTY] for kind in kinds}
        for start, end in _chunks(resident):
            of_kind = {}
            if by_frame := [kind for kind in kinds if kind != "young"]:
                frames = pages.frames(start, end).frame
                flags, owners = self._words(frames)
                for kind in by_frame:
                    of_kind[kind] = self._frames.of_kind(kind, flags, owners) & (frames > 0)
            if "young" in kinds and self._young is not None:
                of_kind["young"] = self._young(process, start, end)
            for kind, chosen in of_kind.items():
                parts[kind].append(_ranges(start, chosen))
        return {kind: join(np.concatenate(of_kind)) for kind, of_kind in parts.items()}

    def _find_frames(self, ranges: Ranges) -> dict[str, Ranges]:
        """Frames of physical memory, whose addresses are those of the ranges."""
        parts: dict[str, list[Ranges]] = {kind: [EMPTY] for kind in self._kinds}
        for start, end in _chunks(ranges):
            frames = np.arange(start // PAGE_SIZE, end // PAGE_SIZE)
            flags, owners = self._words(frames)
            for kind in self._kinds:
                parts[kind].append(_ranges(start, self._frames.of_kind(kind, flags, owners)))
        return {kind: join(np.concatenate(of_kind)) for kind, of_kind in parts.items()}

    def _words(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The flags and the owners of frames, as far as any kind needs them."""
        flags = owners = np.zeros(len(frames), np.uint64)
        if self._frames.flags is not None:
            flags = flags_of(self._frames.flags, frames)
        if self._frames.owners is not None:
            owners = owners_of(self._frames.owners, frames, flags)
        return flags, owners


def looks_at_pages(mon: Monitor, options: MonitorOptions, *, physical: bool = False) -> PassedLooks:
    """Looks at the pages of a monitor's targets; raises `UsageError` for kinds nobody can tell."""
    control = mon.page_control
    can_see_young = control is not None and control.scans
    if "young" in options.kinds and not can_see_young:
        raise UsageError(
            "passed: young needs a probe that can look at single pages",
            hint="the ebpf probe can; `pydamon doctor` says why it does not work here",
        )

    def processes() -> Mapping[int, Process]:
        return {process.pid: process for process in mon.layout.processes}

    young = control.young if control is not None and can_see_young else None
    looks = Looks(options.kinds, processes, young, physical=physical)
    return PassedLooks(options.kinds, looks, options.attrs.update_ns, options.passed_share)


def _with_categories(runs: PageRuns, categories: int, others: int) -> Ranges:
    """The pages that are of all *categories* and of none of *others*."""
    return runs.ranges((runs.flags & (categories | others)) == categories)


def _chunks(ranges: Ranges) -> list[tuple[int, int]]:
    """The ranges in pieces of bounded size."""
    return [
        (at, min(at + _PIECE_BYTES, end))
        for start, end in ranges.tolist()
        for at in range(start, end, _PIECE_BYTES)
    ]


def _pieces(ranges: Ranges) -> list[Ranges]:
    """The ranges in groups of about the same, bounded size."""
    chunks = np.array(_chunks(ranges), np.int64).reshape(-1, 2)
    group = (np.cumsum(chunks[:, 1] - chunks[:, 0]) - 1) // _PIECE_BYTES
    return np.split(chunks, np.flatnonzero(np.diff(group)) + 1) if len(chunks) else []


def _ranges(start: int, chosen: NDArray[np.bool_]) -> Ranges:
    """The ranges of the chosen pages from *start* on."""
    return start + true_runs(chosen).astype(np.int64) * PAGE_SIZE


def _inodes(path: str) -> NDArray[np.uint64]:
    """The numbers of a cgroup and of all below it; raises `TargetError` if there is none."""
    directory = cgroup_directory(path.lstrip("/"))
    cgroups = [directory, *directory.rglob("*/")]
    return np.array([cgroup.stat().st_ino for cgroup in cgroups], np.uint64)


def _opened(path: Path, kind: str) -> FrameFile:
    try:
        return FrameFile(path)
    except OSError as error:
        raise UsageError(
            f"passed: {kind} needs {path}: {error.strerror}", hint="run as root"
        ) from None
