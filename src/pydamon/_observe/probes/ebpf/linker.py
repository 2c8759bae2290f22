"""Read a BPF object, and put its programs together as the kernel takes them."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.probes.ebpf.elf import ElfError, ElfFile
from pydamon._observe.probes.ebpf.members import INSTRUCTION_BYTES

__all__ = [
    "NOTHING",
    "Linked",
    "Linker",
    "MapDefinition",
    "object_bytes",
    "read_maps",
    "read_object",
]

MapDefinition = tuple[int, int, int, int, int]
"""Type, sizes of keys and values, number of elements, and flags."""

_PSEUDO_MAP_FD, _PSEUDO_FUNC = 1, 4
_CALL, _PSEUDO_KERNEL_CALL = 0x85, 2
_RETURN_0 = bytes.fromhex("b7 00 00 00 00 00 00 00")
"""The instruction that takes the place of a call that is left out."""
_TEXT = ".text"
"""The section of static functions: the bodies of loops."""
_UNDEFINED = 0
"""The section of symbols that are not in the object."""
NOTHING: Mapping[str, int] = MappingProxyType({})


def object_bytes(path: Path) -> bytes:
    """The file of an object; raises `ProbeUnavailable` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def read_object(path: Path) -> tuple[ElfFile, list[Any]]:
    """An object and its symbols; raises `ProbeUnavailable` if the file cannot be read."""
    try:
        elf = ElfFile(object_bytes(path))
        table: Any = elf.get_section_by_name(".symtab")
        return elf, list(table.iter_symbols())
    except (ElfError, AttributeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ProbeUnavailable:
    return ProbeUnavailable(
        f"cannot read the BPF object {path.name}: {error}",
        hint="install pydamon again: the object is built when it is installed",
    )


def read_maps(elf: ElfFile, symbols: list[Any]) -> dict[str, MapDefinition]:
    """The definition of each map of an object."""
    section: Any = elf.get_section_by_name("maps")
    index, data = elf.get_section_index("maps"), section.data()
    return {
        symbol.name: struct.unpack_from("=5I", data, symbol["st_value"])
        for symbol in symbols
        if symbol["st_shndx"] == index and symbol.name
    }


class Linked(NamedTuple):
    """A program, put together."""

    name: str
    section: str
    code: bytes
    starts: list[int]
    """Where each of its functions begins, in instructions."""


class Linker:
    """Puts programs together: their code, the bodies of their loops, and the maps they use.

    *constants* has the values that programs ask for by name, and the BTF ids of functions of the
    kernel that they call. What it does not have is 0, and no call.
    """

    def __init__(
        self,
        elf: ElfFile,
        symbols: list[Any],
        map_fds: Mapping[str, int],
        constants: Mapping[str, int] = NOTHING,
    ) -> None:
        self._elf = elf
        self._constants = constants
        self._symbols = symbols
        self._map_fds = map_fds
        self._text = elf.get_section_index(_TEXT)
        self._bodies = {
            symbol["st_value"]: symbol
            for symbol in symbols
            if symbol["st_shndx"] == self._text and symbol["st_info"]["type"] == "STT_FUNC"
        }

    def programs(self, sections: Container[str]) -> Iterator[Linked]:
        """The programs in the sections of these names."""
        for index, section in enumerate(self._elf.iter_sections()):
            if section.name not in sections:
                continue
            for symbol in self._symbols:
                if symbol["st_shndx"] == index and symbol["st_info"]["type"] == "STT_FUNC":
                    yield Linked(symbol.name, section.name, *self.linked(section.name, symbol))

    def linked(self, section: str, symbol: Any) -> tuple[bytes, list[int]]:
        """The code of a program with the bodies behind it, and where each function begins.

        Offsets are in instructions.
        """
        code = bytearray()
        starts: dict[int, int] = {}
        """Of each body, by its place in the object, where it begins in *code*."""
        references: list[tuple[int, int]] = []
        todo = [(section, symbol)]
        functions = [0]
        while todo:
            name, function = todo.pop(0)
            begin = function["st_value"]
            if name == _TEXT:
                if begin in starts:
                    continue
                starts[begin] = len(code)
                functions.append(len(code) // INSTRUCTION_BYTES)
            shift = len(code) - begin
            end = begin + function["st_size"]
            code += self._elf.get_section_by_name(name).data()[begin:end]  # type: ignore[union-attr]
            for at, target in self._relocations(name, begin, end):
                place = at + shift
                if target["st_shndx"] == self._text:
                    # The address of a body: the object's has its place in the section.
                    (body,) = struct.unpack_from("=I", code, place + 4)
                    references.append((place, body + target["st_value"]))
                    todo.append((_TEXT, self._bodies[body + target["st_value"]]))
                elif target["st_shndx"] == _UNDEFINED:
                    self._put_in(code, place, self._constants.get(target.name, 0))
                else:
                    # A 64-bit load of a map's address: name the map by its descriptor instead.
                    code[place + 1] |= _PSEUDO_MAP_FD << 4
                    struct.pack_into("=I", code, place + 4, self._map_fds[target.name])
        for place, body in references:
            code[place + 1] |= _PSEUDO_FUNC << 4
            distance = (starts[body] - place) // INSTRUCTION_BYTES - 1
            struct.pack_into("=i", code, place + 4, distance)
        return bytes(code), functions

    def _put_in(self, code: bytearray, place: int, value: int) -> None:
        """Complete a call of the function of the kernel with that id, or a load of a constant."""
        if code[place] == _CALL:
            if not value:
                code[place : place + INSTRUCTION_BYTES] = _RETURN_0
                return
            code[place + 1] = _PSEUDO_KERNEL_CALL << 4
        else:
            struct.pack_into("=I", code, place + INSTRUCTION_BYTES + 4, value >> 32)
        struct.pack_into("=I", code, place + 4, value & 0xFFFFFFFF)

    def _relocations(self, section: str, begin: int, end: int) -> Iterator[tuple[int, Any]]:
        relocations: Any = self._elf.get_section_by_name(f".rel{section}")
        for relocation in relocations.iter_relocations() if relocations else ():
            if begin <= relocation["r_offset"] < end:
                yield relocation["r_offset"], self._symbols[relocation["r_info_sym"]]
