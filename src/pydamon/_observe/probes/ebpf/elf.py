"""Read the sections, symbols and relocations of a BPF object.

A general ELF library takes longer to import than all else that starts the probe. Keys are the
names of the ELF specification, as pyelftools has them; layouts are those of ELF64, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["ElfError", "ElfFile", "Section", "Symbol"]

_IDENTITY = b"\x7fELF\x02\x01"
"""The magic number, 64 bits, little-endian."""
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")
_NO_BITS = 8
"""The type of a section that has no content in the file."""
_TYPES = {0: "STT_NOTYPE", 1: "STT_OBJECT", 2: "STT_FUNC", 3: "STT_SECTION", 4: "STT_FILE"}


class ElfError(ValueError):
    """A file that is no object of this kind."""


class Symbol(dict[str, Any]):
    """The fields of a symbol: st_value, st_size, st_shndx, and st_info with its type."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of an object."""

    name: str
    content: bytes
    names: bytes
    """The strings that its symbols refer to."""

    def data(self) -> bytes:
        """The content."""
        return self.content

    def iter_symbols(self) -> Iterator[Symbol]:
        """The symbols of a symbol table."""
        for name, info, _, section, value, size in _SYMBOL.iter_unpack(self.content):
            kind = _TYPES.get(info & 0xF, "")
            symbol = Symbol(st_value=value, st_size=size, st_shndx=section, st_info={"type": kind})
            symbol.name = _text_at(self.names, name)
            yield symbol

    def iter_relocations(self) -> Iterator[dict[str, int]]:
        """The relocations of a section of type REL."""
        for offset, info in _RELOCATION.iter_unpack(self.content):
            yield {"r_offset": offset, "r_info_sym": info >> 32}


class ElfFile:
    """An object in memory; raises `ElfError` for other data."""

    def __init__(self, data: bytes) -> None:
        if not data.startswith(_IDENTITY):
            raise ElfError("not a little-endian ELF64 object")
        try:
            self._sections = _sections(data)
        except (struct.error, IndexError, OverflowError, ValueError) as error:
            raise ElfError(f"not a whole object: {error}") from None

    def iter_sections(self) -> Iterator[Section]:
        """The sections in the order of their indices."""
        return iter(self._sections)

    def get_section_by_name(self, name: str) -> Section | None:
        """The section of a name."""
        index = self.get_section_index(name)
        return None if index is None else self._sections[index]

    def get_section_index(self, name: str) -> int | None:
        """The index of the section of a name."""
        return next((i for i, section in enumerate(self._sections) if section.name == name), None)


def _sections(data: bytes) -> list[Section]:
    *_, start, _, _, _, _, size, count, of_names = _HEADER.unpack_from(data)
    headers = [_SECTION.unpack_from(data, start + size * number) for number in range(count)]

    def content(number: int) -> bytes:
        kind, (offset, length) = headers[number][1], headers[number][4:6]
        if kind == _NO_BITS:
            return b""
        if offset + length > len(data):
            raise ValueError("a section ends behind the end")
        return data[offset : offset + length]

    names = content(of_names)
    return [
        Section(_text_at(names, header[0]), content(number), content(header[6]))
        for number, header in enumerate(headers)
    ]


def _text_at(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode()
