"""What a process has mapped: /proc/PID/maps, and the ranges to monitor in it."""

from __future__ import annotations

import re
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.ranges import close_gaps
from pydamon._model.regions import Ranges
from pydamon._observe.linux.procfs import read, text_of

__all__ = ["USER_END", "Rule", "parse_maps", "ranges_of", "read_maps"]

USER_END = 1 << 56
"""Where the kernel's half begins, at the latest."""
_THREE = 3
_MAPPING = re.compile(
    rb"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) (\S{4}) ([0-9a-f]+) (\S+ \d+) *([^\n]*)$",
    re.MULTILINE,
)


class Rule(Enum):
    """How target ranges are made of mappings."""

    THREE = "three"
    """DAMON's: three ranges, around the two largest gaps; they span every smaller gap."""
    GAPS = "gaps"
    """What can be accessed, with as many of the largest gaps left out as regions allow."""
    MAPPINGS = "mappings"
    """Every mapping a range of its own, for probes that cannot look inside one."""


def read_maps(pid: int) -> bytes:
    """The text of /proc/PID/maps; raises `OSError`, and is empty once the process is a zombie."""
    return read(f"/proc/{pid}/maps")


def parse_maps(text: bytes) -> MappingTable:
    """The mappings in the text of a /proc/PID/maps; mappings without a name become `[anon]`.

    A newline in a file's name is the four characters `\\012`, as the kernel writes it.
    """
    mappings = []
    for low, high, perms, offset, inode, name in _MAPPING.findall(text):
        start, end = int(low, 16), int(high, 16)
        if end <= USER_END:
            file = "" if inode.endswith(b" 0") else inode.decode()
            mappings.append(
                Mapping(
                    start, end, perms.decode(), text_of(name) or "[anon]", file, int(offset, 16)
                )
            )
    return MappingTable(tuple(mappings))


def ranges_of(mappings: MappingTable, rule: Rule, max_ranges: int) -> Ranges:
    """The ranges to monitor in *mappings* by a *rule*, at most *max_ranges* (but at least 3)."""
    if rule is Rule.THREE:
        kept = [m for m in mappings.mappings if m.name != "[vsyscall]"]
    else:
        kept = [m for m in mappings.mappings if m.is_memory]
    bounds: NDArray[np.int64] = np.array([(m.start, m.end) for m in kept], np.int64).reshape(-1, 2)
    if rule is Rule.MAPPINGS or len(bounds) < 2:
        return bounds
    return close_gaps(bounds, _THREE if rule is Rule.THREE else max(_THREE, max_ranges))
