"""Look-ups in the types of a kernel (BTF)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.probes.ebpf.btf import Btf

INT, STRUCT, UNION, ENUM = 1, 4, 5, 6


class Types:
    """Writes types as the kernel lays them out (Linux, Documentation/bpf/btf.rst)."""

    def __init__(self) -> None:
        self._strings = b"\0"
        self._words: list[int] = []

    def add(self, kind: int, name: str, size: int, *members: tuple[int | str, ...]) -> None:
        """A type with its members: words, of which names are given as such."""
        self._words += [self._text(name), kind << 24 | len(members) * (kind != INT), size]
        for member in members:
            self._words += [self._text(x) if isinstance(x, str) else x for x in member]

    def write(self, path: Path) -> Path:
        types = struct.pack(f"={len(self._words)}I", *self._words)
        header = struct.pack(
            "=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(self._strings)
        )
        path.write_bytes(header + types + self._strings)
        return path

    def _text(self, text: str) -> int:
        if not text:
            return 0
        at = len(self._strings)
        self._strings += text.encode() + b"\0"
        return at


@pytest.fixture
def btf(tmp_path: Path) -> Btf:
    types = Types()
    types.add(INT, "unsigned long", 8, (64,))
    types.add(ENUM, "others", 4, ("PG_lru", 1), ("PG_old", 2))
    types.add(ENUM, "pageflags", 4, ("PG_locked", 0), ("PG_young", 21), ("PG_idle", 22))
    types.add(UNION, "", 8, ("mapping", 1, 0), ("compound_head", 1, 0))
    types.add(STRUCT, "page", 64, ("flags", 1, 0), ("", 4, 64))
    return Btf(types.write(tmp_path / "vmlinux"))


def test_sizes_and_offsets_of_structures(btf: Btf) -> None:
    assert btf.size_of("page") == 64
    assert btf.offset_of("page", "flags") == 0
    assert btf.offset_of("page", "compound_head") == 8


def test_numbers_in_enumerations(btf: Btf) -> None:
    assert btf.value_of("pageflags", "PG_young") == 21
    assert btf.value_of("pageflags", "PG_locked") == 0


@pytest.mark.parametrize("name", ["PG_arch_3", "PG_old"])
def test_a_flag_that_the_kernel_does_not_have(btf: Btf, name: str) -> None:
    with pytest.raises(ProbeUnavailable, match=f"no {name}"):
        btf.value_of("pageflags", name)
