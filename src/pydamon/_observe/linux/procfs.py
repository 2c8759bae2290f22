r"""Read and parse files of /proc, such as the mappings: all its bytes become text here.

Names in /proc may hold almost any byte: a file's name any but NUL and `/`, a process's name any
but NUL. So lines end at `\n` alone (`str.splitlines` also ends them at \r, \v, \f, \x1c, \x85 and
U+2028), and bytes that are not UTF-8 become lone surrogates.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from typing import Self

import numpy as np

from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.ranges import Ranges, close_gaps

__all__ = [
    "PF_EXITING",
    "PF_KTHREAD",
    "USER_END",
    "Rule",
    "Stat",
    "cgroup_paths",
    "every_process",
    "lines_of",
    "meminfo_of",
    "mount_points",
    "parse_maps",
    "ranges_of",
    "read",
    "read_maps",
    "status_of",
    "text_of",
]

PF_EXITING, PF_KTHREAD = 0x4, 0x200000
"""Bits of `Stat.flags`."""
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_CHUNK_BYTES = 1 << 20
_MEMINFO = re.compile(rb"(\w+(?:\(\w+\))?):\s+(\d+)(?: kB)?")


def read(path: str) -> bytes:
    """The whole content of a file; raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(fd, _CHUNK_BYTES):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def every_process() -> list[int]:
    """All processes that run now, kernel threads too, which cannot be watched."""
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]


def text_of(data: bytes) -> str:
    """Decode bytes, losslessly: bytes that are not UTF-8 become lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def lines_of(data: bytes) -> list[str]:
    """The nonempty lines of a file, without their line ends."""
    return [text_of(line) for line in data.split(b"\n") if line]


def status_of(data: bytes) -> dict[str, str]:
    """The fields of a /proc/PID/status (the kernel escapes newlines of the name there)."""
    pairs = (line.partition(":") for line in lines_of(data))
    return {name: value.strip() for name, _, value in pairs}


def meminfo_of(data: bytes) -> dict[str, int]:
    """Bytes by name, from /proc/meminfo or the meminfo of a memory node."""
    pairs = _MEMINFO.findall(data)
    return {text_of(name): 1024 * int(number) for name, number in pairs}


def cgroup_paths(data: bytes) -> dict[str, str]:
    """The path in each hierarchy of a /proc/PID/cgroup, by its controllers (version 2: `""`)."""
    rows = (line.split(":", 2) for line in lines_of(data))
    return {row[1]: row[2] for row in rows if len(row) == 3}


def mount_points(data: bytes) -> list[tuple[str, str]]:
    """Mount point and type of each row of a /proc/PID/mounts; paths are as in /proc/PID/maps."""
    rows = (line.split(b" ") for line in data.split(b"\n"))
    return [(_as_in_maps(row[1]), text_of(row[2])) for row in rows if len(row) > 2]


def _as_in_maps(point: bytes) -> str:
    """A path of /proc/PID/mounts, which escapes more bytes than /proc/PID/maps: that only `\\n`."""
    plain = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), point)
    return text_of(plain.replace(b"\n", b"\\012"))


@dataclass(frozen=True, slots=True)
class Stat:
    """Some fields of a /proc/PID/stat; `started_ticks` are clock ticks since boot."""

    comm: str
    state: str
    flags: int
    started_ticks: int
    major_faults: int

    @classmethod
    def of(cls, data: bytes) -> Self | None:
        """Parse a file; `None` if it is no such file. The name may hold parentheses."""
        head, _, tail = data.rpartition(b")")
        fields = tail.split()
        try:
            comm = text_of(head.partition(b"(")[2])
            return cls(comm, fields[0].decode(), int(fields[6]), int(fields[19]), int(fields[9]))
        except (IndexError, ValueError):
            return None

    @property
    def lives(self) -> bool:
        """Whether this thread still has memory: it is no zombie, and is not exiting."""
        return self.state not in "ZX" and not self.flags & PF_EXITING


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
