"""Physical memory: which addresses are memory, and of which node."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pydamon.core.errors import TargetError, UsageError
from pydamon.core.mappings import Mapping, MappingTable
from pydamon.core.regions import PAGE_SIZE
from pydamon.core.snapshot import Target
from pydamon.spaces.base import Layout

__all__ = ["PaddrSpace"]

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
