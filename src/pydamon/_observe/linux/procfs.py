r"""Reading /proc: the only place that makes text of it.

What stands there was chosen by strangers: a file's name may hold any byte but NUL and `/`, and a
process's name any byte but NUL. So lines end at `\n` alone (`str.splitlines` ends them at \r, \v,
\f, \x1c, \x85 and U+2028, too), and bytes that are not UTF-8 become lone surrogates.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Self

__all__ = [
    "PF_EXITING",
    "PF_KTHREAD",
    "Stat",
    "cgroup_paths",
    "lines_of",
    "meminfo_of",
    "mount_points",
    "read",
    "status_of",
    "text_of",
]

PF_EXITING, PF_KTHREAD = 0x4, 0x200000
"""Of `Stat.flags`."""
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_CHUNK_BYTES = 1 << 20
_MEMINFO = re.compile(rb"(\w+(?:\(\w+\))?):\s+(\d+)(?: kB)?")


def read(path: str) -> bytes:
    """All of a file; raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(fd, _CHUNK_BYTES):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def text_of(data: bytes) -> str:
    """Bytes as text, from which the same bytes can be made again."""
    return data.decode("utf-8", "surrogateescape")


def lines_of(data: bytes) -> list[str]:
    """The lines of a file, without their ends."""
    return [text_of(line) for line in data.split(b"\n") if line]


def status_of(data: bytes) -> dict[str, str]:
    """The fields of a /proc/PID/status (the kernel escapes newlines of the name there)."""
    pairs = (line.partition(":") for line in lines_of(data))
    return {name: value.strip() for name, _, value in pairs}


def meminfo_of(data: bytes) -> dict[str, int]:
    """Bytes by name, of /proc/meminfo or of the meminfo of a memory node."""
    pairs = _MEMINFO.findall(data)
    return {text_of(name): 1024 * int(number) for name, number in pairs}


def cgroup_paths(data: bytes) -> dict[str, str]:
    """The path in each hierarchy of a /proc/PID/cgroup, by its controllers (version 2: none)."""
    fields = (line.split(":", 2) for line in lines_of(data))
    return {one[1]: one[2] for one in fields if len(one) == 3}


def mount_points(data: bytes) -> list[tuple[str, str]]:
    """The mount points of a /proc/PID/mounts, as /proc/PID/maps writes paths, and their types."""
    fields = (line.split(b" ") for line in data.split(b"\n"))
    return [(_as_in_maps(one[1]), text_of(one[2])) for one in fields if len(one) > 2]


def _as_in_maps(point: bytes) -> str:
    """A path of which /proc/PID/mounts escapes more than /proc/PID/maps, where only `\\n` is."""
    plain = _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), point)
    return text_of(plain.replace(b"\n", b"\\012"))


@dataclass(frozen=True, slots=True)
class Stat:
    """What is needed of a /proc/PID/stat; `started_ticks` are clock ticks since boot."""

    comm: str
    state: str
    flags: int
    started_ticks: int

    @classmethod
    def of(cls, data: bytes) -> Self | None:
        """`None` for what is no such file. The name stands in parentheses, and may hold some."""
        head, _, tail = data.rpartition(b")")
        fields = tail.split()
        try:
            comm = text_of(head.partition(b"(")[2])
            return cls(comm, fields[0].decode(), int(fields[6]), int(fields[19]))
        except (IndexError, ValueError):
            return None

    @property
    def lives(self) -> bool:
        """Whether this thread still has memory, and will go on."""
        return self.state not in "ZX" and not self.flags & PF_EXITING
