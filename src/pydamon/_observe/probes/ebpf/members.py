"""Members of the kernel's structures in BPF programs: their offsets differ between kernels."""

from __future__ import annotations

import struct
from collections.abc import Sequence

__all__ = ["INSTRUCTION_BYTES", "with_offsets"]

INSTRUCTION_BYTES = 8
"""Of every instruction of BPF."""
_LOAD_CLASS, _LOAD_MEMORY = 7, 1
"""The class of an instruction that loads: BPF_LDX; its bits of the operation code."""
_FIRST_MEMBER = 0x4000
"""From this offset on, a load names a member of a structure of the kernel by its number."""


def with_offsets(code: bytes, offsets: Sequence[int]) -> bytes:
    """The code, with the *offsets* of this kernel in loads of members, by the member's number."""
    patched = bytearray(code)
    for at in range(0, len(code) if offsets else 0, INSTRUCTION_BYTES):
        operation, _, offset = struct.unpack_from("=BBh", code, at)
        if operation & _LOAD_CLASS == _LOAD_MEMORY and offset >= _FIRST_MEMBER:
            number = (offset - _FIRST_MEMBER) // 8
            struct.pack_into("=h", patched, at + 2, offsets[number])
    return bytes(patched)
