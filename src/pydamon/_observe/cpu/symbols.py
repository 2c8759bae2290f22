"""Names of functions from the symbol tables of programs and libraries: ELF64, little-endian.

A general ELF library reads symbol by symbol: pyelftools took 2.6 s for libarrow's 65,000 functions,
while the monitor waited, and this 0.05 s. And strangers write these files, which root reads: no
number in them may ask for more time or memory than the file has bytes.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pydamon._model.runs import Runs

__all__ = ["SymbolTable"]

_IDENTITY = b"\x7fELF\x02\x01"
_MOST_BYTES = 2**28
"""Of all symbols of a file, with their names."""
_LONGEST_NAME = 500
_FUNCTIONS: Final = (2, 10)
"""The types of symbols of functions; the second has its address chosen when it is first called."""
_HEADER = np.dtype(
    {
        "names": ["segments", "sections", "nr_segments", "nr_sections"],
        "formats": ["<u8", "<u8", "<u2", "<u2"],
        "offsets": [32, 40, 56, 60],
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
_LOADED = 1
_TABLES: Final = (2, 11)
"""The types of sections with symbols; those of the second are for other files to link to."""


@dataclass(frozen=True, eq=False)
class SymbolTable:
    """The functions of a file, sorted by address: shape (functions,) each.

    `names` has the place of each one's name in `texts`, and `segments` the place in the file, the
    address and the size of each part that is loaded.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    names: NDArray[np.int64]
    texts: bytes
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
        functions, texts = _functions(fd, sections)
        # Of several names for a place, the one that others link to, which comes last.
        functions = functions[::-1]
        functions = functions[np.lexsort((functions["size"], functions["value"]))]
        functions = functions[Runs.of(functions["value"], functions["size"]).heads]
        start, size, names = (
            functions[name].astype(np.int64) for name in ("value", "size", "name")
        )
        beyond = np.append(start[1:], start[-1:] + 1)  # where a size is missing
        end = np.where(size > 0, start + size, beyond)
        return cls(start, end, names, texts, segments.astype(np.int64))

    def name_at(self, offset: int) -> str:
        """The function at a place in the file; empty if none is there."""
        begin, address, size = self.segments.T
        loaded = np.flatnonzero((begin <= offset) & (offset < begin + size))[:1].tolist()
        for index in loaded:
            return self._name_of(offset - int(begin[index]) + int(address[index]))
        return ""

    def _name_of(self, address: int) -> str:
        place = int(np.searchsorted(self.start, address, side="right")) - 1
        if place < 0 or address >= self.end[place]:
            return ""
        name = int(self.names[place])
        text = self.texts[name : name + _LONGEST_NAME]
        return text.partition(b"\0")[0].decode(errors="replace")


def _bytes(fd: int, offset: int, size: int) -> bytes:
    """A part of a file, which may change meanwhile; raises `ValueError` if it is not all there."""
    data = os.pread(fd, size, offset)
    if len(data) != size:
        raise ValueError("cut off")
    return data


def _rows(fd: int, dtype: np.dtype[np.void], offset: int, count: int) -> NDArray[np.void]:
    return np.frombuffer(_bytes(fd, offset, count * dtype.itemsize), dtype)


def _functions(fd: int, sections: NDArray[np.void]) -> tuple[NDArray[np.void], bytes]:
    """The symbols of functions in all tables, and the texts that their names are in."""
    of_symbols = [section for kind in _TABLES for section in sections[sections["type"] == kind]]
    of_names = [sections[int(section["link"])] for section in of_symbols]
    if sum(int(section["size"]) for section in (*of_symbols, *of_names)) > _MOST_BYTES:
        raise ValueError("too large")
    tables, texts, begin = [np.zeros(0, _SYMBOL)], [b""], 0
    for section, names in zip(of_symbols, of_names, strict=True):
        count = int(section["size"]) // _SYMBOL.itemsize
        symbols = _rows(fd, _SYMBOL, int(section["offset"]), count)
        is_function = np.isin(symbols["info"] & 0xF, _FUNCTIONS) & (symbols["section"] > 0)
        symbols = symbols[is_function]
        symbols["name"] += begin
        tables.append(symbols)
        texts.append(_bytes(fd, int(names["offset"]), int(names["size"])))
        begin += len(texts[-1])
    return np.concatenate(tables), b"".join(texts)
