"""The kernel's figures of the memory of a cgroup, with cgroups of either version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

from pydamon._observe.linux.cgroups import cgroup_file, memory_directory
from pydamon._observe.linux.procfs import meminfo_of, read

__all__ = ["CgroupMemory", "cgroup_memory", "may_swap"]

_NO_LIMIT = 1 << 60
"""Version 1 has a number near 2**63 where there is no limit."""
_KERNEL = ("slab", "kernel_stack", "pagetables", "percpu", "vmalloc")
"""What `kernel` in memory.stat adds up, for kernels before 5.18."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupMemory:
    """How much memory is charged to a cgroup and those below it, as the kernel counts it.

    Memory is charged to the cgroup that used it first, also where several share it.

    Parameters
    ----------
    usage_bytes
        All of it: `memory.current`, or `memory.usage_in_bytes` of version 1.
    anonymous_bytes
        Heaps and stacks: memory without a file.
    shared_bytes
        Files in memory (tmpfs) and shared memory.
    cache_bytes
        The page cache of files on disks, mapped or not.
    mapped_bytes
        Files and shared memory that processes map.
    inactive_file_bytes, active_file_bytes
        The two lists of the page cache: the kernel takes pages from the inactive one.
    kernel_bytes
        What the kernel allocated on behalf of its processes.
    swap_bytes
        How much of it is swapped out.
    limit_bytes
        Its limit; `None` where it has none of its own.
    can_swap
        Whether its anonymous memory can be swapped out.

    Examples
    --------
    >>> from pydamon.containers import CgroupMemory
    >>> CgroupMemory(usage_bytes=350 << 20, inactive_file_bytes=50 << 20).kubelet_bytes >> 20
    300
    """

    usage_bytes: int = 0
    anonymous_bytes: int = 0
    shared_bytes: int = 0
    cache_bytes: int = 0
    mapped_bytes: int = 0
    inactive_file_bytes: int = 0
    active_file_bytes: int = 0
    kernel_bytes: int = 0
    swap_bytes: int = 0
    limit_bytes: int | None = None
    can_swap: bool = False

    @property
    def kubelet_bytes(self) -> int:
        """The "working set" of Kubernetes: usage without inactive page cache."""
        return max(0, self.usage_bytes - self.inactive_file_bytes)

    @property
    def unreclaimable_bytes(self) -> int:
        """What the kernel cannot take from it, however idle: without swap most of its memory."""
        own = 0 if self.can_swap else self.anonymous_bytes + self.shared_bytes
        return own + self.kernel_bytes


def cgroup_memory(path: str) -> CgroupMemory | None:
    """The memory of a cgroup; `None` if nothing counts it, or the cgroup is gone."""
    directory = memory_directory(path)
    if directory is None:
        return None
    try:
        fields = _fields(read(str(directory / "memory.stat")))
    except OSError:
        return None
    second = "total_inactive_file" not in fields
    if not second:
        return _of_version_1(directory, fields)
    return _of_version_2(directory, fields, can_swap=_has_swap() and may_swap(path))


def may_swap(path: str) -> bool:
    """Whether neither a cgroup nor those above it forbid swap; version 1 has nothing that does."""
    cgroup = PurePath(path)
    limits = (cgroup_file(str(group), "memory.swap.max") for group in (cgroup, *cgroup.parents))
    return all(limit is None or _number(limit) != 0 for limit in limits)


def _of_version_2(directory: Path, fields: dict[str, int], *, can_swap: bool) -> CgroupMemory:
    shared = fields.get("shmem", 0)
    usage = _number(directory / "memory.current")
    cache = max(0, fields.get("file", 0) - shared)
    kernel = fields.get("kernel", sum(fields.get(name, 0) for name in _KERNEL))
    if usage is None:  # the root has no such file
        usage = fields.get("anon", 0) + fields.get("file", 0) + kernel
    return CgroupMemory(
        usage_bytes=usage,
        anonymous_bytes=fields.get("anon", 0),
        shared_bytes=shared,
        cache_bytes=cache,
        mapped_bytes=fields.get("file_mapped", 0),
        inactive_file_bytes=fields.get("inactive_file", 0),
        active_file_bytes=fields.get("active_file", 0),
        kernel_bytes=kernel,
        swap_bytes=_number(directory / "memory.swap.current") or 0,
        limit_bytes=_number(directory / "memory.max"),
        can_swap=can_swap,
    )


def _of_version_1(directory: Path, fields: dict[str, int]) -> CgroupMemory:
    """`total_...` includes the cgroups below it, as all figures of version 2 do."""
    shared = fields.get("total_shmem", 0)
    limit = _number(directory / "memory.limit_in_bytes")
    return CgroupMemory(
        usage_bytes=_number(directory / "memory.usage_in_bytes") or 0,
        anonymous_bytes=fields.get("total_rss", 0),
        shared_bytes=shared,
        cache_bytes=max(0, fields.get("total_cache", 0) - shared),
        mapped_bytes=fields.get("total_mapped_file", 0),
        inactive_file_bytes=fields.get("total_inactive_file", 0),
        active_file_bytes=fields.get("total_active_file", 0),
        kernel_bytes=_number(directory / "memory.kmem.usage_in_bytes") or 0,
        swap_bytes=fields.get("total_swap", 0),
        limit_bytes=limit if limit is not None and limit < _NO_LIMIT else None,
        can_swap=_has_swap(),
    )


def _fields(data: bytes) -> dict[str, int]:
    pairs = (line.split() for line in data.split(b"\n"))
    return {
        pair[0].decode(errors="replace"): int(pair[1])
        for pair in pairs
        if len(pair) == 2 and pair[1].isdigit()
    }


def _number(path: Path) -> int | None:
    """The number in a file; `None` for `max`, and where there is no such file."""
    try:
        text = read(str(path)).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _has_swap() -> bool:
    try:
        return meminfo_of(read("/proc/meminfo")).get("SwapTotal", 0) > 0
    except OSError:
        return False
