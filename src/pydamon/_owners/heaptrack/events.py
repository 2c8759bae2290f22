"""Read the allocations of a heaptrack file: hexadecimal text, parsed in chunks by NumPy.

Facts of the format (version 3, heaptrack 1.2 to 1.5): `+ SIZE TRACE POINTER` and `- POINTER` are an
allocation and its end, `c MILLISECONDS` the time since the start, `t IP PARENT` the next stack, and
`m` a loaded module. All numbers are hexadecimal. A file that heaptrack interpreted has `a` and `i`
lines instead, and no pointers.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._model.errors import RecordingError
from pydamon._owners.allocations import ENDLESS, AllocationHistory, Allocations, Ends

__all__ = ["HeaptrackFile", "read_heaptrack"]

_CHUNK_BYTES = 4 << 20
_LONGEST_LINE = 1 << 24
_MAGICS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip"}
_HEX = np.full(256, 255, np.uint8)
"""The value of each hexadecimal digit; 255 for other bytes."""
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_PLUS, _MINUS, _CLOCK, _SPACE, _NEWLINE = b"+-c \n"
_MOST_DIGITS = 15
_LAST_MS = ENDLESS - 1
"""Later times, after 49 days, count as this."""
_MOST_TRACES = 2**31


@dataclass
class HeaptrackFile:
    """What a heaptrack file holds; times of allocations are in ms.

    `stack_lines` are the lines that stacks are made from, as the interpreter wants them.
    """

    allocations: Allocations
    stack_lines: list[bytes] = field(default_factory=list)
    end_ms: int = 0
    was_cut: bool = False
    """Whether the file ends early: it is still written, was cut, or a signal ended the program."""

    @property
    def was_attached(self) -> bool:
        """Whether heaptrack was attached to a running program: older allocations are unknown."""
        return any(line == b"A" for line in self.stack_lines)


def read_heaptrack(path: Path) -> HeaptrackFile:
    """Read a raw heaptrack file, compressed or not.

    Allocations that were freed within the same tick of heaptrack's clock (10 ms) are left out.
    """
    parser = _Parser(path)
    with path.open("rb") as file:
        for chunk in _chunks(file, parser):
            parser.add(chunk)
    return parser.finish()


def _chunks(file: BinaryIO, parser: _Parser) -> Iterator[bytes]:
    """Whole lines, in large chunks; what follows the last line end is dropped."""
    stream = _decompressed(file)
    tail = b""
    while True:
        try:
            data = stream.read(_CHUNK_BYTES)
        except (OSError, pa.ArrowInvalid):
            parser.was_cut = True
            return
        if not data:
            # A program that was ended by a signal leaves a part of a line.
            parser.was_cut |= bool(tail)
            return
        head, newline, rest = (tail + data).rpartition(b"\n")
        if newline:
            yield head + newline
        tail = rest
        if len(tail) > _LONGEST_LINE:
            raise RecordingError(f"{parser.path} is no heaptrack file: it has no lines")


def _decompressed(file: BinaryIO) -> BinaryIO:
    """The stream of a file that may be compressed by zstd or gzip."""
    magic = file.read(4)
    file.seek(0)
    for start, codec in _MAGICS.items():
        if magic.startswith(start):
            return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(file, codec)))
    return file


class _Parser:
    """Follows allocations through the chunks of a file; live ones wait for their end."""

    def __init__(self, path: Path) -> None:
        self.was_cut = False
        self.path = path
        self._stack_lines: list[bytes] = []
        self._clock_ms = 0
        self._is_known = False
        self._history = AllocationHistory()

    def add(self, chunk: bytes) -> None:
        """Parse whole lines."""
        if not self._is_known:
            self._check(chunk)
        text = np.frombuffer(chunk, np.uint8)
        line_end = np.flatnonzero(text == _NEWLINE)
        line_start = np.concatenate([[0], line_end[:-1] + 1])
        kind = text[line_start]
        space = np.append(np.flatnonzero(text == _SPACE), [len(text)] * 4)
        first_space = np.searchsorted(space, line_start)

        allocated, freed = np.flatnonzero(kind == _PLUS), np.flatnonzero(kind == _MINUS)
        clock = np.flatnonzero(kind == _CLOCK)
        self._keep(chunk, kind, line_start, line_end)
        times = self._hex(text, line_start[clock] + 2, line_end[clock])
        after_size = space[first_space[allocated] + 1]
        after_trace = space[first_space[allocated] + 2]
        size = self._hex(text, line_start[allocated] + 2, after_size)
        trace = self._hex(text, after_size + 1, after_trace)
        pointer = self._hex(text, after_trace + 1, line_end[allocated])
        freed_pointer = self._hex(text, line_start[freed] + 2, line_end[freed])

        known_times = np.minimum(np.append(self._clock_ms, times), _LAST_MS)
        since_ms = known_times[np.searchsorted(clock, allocated)]
        freed_ms = known_times[np.searchsorted(clock, freed)]
        self._clock_ms = int(known_times[-1])
        if len(trace) and trace.max() >= _MOST_TRACES:
            raise self._unknown_stack()
        fresh = Allocations.begun(pointer, size, trace.astype(np.int32), since_ms)
        ends = Ends(freed_pointer, freed_ms.astype(np.uint32))
        self._history.add(fresh, allocated, ends, freed)

    def finish(self) -> HeaptrackFile:
        """All allocations."""
        if not self._is_known:
            raise RecordingError(f"{self.path} is no heaptrack file: it is empty")
        stacks = sum(line.startswith(b"t ") for line in self._stack_lines)
        allocations = self._history.all()
        if len(allocations.stack) and allocations.stack.max() > stacks:
            raise self._unknown_stack()
        return HeaptrackFile(allocations, self._stack_lines, self._clock_ms, self.was_cut)

    def _unknown_stack(self) -> RecordingError:
        return RecordingError(f"{self.path} is damaged: it names a stack that it does not hold")

    def _check(self, chunk: bytes) -> None:
        """Whether this is a raw file of a version that this parser knows."""
        first, _, rest = chunk.partition(b"\n")
        fields = first.split()
        if len(fields) < 3 or fields[0] != b"v":
            raise RecordingError(f"{self.path} is no heaptrack file: it does not begin with `v`")
        if fields[2] != b"3":
            raise RecordingError(
                f"{self.path} has version {fields[2].decode(errors='replace')} of heaptrack's"
                " format; pydamon reads version 3",
                hint="record with heaptrack 1.2 or later",
            )
        head = rest[: 1 << 16].split(b"\n")
        if any(line[:2] in {b"s ", b"i ", b"a "} for line in head):
            raise RecordingError(
                f"{self.path} holds no addresses: heaptrack interpreted it, and dropped them",
                hint="record with `heaptrack --raw`",
            )
        self._is_known = True

    def _keep(
        self,
        chunk: bytes,
        kind: NDArray[np.uint8],
        line_start: NDArray[np.int64],
        line_end: NDArray[np.int64],
    ) -> None:
        """Keep the lines that describe modules and stacks."""
        kept = np.isin(kind, np.frombuffer(b"vxXImtA", np.uint8))
        bounds = zip(line_start[kept].tolist(), line_end[kept].tolist(), strict=True)
        self._stack_lines += [chunk[start:end] for start, end in bounds]

    def _hex(
        self, text: NDArray[np.uint8], start: NDArray[np.int64], end: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The hexadecimal numbers between the given places."""
        values = np.zeros(len(start), np.int64)
        if not len(start):
            return values
        width = end - start
        if width.min() < 1 or width.max() > _MOST_DIGITS:
            raise RecordingError(f"{self.path} is damaged: a number of it is missing or too long")
        for place in range(int(width.max())):
            has = place < width
            digit = _HEX[text[np.where(has, start + place, start)]]
            if (digit > 15).any():
                raise RecordingError(f"{self.path} is damaged: a number of it is not hexadecimal")
            values = np.where(has, (values << 4) | digit, values)
        return values
