"""What depends on the processor: sizes of pages, and the numbers of system calls.

To support another processor, add its numbers here, its format to `page_tables.py`, and a header
for `probes/ebpf/sampler.bpf.c`. (Writing into a traced process, `inject.py`, is a matter of its
own.)
"""

from __future__ import annotations

import os
from pathlib import Path

from pydamon._model.ranges import PAGE_SIZE

__all__ = [
    "HUGE_BYTES",
    "HUGE_SHIFT",
    "LEVEL_BITS",
    "MACHINE",
    "PAGE_SHIFT",
    "PAGE_SIZE",
    "TABLE_BYTES",
    "TABLE_ENTRIES",
    "numbers_in",
    "online_cpus",
    "system_call",
]

MACHINE = os.uname().machine
"""The name of this machine's processor, such as `x86_64` or `aarch64`."""

PAGE_SHIFT = PAGE_SIZE.bit_length() - 1
"""The logarithm of `PAGE_SIZE`."""
LEVEL_BITS = PAGE_SHIFT - 3
"""The logarithm of the entries that a page table has: they fill a page, with 8 bytes each."""
HUGE_SHIFT = PAGE_SHIFT + LEVEL_BITS
"""The logarithm of what a table of the lowest level maps, or a huge page in its place."""
TABLE_ENTRIES = 512
"""How many entries of a table are read at a time: all of them, with pages of 4 KiB."""
TABLE_BYTES = TABLE_ENTRIES * PAGE_SIZE
"""What so many entries of the lowest level map."""

_HUGE_PAGE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")


def _huge_bytes() -> int:
    try:
        return int(_HUGE_PAGE.read_text())
    except (OSError, ValueError):  # a kernel without them
        return 1 << HUGE_SHIFT


HUGE_BYTES = _huge_bytes()
"""Bytes of a transparent huge page."""

_ONLINE = Path("/sys/devices/system/cpu/online")


def online_cpus() -> list[int]:
    """The numbers of the CPUs that run now."""
    return numbers_in(_ONLINE.read_text())


def numbers_in(text: str) -> list[int]:
    """The numbers in a list such as `0-3,8`."""
    bounds = [part.split("-") for part in text.strip().split(",")]
    return [number for ends in bounds for number in range(int(ends[0]), int(ends[-1]) + 1)]


_SAME_EVERYWHERE = {"pidfd_open": 434, "pidfd_getfd": 438, "process_madvise": 440}
_SYSTEM_CALLS = {
    "x86_64": {
        "close": 3,
        "setresuid": 117,
        "move_pages": 279,
        "perf_event_open": 298,
        "kcmp": 312,
        "bpf": 321,
        "userfaultfd": 323,
    },
    "aarch64": {
        "close": 57,
        "setresuid": 147,
        "move_pages": 239,
        "perf_event_open": 241,
        "kcmp": 272,
        "bpf": 280,
        "userfaultfd": 282,
    },
    "riscv64": {"setresuid": 147, "kcmp": 272},
    "ppc64le": {"kcmp": 354},
    "s390x": {"kcmp": 343},
}


def system_call(name: str) -> int:
    """The number of a system call; -1, which the kernel answers with ENOSYS, if it is not known."""
    return (_SAME_EVERYWHERE | _SYSTEM_CALLS.get(MACHINE, {})).get(name, -1)
