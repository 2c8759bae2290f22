"""Physical memory: its addresses, its nodes, and the cgroups that pages are charged to."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeUnavailable, TargetError, UsageError
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.ranges import PAGE_SIZE, Ranges, join
from pydamon._model.snapshot import Target
from pydamon._observe.linux.cgroups import CGROUPS, cgroup_directory
from pydamon._observe.targets.base import Layout

__all__ = ["CgroupPages", "PaddrSpace"]

_NODES = Path("/sys/devices/system/node")
_BLOCK = Path("/sys/devices/system/memory/block_size_bytes")
_RAM = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) : System RAM(?: .*)?$", re.MULTILINE)


class PaddrSpace:
    """All physical memory, or that of some *nodes*: one target, with a mapping for each node.

    Raises `TargetError` if this user may not know the addresses, and `UsageError` if there is no
    such node.
    """

    def __init__(self, nodes: tuple[int, ...] = ()) -> None:
        ram = _ram()
        by_node = _node_blocks() or {0: ram}
        for node in nodes:
            if node not in by_node:
                names = ", ".join(map(str, sorted(by_node)))
                raise UsageError(f"there is no memory node {node}", hint=f"there is: {names}")
        pieces = [
            Mapping(max(start, low), min(end, high), "", f"node {node}")
            for node, blocks in by_node.items()
            if not nodes or node in nodes
            for low, high in blocks
            for start, end in ram
            if max(start, low) < min(end, high)
        ]
        mappings = MappingTable(tuple(sorted(pieces, key=lambda m: m.start)))
        target = Target(0, "physical memory", mappings)
        self._layout = Layout((target,), (), [mappings], [mappings.bounds])

    def update(self, max_ranges: int) -> Layout:
        del max_ranges
        return self._layout

    @property
    def follows_memory(self) -> bool:
        """Physical memory never changes."""
        return False

    @property
    def alive(self) -> bool:
        return True

    def close(self) -> None:
        """There is nothing to release."""


def _ram() -> list[tuple[int, int]]:
    """The ranges of memory in bytes, whole pages, without those of drivers and firmware."""
    text = Path("/proc/iomem").read_text()
    bounds = [(int(start, 16), int(end, 16) + 1) for start, end in _RAM.findall(text)]
    ranges = [
        (-(-start // PAGE_SIZE) * PAGE_SIZE, end // PAGE_SIZE * PAGE_SIZE) for start, end in bounds
    ]
    if not any(end for _, end in ranges):
        raise TargetError(
            "only root may know where physical memory lies", hint="run as root (CAP_SYS_ADMIN)"
        )
    return ranges


def _node_blocks() -> dict[int, list[tuple[int, int]]]:
    """The ranges of each node, in bytes; empty if the kernel has no nodes."""
    by_node: dict[int, list[tuple[int, int]]] = {}
    try:
        size = int(_BLOCK.read_text(), 16)
        nodes = [path for path in _NODES.glob("node[0-9]*") if path.name[4:].isdigit()]
    except OSError:
        return {}
    for path in nodes:
        numbers = sorted(int(p.name[6:]) for p in path.glob("memory*") if p.name[6:].isdigit())
        blocks = np.array([(n * size, (n + 1) * size) for n in numbers], np.int64).reshape(-1, 2)
        if len(blocks):
            by_node[int(path.name[4:])] = [(low, high) for low, high in join(blocks).tolist()]
    return by_node


_PAGES = Path("/proc/kpagecgroup")
_CHUNK_PAGES = 1 << 17
"""Pages that are read at once."""


class CgroupPages:
    """The pages that are charged to *cgroup* (a path below /sys/fs/cgroup) and those below it.

    *ranges* are the physical addresses that matter. Raises `TargetError` if there is no such
    cgroup, and `ProbeUnavailable` if this kernel does not tell, or not to this user.
    """

    def __init__(self, cgroup: str, ranges: Ranges) -> None:
        self._path = cgroup_directory(cgroup)
        counts = ("memory.current", "memory.usage_in_bytes")
        if not any((self._path / name).exists() for name in counts) and self._path != CGROUPS:
            raise TargetError(
                f"no memory is charged to the cgroup {self._path}, but to the one above it",
                hint="it needs +memory in the cgroup.subtree_control above it",
            )
        if not os.access(_PAGES, os.R_OK):
            raise ProbeUnavailable(f"{_PAGES} cannot be read: it is for root, and CONFIG_MEMCG")
        self._ranges = ranges
        self._below: list[NDArray[np.int32]] = []
        """How many pages of each range are charged to it, below each page of the range."""
        self.refresh()

    def refresh(self) -> None:
        """Read again which pages are charged to it."""
        inodes = [path.stat().st_ino for path in [self._path, *self._path.rglob("*/")]]
        fd = os.open(_PAGES, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._below = [
                np.append(
                    np.int32(0), np.cumsum(np.isin(_owners(fd, low, high), inodes), dtype=np.int32)
                )
                for low, high in self._ranges.tolist()
            ]
        finally:
            os.close(fd)

    def bytes_in(self, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many bytes of each [start, end) are charged to it."""
        charged = np.zeros(len(start), np.int64)
        for (low, _), below in zip(self._ranges.tolist(), self._below, strict=True):
            last = len(below) - 1
            first = np.clip((start - low) // PAGE_SIZE, 0, last)
            beyond = np.clip(-((low - end) // PAGE_SIZE), 0, last)
            charged += (below[beyond] - below[first]).astype(np.int64) * PAGE_SIZE
        return charged


def _owners(fd: int, low: int, high: int) -> NDArray[np.uint64]:
    """The inode of the cgroup that each page between two addresses is charged to."""
    parts = []
    for first in range(low // PAGE_SIZE, high // PAGE_SIZE, _CHUNK_PAGES):
        pages = min(_CHUNK_PAGES, high // PAGE_SIZE - first)
        part = np.zeros(pages, np.uint64)
        data = np.frombuffer(os.pread(fd, 8 * pages, 8 * first), np.uint64)
        part[: len(data)] = data
        parts.append(part)
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)
