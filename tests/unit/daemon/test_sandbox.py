"""The system calls that the daemon may make are the same on each processor.

Private names: the numbers are nobody else's business.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pydamon._daemon.sandbox import _ARM64, _X86_64

_X86_64_HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
_ARM64_HEADER = Path("/usr/include/asm-generic/unistd.h")
_REPLACED = {"stat", "lstat", "access", "poll", "select", "readlink"}
"""System calls of x86-64 that arm64 has under newer names only."""


def names_in(header: Path) -> dict[int, str]:
    """The names of system calls, by their numbers; `3264` is the prefix of those of 64 bits."""
    if not header.exists():
        pytest.skip(f"needs the kernel's headers: {header}")
    rows = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    return {int(number): re.sub("^fstatat$", "newfstatat", name) for name, number in rows}


def test_each_processor_has_the_same_system_calls() -> None:
    x86_64, arm64 = names_in(_X86_64_HEADER), names_in(_ARM64_HEADER)
    ours = {x86_64[number] for number in _X86_64}
    theirs = {arm64[number] for number in _ARM64}
    assert theirs == ours - _REPLACED | {"faccessat"}
