"""What the program that traces the page cache and this process share: structures and offsets."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import NamedTuple

import numpy as np

from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.probes.ebpf.btf import Btf

__all__ = [
    "CHARGE_MEMCG",
    "CHARGE_OBJCG",
    "CHARGE_READER",
    "CPU",
    "FOLLOWED",
    "IDLE",
    "PLACE",
    "REUSE",
    "WEIGHT_UNIT",
    "Control",
    "Kernel",
    "kernel",
]

_FUNCTION = "folio_mark_accessed"

_FIELDS = (
    (("super_block", "s_dev"),),
    (("inode", "i_ino"),),
    (("inode", "i_sb"),),
    (("address_space", "host"),),
    (("folio", "flags"),),
    (("folio", "mapping"),),
    (("folio", "index"),),
    (("folio", "memcg_data"), ("folio", "flags")),
    (("folio", "_mapcount"),),
    # 6.10. Before that, `has_large_mapcount` is 0 and the value is not used.
    (("folio", "_large_mapcount"), ("folio", "_mapcount")),
    # Called _folio_nr_pages until 6.15.
    (("folio", "_nr_pages"), ("folio", "_folio_nr_pages")),
)
"""Members by their number in cache.bpf.c; where the kernel lacks the first name, the next."""


class Control(ctypes.Structure):
    """struct control"""

    _fields_ = (
        ("threshold", ctypes.c_uint64),
        ("head", ctypes.c_uint64),
        ("swapbacked", ctypes.c_uint64),
        ("has_large_mapcount", ctypes.c_uint32),
        ("charge", ctypes.c_uint32),
        ("css_cgroup", ctypes.c_uint32),
        ("cgroup_kn", ctypes.c_uint32),
        ("kn_id", ctypes.c_uint32),
        ("objcg_memcg", ctypes.c_uint32),
        ("followed", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("step", ctypes.c_uint64),
        ("page_bytes", ctypes.c_uint64),
        ("weight", ctypes.c_uint64),
    )


CPU = np.dtype(
    [
        ("seen", "u8"),
        ("sampled", "u8"),
        ("mapped", "u8"),
        ("full", "u8"),
        ("counted", "u8"),
        ("unused", "u8", 3),
    ]
)
PLACE = np.dtype([("inode", "u8"), ("index", "u8"), ("device", "u4"), ("hash", "u4")])
FOLLOWED = np.dtype([("last_ns", "u8"), ("cgroup", "u8"), ("bytes", "u8")])
IDLE = np.dtype([("cgroup", "u8"), ("bucket", "u8")])
REUSE = np.dtype([("folios", "u8"), ("bytes", "u8")])

WEIGHT_UNIT = 256
"""What the program adds for a folio that stands for itself alone."""

CHARGE_READER, CHARGE_MEMCG, CHARGE_OBJCG = range(3)
"""enum charge: how the program finds the cgroup of a folio."""


class Kernel(NamedTuple):
    """Facts from the kernel's BTF."""

    function: int
    """The id of the function that marks folios as accessed."""
    fields: tuple[int, ...]
    has_large_mapcount: bool
    has_cgroups: bool
    head: int
    swapbacked: int
    css_cgroup: int
    cgroup_kn: int
    kn_id: int
    objcg_memcg: int


@cache
def kernel() -> Kernel:
    """Read them once; raises `ProbeUnavailable` where the kernel has no such function."""
    btf = Btf()
    has_cgroups = _has(btf, "folio", "memcg_data") and _has(btf, "mem_cgroup", "css")
    of_cgroups = (
        btf.offset_of("mem_cgroup", "css") + btf.offset_of("cgroup_subsys_state", "cgroup"),
        btf.offset_of("cgroup", "kn"),
        btf.offset_of("kernfs_node", "id"),
        btf.offset_of("obj_cgroup", "memcg") if _has(btf, "obj_cgroup", "memcg") else 0,
    )
    return Kernel(
        btf.type_id(_FUNCTION),
        tuple(_offset(btf, names) for names in _FIELDS),
        _has(btf, "folio", "_large_mapcount"),
        has_cgroups,
        1 << btf.value_of("pageflags", "PG_head"),
        1 << btf.value_of("pageflags", "PG_swapbacked"),
        *(of_cgroups if has_cgroups else (0, 0, 0, 0)),
    )


def _has(btf: Btf, struct: str, member: str) -> bool:
    try:
        btf.offset_of(struct, member)
    except ProbeUnavailable:
        return False
    return True


def _offset(btf: Btf, names: tuple[tuple[str, str], ...]) -> int:
    *earlier, last = names
    for struct, member in earlier:
        if _has(btf, struct, member):
            return btf.offset_of(struct, member)
    return btf.offset_of(*last)
