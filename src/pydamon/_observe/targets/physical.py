"""Physical memory: which addresses are memory, of which node, and charged to which cgroup."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeUnavailable, TargetError, UsageError
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Target
from pydamon._observe.targets.base import Layout
from pydamon._observe.targets.members import CGROUPS, cgroup_directory

__all__ = ["CgroupPages", "PaddrSpace"]

_NODES = Path("/sys/devices/system/node")
_BLOCK = Path("/sys/devices/system/memory/block_size_bytes")
_RAM = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) : System RAM(?: .*)?$", re.MULTILINE)


class PaddrSpace:
    """All physical memory, or that of some *nodes*: one target, with a mapping for each node.

    Raises `TargetError` where only root may know, and `UsageError` for a node that is not there.
    """

    def __init__(self, nodes: tuple[int, ...] = ()) -> None:
        ram = _ram()
        known = _node_blocks() or {0: ram}
        for node in nodes:
            if node not in known:
                names = ", ".join(map(str, sorted(known)))
                raise UsageError(f"there is no memory node {node}", hint=f"there is: {names}")
        pieces = [
            Mapping(max(start, low), min(end, high), "", f"node {node}")
            for node, blocks in known.items()
            if not nodes or node in nodes
            for low, high in blocks
            for start, end in ram
            if max(start, low) < min(end, high)
        ]
        mappings = MappingTable(tuple(sorted(pieces, key=lambda m: m.start)))
        target = Target(0, "physical memory", mappings)
        bounds = [(m.start, m.end) for m in mappings.mappings]
        self._layout = Layout((target,), (), [mappings], [np.array(bounds, np.int64)])

    def update(self, max_ranges: int) -> Layout:
        del max_ranges
        return self._layout

    @property
    def follows_memory(self) -> bool:
        """Physical memory is there."""
        return False

    @property
    def alive(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to let go of."""


def _ram() -> list[tuple[int, int]]:
    """The ranges of memory, in whole pages: bytes, without what drivers and firmware keep."""
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
    """The ranges of each node, neighbours joined; empty where the kernel knows no nodes."""
    found: dict[int, list[tuple[int, int]]] = {}
    try:
        size = int(_BLOCK.read_text(), 16)
        nodes = [path for path in _NODES.glob("node[0-9]*") if path.name[4:].isdigit()]
    except OSError:
        return {}
    for path in nodes:
        numbers = sorted(int(p.name[6:]) for p in path.glob("memory*") if p.name[6:].isdigit())
        ranges: list[tuple[int, int]] = []
        for number in numbers:
            start = number * size
            if ranges and ranges[-1][1] == start:
                start = ranges.pop()[0]
            ranges.append((start, (number + 1) * size))
        if ranges:
            found[int(path.name[4:])] = ranges
    return found


_PAGES = Path("/proc/kpagecgroup")
_CHUNK_PAGES = 1 << 17


class CgroupPages:
    """The pages that *cgroup* (a path, or a name below /sys/fs/cgroup) and those below it own.

    *ranges* are the physical addresses that matter. Raises `TargetError` for a cgroup that is not
    there, and `ProbeUnavailable` where this kernel or user cannot ask.
    """

    def __init__(self, cgroup: str, ranges: NDArray[np.int64]) -> None:
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
        self.refresh()

    def refresh(self) -> None:
        """Look again at who owns the pages."""
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
        """How much of each of some ranges of addresses is the cgroup's: bytes."""
        found = np.zeros(len(start), np.int64)
        for (low, _), below in zip(self._ranges.tolist(), self._below, strict=True):
            last = len(below) - 1
            first = np.clip((start - low) // PAGE_SIZE, 0, last)
            beyond = np.clip(-((low - end) // PAGE_SIZE), 0, last)
            found += (below[beyond] - below[first]).astype(np.int64) * PAGE_SIZE
        return found


def _owners(fd: int, low: int, high: int) -> NDArray[np.uint64]:
    """The inode of the cgroup that owns each page between two addresses."""
    parts = []
    for first in range(low // PAGE_SIZE, high // PAGE_SIZE, _CHUNK_PAGES):
        pages = min(_CHUNK_PAGES, high // PAGE_SIZE - first)
        part = np.zeros(pages, np.uint64)
        data = np.frombuffer(os.pread(fd, 8 * pages, 8 * first), np.uint64)
        part[: len(data)] = data
        parts.append(part)
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)
