"""The mappings of a process from /proc/PID/maps, and the ranges to monitor in them."""

from __future__ import annotations

import re
from enum import Enum

import numpy as np

from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.ranges import Ranges, close_gaps
from pydamon._observe.linux.procfs import read, text_of

__all__ = ["USER_END", "Rule", "parse_maps", "ranges_of", "read_maps"]

USER_END = 1 << 56
"""No address of user space is higher than this on any processor."""
_THREE = 3
"""The number of ranges of DAMON's rule, and the least that others may have."""
_MAPPING = re.compile(
    rb"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) (\S{4}) ([0-9a-f]+) (\S+ \d+) *([^\n]*)$",
    re.MULTILINE,
)


class Rule(Enum):
    """How the monitored ranges follow from the mappings."""

    THREE = "three"
    """DAMON's rule: three ranges around the two largest gaps, which span every smaller gap."""
    GAPS = "gaps"
    """All accessible mappings; only as many of the largest gaps are left out as regions allow."""
    MAPPINGS = "mappings"
    """One range for each mapping, for probes that cannot look inside a mapping."""


def read_maps(pid: int) -> bytes:
    """The content of /proc/PID/maps, empty for a zombie; raises `OSError`."""
    return read(f"/proc/{pid}/maps")


def parse_maps(text: bytes) -> MappingTable:
    """Parse the content of a /proc/PID/maps; mappings without a name become `[anon]`.

    A newline in a file's name stays the four characters `\\012` that the kernel writes.
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
    """The ranges to monitor in *mappings* by a *rule*: at most *max_ranges*, or 3."""
    if rule is Rule.THREE:
        kept = [m for m in mappings.mappings if m.name != "[vsyscall]"]
    else:
        kept = [m for m in mappings.mappings if m.is_memory]
    bounds: Ranges = np.array([(m.start, m.end) for m in kept], np.int64).reshape(-1, 2)
    if rule is Rule.MAPPINGS or len(bounds) < 2:
        return bounds
    return close_gaps(bounds, _THREE if rule is Rule.THREE else max(_THREE, max_ranges))
