"""The memory of a target: what actions act on, and why a process cannot be acted on."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import PAGE_SIZE, Ranges, join, locate, overlaps
from pydamon._model.runs import expand, running_total
from pydamon._observe.linux import procfs
from pydamon._observe.linux.cgroup_memory import may_swap
from pydamon._observe.linux.cgroups import cgroup_of
from pydamon._observe.linux.pagemap import FILE, RUN, Frames, PageRuns, ProcessPages
from pydamon._observe.linux.process import Process

__all__ = ["PRIVILEGES", "Refusal", "Refusals", "TargetMemory", "holds_swap", "refusal_of"]

PRIVILEGES = (
    "needs root, or CAP_SYS_NICE and CAP_SYS_PTRACE, and for processes of others "
    "CAP_DAC_READ_SEARCH"
)
_TRANSIENT = (errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOMEM, errno.EFAULT)
"""Errors about memory that is busy or not there, which say nothing about the right to act."""
_SHMEM = ("/dev/shm/", "/memfd:", "/dev/zero", "/SYSV", "[anon_shmem")
"""How the names of shared memory begin: it needs swap, like anonymous memory."""
_SCANNED_GAP_BYTES = 1 << 20
"""Scanning across a gap of this size costs as much as a system call."""
_READ_GAP_BYTES = 64 << 10
"""The same for reading an entry of each page."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be done to a process, and what to do about it."""

    why: str
    hint: str = ""
    gone: bool = False
    """The process has exited, so nobody has to be told."""


def refusal_of(number: int, call: str, *, since: str = "") -> Refusal | None:
    """The refusal that an errno of a *call* stands for; `None` where the right is not lacking.

    *since* is the release of Linux that brought the feature.
    """
    if number == 0 or number in _TRANSIENT:
        return None
    if number == errno.ESRCH:
        return Refusal("it has exited", gone=True)
    if number in (errno.EPERM, errno.EACCES):
        return Refusal(f"{call}: {os.strerror(number)}", PRIVILEGES)
    if number in (errno.EINVAL, errno.ENOSYS):
        hint = f"it needs Linux {since}, configured with it" if since else ""
        return Refusal(f"this kernel cannot do that ({call})", hint)
    return Refusal(f"{call}: {os.strerror(number)}")


class TargetMemory(Closing):
    """One process, its mappings, and the state of its pages."""

    def __init__(self, process: Process, mappings: MappingTable) -> None:
        self.process = process
        self.mappings = mappings
        self.pages = ProcessPages(process)
        self._file_names: dict[str, bool] = {}
        """Names of mappings, and whether a file is behind each."""

    def update(self, mappings: MappingTable) -> None:
        """Take note of the mappings of now."""
        if mappings is not self.mappings:
            self.mappings = mappings
            for name in ("bounds", "in_files", "_of_files"):
                self.__dict__.pop(name, None)
            if len(self._file_names) > 2 * len(mappings.mappings):
                self._file_names.clear()

    def close(self) -> None:
        """Close the files."""
        self.pages.close()

    def runs(self, ranges: Ranges) -> PageRuns:
        """The resident and swapped pages in sorted ranges, of which there may be very many."""
        spans = join(ranges, _SCANNED_GAP_BYTES)
        if len(spans) == len(ranges):
            return self.pages.runs(ranges)
        runs = self.pages.runs(spans)
        pairs = overlaps(ranges, np.stack([runs.start, runs.end], axis=1))
        within = np.zeros(len(pairs.row), RUN)
        within["start"], within["end"] = pairs.start, pairs.end
        within["categories"] = runs.flags[pairs.other]
        return PageRuns(within)

    def frames(self, ranges: Ranges) -> tuple[NDArray[np.intp], Frames]:
        """The row and the frame of each page in sorted ranges, of which there may be very many."""
        row, place = expand((ranges[:, 1] - ranges[:, 0]) // PAGE_SIZE)
        spans = join(ranges, _READ_GAP_BYTES)
        read = [self.pages.frames(start, end) for start, end in spans.tolist()]
        read = read or [self.pages.frames(0, 0)]
        span = np.searchsorted(spans[:, 0], ranges[:, 0], side="right") - 1
        pages_before = running_total((spans[:, 1] - spans[:, 0]) // PAGE_SIZE)
        first = pages_before[span] + (ranges[:, 0] - spans[span, 0]) // PAGE_SIZE
        page = first[row] + place
        return row, Frames(
            np.concatenate([frames.exclusive for frames in read])[page],
            np.concatenate([frames.shared for frames in read])[page],
            np.concatenate([frames.frame for frames in read])[page],
        )

    @cached_property
    def bounds(self) -> Ranges:
        """Start and end of every mapping, sorted."""
        rows = [(mapping.start, mapping.end) for mapping in self.mappings.mappings]
        return np.array(rows, np.int64).reshape(-1, 2)

    @cached_property
    def in_files(self) -> Ranges:
        """Mappings of files, shared memory included."""
        named = [mapping.name.startswith("/") for mapping in self.mappings.mappings]
        return self.bounds[np.array(named, np.bool_)]

    @cached_property
    def _of_files(self) -> NDArray[np.bool_]:
        """For each mapping, whether its pages can be read from a file again, without swap."""
        names = [mapping.name for mapping in self.mappings.mappings]
        if new_names := set(names) - self._file_names.keys():
            mounts = _mounts(self.process.pid)
            self._file_names |= {name: _is_of_file(name, mounts) for name in new_names}
        return np.array([self._file_names[name] for name in names], np.bool_)

    def mapping_at(self, address: NDArray[np.int64]) -> NDArray[np.intp]:
        """The index of the mapping that each address is in; -1 for none."""
        return locate(self.bounds, address)

    def of_file(self, runs: PageRuns) -> NDArray[np.bool_]:
        """For each run of pages, whether it belongs to a file, so that it needs no swap."""
        if not len(self.bounds):
            return np.zeros(len(runs.start), np.bool_)
        index = self.mapping_at(runs.start)
        of_file: NDArray[np.bool_] = self._of_files[index] & ((runs.flags & FILE) != 0)
        return of_file & (index >= 0)


def holds_swap(pid: int) -> bool:
    """Whether the machine has free swap that the process may use."""
    if procfs.meminfo_of(procfs.read("/proc/meminfo")).get("SwapFree") == 0:
        return False
    return may_swap(cgroup_of(pid))


def _mounts(pid: int) -> list[tuple[str, str]]:
    """Mount points and types of file systems, the longest path first."""
    try:
        mounts = procfs.mount_points(procfs.read(f"/proc/{pid}/mounts"))
    except OSError:
        return []
    return sorted(mounts, key=lambda mount: -len(mount[0]))


def _is_of_file(name: str, mounts: Sequence[tuple[str, str]]) -> bool:
    """Whether a mapping of this name is of a file in a file system that is not in memory."""
    if not name.startswith("/") or name.startswith(_SHMEM):
        return False
    for point, kind in mounts:
        if point == "/" or name.startswith(f"{point}/"):
            return kind not in ("tmpfs", "hugetlbfs", "ramfs")
    return True


_ASK_AGAIN_S = 5.0


class Refusals:
    """Remembers which processes refuse, and tells people once.

    Parameters
    ----------
    label
        The name of the scheme.
    ask
        Returns why a process cannot be acted on now; `None` where it can.
    """

    def __init__(self, label: str, ask: Callable[[TargetMemory], Refusal | None]) -> None:
        self.complaints: list[str] = []
        """What people are to be told, each once."""
        self._label = label
        self._ask = ask
        self._answers = WeakKeyDictionary[TargetMemory, tuple[Refusal | None, float]]()
        self._told = WeakKeyDictionary[TargetMemory, str]()

    def of(self, memory: TargetMemory) -> Refusal | None:
        """Why a process cannot be acted on; `None` where it can."""
        now_s = time.monotonic()
        refusal, asked_s = self._answers.get(memory, (None, now_s))
        # A program that refuses may start another one that does not.
        is_stale = refusal is not None and now_s - asked_s >= _ASK_AGAIN_S
        if memory not in self._answers or is_stale:
            refusal = self._ask(memory)
            self._answers[memory] = refusal, now_s
        return refusal

    def allows(self, memory: TargetMemory) -> bool:
        """Whether a process can be acted on; if not, people are told."""
        refusal = self.of(memory)
        if refusal is not None:
            self._tell(memory, refusal)
        return refusal is None

    def add(self, memory: TargetMemory, refusal: Refusal) -> None:
        """Leave a process alone for now, because an action failed on it."""
        self._answers[memory] = refusal, time.monotonic()
        self._tell(memory, refusal)

    def _tell(self, memory: TargetMemory, refusal: Refusal) -> None:
        if refusal.gone or self._told.get(memory) == refusal.why or not memory.process.alive:
            return
        self._told[memory] = refusal.why
        pid = memory.process.pid
        self.complaints.append(f"{self._label}: pid {pid} is left alone: {refusal.why}")
