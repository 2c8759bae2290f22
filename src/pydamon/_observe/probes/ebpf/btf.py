"""Layouts: types and offsets of this kernel, from its BTF, and structures of the BPF programs."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pydamon._model.errors import ProbeUnavailable
from pydamon._model.regions import LOOKS

__all__ = [
    "ARMED",
    "ENTRY",
    "FRAMES",
    "GONE",
    "IDLE",
    "PENDING",
    "PLACE",
    "RANGE",
    "TABLES",
    "TARGET",
    "VMLINUX",
    "Btf",
    "Control",
    "offset_of",
]

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_MAGIC = 0xEB9F
_STRUCT, _UNION, _ENUM, _FUNC = 4, 5, 6, 12
# How many words a type has, by kind: a fixed number, and so many for each of its members.
_WORDS = [3 + {1: 1, 3: 3, 14: 1, 17: 1}.get(kind, 0) for kind in range(32)]
_PER_MEMBER = [{4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}.get(kind, 0) for kind in range(32)]


class Btf:
    """The types of the running kernel.

    Raises `ProbeUnavailable` if the kernel has no readable BTF.
    """

    def __init__(self, path: Path = VMLINUX) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ProbeUnavailable(
                f"cannot read {path}: {error.strerror}",
                hint="the kernel must be built with CONFIG_DEBUG_INFO_BTF",
            ) from None
        words = array("I", data[: len(data) // 4 * 4])
        if len(words) < 6 or words[0] & 0xFFFF != _MAGIC:
            raise ProbeUnavailable(f"{path} is not BTF of this machine's byte order")
        header, type_at, type_bytes, string_at = words[1], words[2], words[3], words[4]
        self._strings = data[header + string_at :]
        first = (header + type_at) // 4
        self._words = words[first : first + type_bytes // 4]
        self._index: list[int] = [0]
        """Where each type begins in `_words`, by its id."""
        self._build_index()

    def type_id(self, name: str, kind: int = _FUNC) -> int:
        """The id of a function (or another kind) by name; raises `ProbeUnavailable` if missing."""
        wanted = self._string_offset(name)
        words, index = self._words, self._index
        for type_id in range(1, len(index)):
            at = index[type_id]
            if words[at] == wanted and words[at + 1] >> 24 & 31 == kind:
                return type_id
        raise ProbeUnavailable(f"this kernel has no {name}")

    def structure_id(self, name: str) -> int:
        """The id of a structure by name; raises `ProbeUnavailable` if it is missing."""
        return self.type_id(name, _STRUCT)

    def offset_of(self, struct: str, member: str) -> int:
        """Byte offset of a member of a structure, or of one of its anonymous members."""
        wanted = self._string_offset(member)
        for name, offset in self._members(self.type_id(struct, _STRUCT), 0):
            if name == wanted:
                return offset
        raise ProbeUnavailable(f"struct {struct} of this kernel has no member {member}")

    def size_of(self, struct: str) -> int:
        """Bytes of a structure."""
        return self._words[self._index[self.type_id(struct, _STRUCT)] + 2]

    def value_of(self, enum: str, name: str) -> int:
        """The value of a name in an enumeration."""
        wanted = self._string_offset(name)
        at = self._index[self.type_id(enum, _ENUM)]
        for value in range(at + 3, at + 3 + 2 * (self._words[at + 1] & 0xFFFF), 2):
            if self._words[value] == wanted:
                return self._words[value + 1]
        raise ProbeUnavailable(f"enum {enum} of this kernel has no {name}")

    def _members(self, type_id: int, base: int) -> Iterator[tuple[int, int]]:
        """Name (an offset in the strings) and byte offset of each member."""
        words, at = self._words, self._index[type_id]
        info = words[at + 1]
        bitfields = info >> 31
        for member in range(at + 3, at + 3 + 3 * (info & 0xFFFF), 3):
            name, kind, bits = words[member], words[member + 1], words[member + 2]
            offset = base + ((bits & 0xFFFFFF) if bitfields else bits) // 8
            if name:
                yield name, offset
            elif words[self._index[kind] + 1] >> 24 & 31 in (_STRUCT, _UNION):
                yield from self._members(kind, offset)

    def _build_index(self) -> None:
        # There are some 100,000 types: this loop takes a third of the time of a start.
        words, add, fixed, per_member = self._words, self._index.append, _WORDS, _PER_MEMBER
        at, end = 0, len(words)
        while at < end:
            add(at)
            info = words[at + 1]
            kind = info >> 24 & 31
            at += fixed[kind] + per_member[kind] * (info & 0xFFFF)

    def _string_offset(self, text: str) -> int:
        at = self._strings.find(b"\0" + text.encode() + b"\0")
        if at < 0:
            raise ProbeUnavailable(f"this kernel has no {text}")
        return at + 1


TABLES = 128
"""MAX_TABLES: page tables that one run of `scan` copies."""
FRAMES = 1024
"""MAX_FRAMES: pages that one run of `find_young` checks."""

IDLE, ARMED, PENDING = range(3)
"""enum state: no sample; a sample to check; a sample to clear first."""


class Control(ctypes.Structure):
    """struct control in sampler.bpf.c"""

    _fields_ = (
        ("direct_map", ctypes.c_uint64),
        ("phys_mask", ctypes.c_uint64),
        ("top_shift", ctypes.c_uint32),
        ("task_mm", ctypes.c_uint32),
        ("task_tgid", ctypes.c_uint32),
        ("mm_pgd", ctypes.c_uint32),
        ("first", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("tick", ctypes.c_uint32),
        ("check", ctypes.c_uint32),
        ("pick", ctypes.c_uint32),
        ("max_ranges", ctypes.c_uint32),
        ("n_ranges", ctypes.c_uint32),
        ("target", ctypes.c_uint32),
        ("tgid", ctypes.c_uint32),
        ("shift", ctypes.c_uint32),
        ("addr", ctypes.c_uint64),
        ("peeked", ctypes.c_uint64 * 2),
        ("vmemmap", ctypes.c_uint64),
        ("young", ctypes.c_uint64),
        ("page_bytes", ctypes.c_uint32),
        ("page_flags", ctypes.c_uint32),
        ("page_head", ctypes.c_uint32),
        ("page_mapcount", ctypes.c_uint32),
        ("n_copied", ctypes.c_uint32),
        ("seldom", ctypes.c_uint32),
        ("high_mask", ctypes.c_uint64),
        ("absent_mask", ctypes.c_uint64),
    )


TARGET = np.dtype(
    [
        ("task", "u8"),
        ("mm", "u8"),
        ("pgd", "u8"),
        ("bytes", "u8"),
        ("n_ranges", "u4"),
        ("gone", "u4"),
    ]
)

ENTRY = np.dtype(
    [
        ("start", "u8"),
        ("end", "u8"),
        ("addr", "u8"),
        ("target", "u4"),
        ("state", "u4"),
        ("period", "u4"),
        ("phase", "u4"),
        ("clear_bytes", "u4"),
        ("hits", "u4"),
        ("checks", "u4"),
        ("unobservable", "u4"),
        ("low", "u8"),
        ("high", "u8"),
        ("hit", "u8", 2),
        ("miss", "u8", 2),
    ]
)

MOST_ARMED = 128
"""MAX_ARMED: blocks of one epoch."""
BLOCK_PAGES = 16
NEVER = 2**64 - 1


class Pace(ctypes.Structure):
    """struct pace"""

    _fields_ = (
        ("due", ctypes.c_uint64),
        ("armed_ns", ctypes.c_uint64),
        ("after_ns", ctypes.c_uint64 * LOOKS),
        ("looked_ns", ctypes.c_uint64 * LOOKS),
        ("busy_ns", ctypes.c_uint64),
        ("interrupts", ctypes.c_uint64),
        ("n_looks", ctypes.c_uint32),
        ("look", ctypes.c_uint32),
        ("n_armed", ctypes.c_uint32),
        ("epoch", ctypes.c_uint32),
    )


BLOCK = np.dtype(
    [
        ("start", "u8"),
        ("end", "u8"),
        ("addr", "u8"),
        ("sample", "u8"),
        ("low", "u8"),
        ("high", "u8"),
        ("target", "u4"),
        ("clear_bytes", "u4"),
        ("period", "u4"),
        ("phase", "u4"),
        ("pages", "u4"),
        ("epochs", "u4"),
        ("unobservable", "u4"),
        ("cleared", "u4"),
        ("seen", "u4", LOOKS),
        ("hit_epochs", "u4", LOOKS),
        ("hit", "u8", 2),
        ("miss", "u8", 2),
        ("valid", "u2"),
        ("before", "u2"),
        ("hot", "u2"),
        ("state", "u2"),
        ("young", "u2", LOOKS),
    ]
)

PLACE = np.dtype([("addr", "u8"), ("target", "u8")])
GONE = np.uint64(2**64 - 1)
"""The value in `parents` of a place whose target is gone."""

RANGE = np.dtype([("start", "u8"), ("length", "u8")])


def offset_of(field: str) -> int:
    """Byte offset of a field in an ENTRY."""
    assert ENTRY.fields is not None
    return ENTRY.fields[field][1]
