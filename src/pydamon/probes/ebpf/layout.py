"""The structures of sampler.bpf.c as Python sees them."""

from __future__ import annotations

import ctypes

import numpy as np

__all__ = [
    "ARMED",
    "BATCH",
    "ENTRY",
    "FRAMES",
    "GONE",
    "IDLE",
    "PENDING",
    "PLACE",
    "RANGE",
    "TABLES",
    "TARGET",
    "Control",
    "offset_of",
]

BATCH = 128
"""MAX_BATCH: entries that one run of a program goes through."""
TABLES = 64
"""MAX_TABLES: page tables that one run of `scan` copies."""
FRAMES = 256
"""MAX_FRAMES: pages that one run of `find_young` looks at."""

IDLE, ARMED, PENDING = range(3)


class Control(ctypes.Structure):
    """struct control"""

    _fields_ = (
        ("direct_map", ctypes.c_uint64),
        ("phys_mask", ctypes.c_uint64),
        ("levels", ctypes.c_uint32),
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
        ("block", "u4"),
        ("hits", "u4"),
        ("checks", "u4"),
        ("unobservable", "u4"),
        ("low", "u8"),
        ("high", "u8"),
        ("hit", "u8", 2),
        ("miss", "u8", 2),
    ]
)

PLACE = np.dtype([("addr", "u8"), ("target", "u8")])
GONE = np.uint64(2**64 - 1)
"""What `parents` says of a place whose target is gone."""

RANGE = np.dtype([("start", "u8"), ("length", "u8")])


def offset_of(field: str) -> int:
    """Where in an ENTRY a field begins, in bytes."""
    assert ENTRY.fields is not None
    return ENTRY.fields[field][1]
