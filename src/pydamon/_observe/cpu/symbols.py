"""Names of functions from the symbol tables of programs and libraries: ELF64, little-endian."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["SymbolTable"]

_IDENTITY = b"\x7fELF\x02\x01"
_MOST_BYTES = 2**28
"""Of a table, or of the names of its symbols: a stranger may have written the file."""
_MOST_TABLES = 4
_LONGEST_NAME = 500
_FUNCTIONS: Final = (2, 10)
"""The types of symbols of functions; the second has its address chosen when it is first called."""
_HEADER = np.dtype(
    {
        "names": ["segments", "sections", "nr_segments", "section_size", "nr_sections"],
        "formats": ["<u8", "<u8", "<u2", "<u2", "<u2"],
        "offsets": [32, 40, 56, 58, 60],
        "itemsize": 64,
    }
)
_SECTION = np.dtype(
    {
        "names": ["type", "offset", "size", "link"],
        "formats": ["<u4", "<u8", "<u8", "<u4"],
        "offsets": [4, 24, 32, 40],
        "itemsize": 64,
    }
)
_SEGMENT = np.dtype(
    {
        "names": ["type", "offset", "address", "file_size"],
        "formats": ["<u4", "<u8", "<u8", "<u8"],
        "offsets": [0, 8, 16, 32],
        "itemsize": 56,
    }
)
_SYMBOL = np.dtype(
    [
        ("name", "<u4"),
        ("info", "u1"),
        ("other", "u1"),
        ("section", "<u2"),
        ("value", "<u8"),
        ("size", "<u8"),
    ]
)
_SYMBOLS, _DYNAMIC_SYMBOLS, _LOADED = 2, 11, 1


@dataclass(frozen=True, eq=False)
class SymbolTable:
    """The functions of a file, sorted by address: shape (functions,) each.

    `segments` has the place in the file, the address and the size of each part that is loaded.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    names: tuple[str, ...]
    segments: NDArray[np.int64]

    @classmethod
    def read(cls, path: str | Path) -> SymbolTable | None:
        """The functions of a file; `None` if it cannot be read, or is no program or library."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except (OSError, ValueError):
            return None
        try:
            is_file = stat.S_ISREG(os.fstat(fd).st_mode)
            is_known = is_file and os.pread(fd, len(_IDENTITY), 0) == _IDENTITY
            return cls._of(fd) if is_known else None
        except (OSError, ValueError, IndexError, OverflowError):
            return None
        finally:
            os.close(fd)

    @classmethod
    def _of(cls, fd: int) -> SymbolTable:
        header = _rows(fd, _HEADER, 0, 1)[0]
        sections = _rows(fd, _SECTION, int(header["sections"]), int(header["nr_sections"]))
        loaded = _rows(fd, _SEGMENT, int(header["segments"]), int(header["nr_segments"]))
        loaded = loaded[loaded["type"] == _LOADED]
        segments = np.column_stack([loaded[name] for name in ("offset", "address", "file_size")])
        found: dict[tuple[int, int], str] = {}
        # Of several names for a place, the one that others link to.
        for kind in (_SYMBOLS, _DYNAMIC_SYMBOLS):
            for section in sections[sections["type"] == kind][:_MOST_TABLES]:
                found.update(_functions(fd, section, sections))
        places = sorted(found)
        start, size = np.array(places, np.int64).reshape(-1, 2).T
        beyond = np.append(start[1:], start[-1:] + 1)  # where a size is missing
        end = np.where(size > 0, start + size, beyond)
        return cls(start, end, tuple(map(found.__getitem__, places)), segments.astype(np.int64))

    def name_at(self, offset: int) -> str:
        """The function at a place in the file; empty if none is there."""
        for begin, address, size in self.segments.tolist():
            if begin <= offset < begin + size:
                return self._name_of(offset - begin + address)
        return ""

    def _name_of(self, address: int) -> str:
        place = int(np.searchsorted(self.start, address, side="right")) - 1
        return self.names[place] if place >= 0 and address < self.end[place] else ""


def _bytes(fd: int, offset: int, size: int) -> bytes:
    """A part of a file, which may change meanwhile; raises `ValueError` if it is not all there."""
    data = os.pread(fd, size, offset) if 0 <= size <= _MOST_BYTES else b""
    if len(data) != size:
        raise ValueError("cut off, or too large")
    return data


def _rows(fd: int, dtype: np.dtype[np.void], offset: int, count: int) -> NDArray[np.void]:
    return np.frombuffer(_bytes(fd, offset, count * dtype.itemsize), dtype)


def _functions(
    fd: int, section: np.void, sections: NDArray[np.void]
) -> Iterator[tuple[tuple[int, int], str]]:
    """The address and size of each function of a symbol table, and its name."""
    count = int(section["size"]) // _SYMBOL.itemsize
    symbols = _rows(fd, _SYMBOL, int(section["offset"]), count)
    is_function = np.isin(symbols["info"] & 0xF, _FUNCTIONS) & (symbols["section"] > 0)
    symbols = symbols[is_function]
    of_names = sections[int(section["link"])]
    texts = _bytes(fd, int(of_names["offset"]), int(of_names["size"]))
    columns = (symbols[name].tolist() for name in ("name", "value", "size"))
    for name, value, size in zip(*columns, strict=True):
        text = texts[name : texts.index(b"\0", name)].decode(errors="replace")
        yield (value, size), text[:_LONGEST_NAME]
