"""The memory of a target: what actions act on, and why a process cannot be acted on."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._model.mappings import MappingTable
from pydamon._model.regions import Ranges
from pydamon._observe.linux import procfs
from pydamon._observe.linux.pages import FILE, PageRuns, ProcessPages
from pydamon._observe.linux.process import Process
from pydamon._observe.targets.members import CGROUPS, cgroup_of

__all__ = ["PRIVILEGES", "Refusal", "TargetMemory", "holds_swap", "refusal_of"]

PRIVILEGES = (
    "needs root, or CAP_SYS_NICE and CAP_SYS_PTRACE, and for processes of others "
    "CAP_DAC_READ_SEARCH"
)
_PASSING = (errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOMEM, errno.EFAULT)
"""Not about the right to act: memory that is not there or is busy, which a try meets sometimes."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be done to a process, and what to do about that."""

    why: str
    hint: str = ""
    gone: bool = False
    """The process has exited, so that nobody has to be told."""


def refusal_of(number: int, call: str, *, since: str = "") -> Refusal | None:
    """What an errno says of the right to make a *call*; `None` where that is not lacking.

    *since* names the release of Linux that brought what was asked for.
    """
    if number == 0 or number in _PASSING:
        return None
    if number == errno.ESRCH:
        return Refusal("it has exited", gone=True)
    if number in (errno.EPERM, errno.EACCES):
        return Refusal(f"{call}: {os.strerror(number)}", PRIVILEGES)
    if number in (errno.EINVAL, errno.ENOSYS):
        hint = f"it needs Linux {since}, configured with it" if since else ""
        return Refusal(f"this kernel cannot do that ({call})", hint)
    return Refusal(f"{call}: {os.strerror(number)}")


_SHMEM = ("/dev/shm/", "/memfd:", "/dev/zero", "/SYSV", "[anon_shmem")


class TargetMemory(Closing):
    """One process, what it has mapped, and the state of its pages."""

    def __init__(self, process: Process, mappings: MappingTable) -> None:
        self.process = process
        self.mappings = mappings
        self.pages = ProcessPages(process)
        self._known: dict[str, bool] = {}
        """Of which names of mappings it is known whether files are behind them."""

    def update(self, mappings: MappingTable) -> None:
        """Take note of what is mapped now."""
        if mappings is not self.mappings:
            self.mappings = mappings
            for name in ("bounds", "in_files", "_of_files"):
                self.__dict__.pop(name, None)
            if len(self._known) > 2 * len(mappings.mappings):
                self._known.clear()

    def close(self) -> None:
        """Close the files."""
        self.pages.close()

    @cached_property
    def bounds(self) -> Ranges:
        """Start and end of every mapping, sorted."""
        rows = [(m.start, m.end) for m in self.mappings.mappings]
        return np.array(rows, np.int64).reshape(-1, 2)

    @cached_property
    def in_files(self) -> Ranges:
        """Mappings of files, shared memory included."""
        named = [mapping.name.startswith("/") for mapping in self.mappings.mappings]
        return self.bounds[np.array(named, np.bool_)]

    @cached_property
    def _of_files(self) -> NDArray[np.bool_]:
        """For each mapping whether its pages can be had from a file again, without swap."""
        names = [mapping.name for mapping in self.mappings.mappings]
        if unknown := set(names) - self._known.keys():
            mounts = _mounts(self.process.pid)
            self._known |= {name: _is_of_file(name, mounts) for name in unknown}
        return np.array([self._known[name] for name in names], np.bool_)

    def mapping_at(self, address: NDArray[np.int64]) -> NDArray[np.intp]:
        """The index of the mapping that each address is in; -1 for none."""
        if not len(self.bounds):
            return np.full(len(address), -1, np.intp)
        at = np.searchsorted(self.bounds[:, 0], address, side="right") - 1
        outside = (at < 0) | (address >= self.bounds[at, 1])
        return np.where(outside, -1, at)

    def of_file(self, runs: PageRuns) -> NDArray[np.bool_]:
        """For each run of pages whether it is a file's, so that it needs no swap."""
        if not len(self.bounds):
            return np.zeros(len(runs.start), np.bool_)
        at = self.mapping_at(runs.start)
        found: NDArray[np.bool_] = (at >= 0) & self._of_files[at] & ((runs.flags & FILE) != 0)
        return found


def holds_swap(pid: int) -> bool:
    """Whether the machine has free swap that the process may use."""
    if procfs.meminfo_of(procfs.read("/proc/meminfo")).get("SwapFree") == 0:
        return False
    cgroup = PurePath(cgroup_of(pid))
    for group in (cgroup, *cgroup.parents):
        try:
            limit = (CGROUPS / group.relative_to("/") / "memory.swap.max").read_text()
        except (OSError, ValueError):
            continue
        if limit.strip() == "0":
            return False
    return True


def _mounts(pid: int) -> list[tuple[str, str]]:
    """Mount points and types of file systems, the longest first."""
    try:
        mounts = procfs.mount_points(procfs.read(f"/proc/{pid}/mounts"))
    except OSError:
        return []
    return sorted(mounts, key=lambda mount: -len(mount[0]))


def _is_of_file(name: str, mounts: Sequence[tuple[str, str]]) -> bool:
    if not name.startswith("/") or name.startswith(_SHMEM):
        return False
    for point, kind in mounts:
        if point == "/" or name.startswith(f"{point}/"):
            return kind not in ("tmpfs", "hugetlbfs", "ramfs")
    return True
