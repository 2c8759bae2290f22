"""Read what `jcmd` prints of a Java Virtual Machine: pure functions of its text.

Facts of OpenJDK 17: `VM.native_memory detail` lists reserved ranges and the committed ranges within
them (only with `-XX:NativeMemoryTracking=detail`); `VM.info` the regions of G1, the pages of ZGC
and the code heaps; `Thread.print` the names of threads with their ids (`nid`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["UNUSED", "JvmText", "NamedRange", "NativeRange", "parse_jcmd"]

_HEX = r"0x[0-9a-f]+"
_RESERVED = re.compile(
    rf"^\[({_HEX}) - ({_HEX})\] reserved( and committed)? \d+KB for (.+?)(?: from)?\s*$"
)
_COMMITTED = re.compile(rf"^\s+\[({_HEX}) - ({_HEX})\] committed \d+KB")
_G1_REGION = re.compile(rf"^\|\s*\d+\|({_HEX}), ({_HEX}), ({_HEX})\|\s*\d+%\|\s*(\w+)\s*\|")
_ZGC_PAGE = re.compile(rf"^ (Small|Medium|Large)\s+({_HEX}) ({_HEX}) ({_HEX})\s+")
_CODE_HEAP = re.compile(r"^CodeHeap '([^']+)'|^CodeCache: ")
_CODE_BOUNDS = re.compile(rf"^ bounds \[({_HEX}), ({_HEX}), ({_HEX})\]")
_CDS = "Shared class space"
_OTHERS = (
    (
        re.compile(rf"^CDS archive\(s\) mapped at: \[({_HEX})-{_HEX}-({_HEX})\)"),
        "Shared class space",
    ),
    (re.compile(rf"^Compressed class space mapped at: ({_HEX})-({_HEX}),"), "Class"),
    (re.compile(rf"^Card table byte_map: \[({_HEX}),({_HEX})\]"), "GC"),
    (re.compile(rf"^ (?:Prev|Next|Marking) Bits: \[({_HEX}), ({_HEX})\)"), "GC"),
)
_THREAD = re.compile(rf'^"(.*)" .*\bnid=({_HEX}|\d+)')
_G1_KINDS = {
    "E": "eden",
    "S": "survivor",
    "O": "old",
    "HS": "humongous",
    "HC": "humongous",
    "F": "free",
    "OA": "archive",
    "CA": "archive",
}
UNUSED = "unused"
"""The label of memory of the heap that holds no objects."""


class NamedRange(NamedTuple):
    """A range of addresses with what lies there, as labels below its kind."""

    start: int
    end: int
    labels: tuple[str, ...]


@dataclass(frozen=True)
class NativeRange:
    """A range that the virtual machine reserved, of a kind of its native memory tracking."""

    start: int
    end: int
    kind: str
    committed: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class JvmText:
    """What a virtual machine tells of its memory.

    `native` is empty without native memory tracking; `others` are the ranges that are told then,
    too. `zgc_pages` count from the start of the heap, which is mapped several times.
    """

    native: list[NativeRange] = field(default_factory=list)
    heap: list[NamedRange] = field(default_factory=list)
    zgc_pages: list[NamedRange] = field(default_factory=list)
    code: list[NamedRange] = field(default_factory=list)
    others: list[NamedRange] = field(default_factory=list)
    threads: dict[int, str] = field(default_factory=dict)


def parse_jcmd(text: str) -> JvmText:
    """Parse the output of several commands, one behind the other."""
    reader = _Reader()
    for line in text.split("\n"):
        for pattern, read in _LINES:
            if match := pattern.match(line):
                read(reader, match)
                break
    return reader.told


class _Reader:
    """Adds what a line says to `told`."""

    def __init__(self) -> None:
        self.told = JvmText()
        self._code_heap = ""

    def reserved(self, match: re.Match[str]) -> None:
        start, end = _addresses(match[1], match[2])
        committed = [(start, end)] if match[3] else []
        self.told.native.append(NativeRange(start, end, match[4], committed))

    def committed(self, match: re.Match[str]) -> None:
        """A range within the reserved one that is listed last; some are listed twice."""
        bounds = _addresses(match[1], match[2])
        native = self.told.native
        if native and bounds not in native[-1].committed:
            native[-1].committed.append(bounds)

    def g1_region(self, match: re.Match[str]) -> None:
        kind = _G1_KINDS.get(match[4], f"type {match[4]}")
        self.told.heap += _used_and_unused(match[1], match[2], match[3], kind)

    def zgc_page(self, match: re.Match[str]) -> None:
        kind = f"{match[1].lower()} pages"
        self.told.zgc_pages += _used_and_unused(match[2], match[3], match[4], kind)

    def code_heap(self, match: re.Match[str]) -> None:
        self._code_heap = match[1] or "code cache"

    def code_bounds(self, match: re.Match[str]) -> None:
        start, end = _addresses(match[1], match[2])
        self.told.code.append(NamedRange(start, end, (self._code_heap,)))

    def thread(self, match: re.Match[str]) -> None:
        self.told.threads[int(match[2], 0)] = match[1]

    def other(self, kind: str, match: re.Match[str]) -> None:
        """A range that is told without native memory tracking, too."""
        start, end = _addresses(match[1], match[2])
        self.told.others.append(NamedRange(start, end, (kind,)))


_LINES: tuple[tuple[re.Pattern[str], Callable[[_Reader, re.Match[str]], None]], ...] = (
    (_RESERVED, _Reader.reserved),
    (_COMMITTED, _Reader.committed),
    (_G1_REGION, _Reader.g1_region),
    (_ZGC_PAGE, _Reader.zgc_page),
    (_CODE_HEAP, _Reader.code_heap),
    (_CODE_BOUNDS, _Reader.code_bounds),
    (_THREAD, _Reader.thread),
    *(
        (pattern, lambda reader, match, kind=kind: reader.other(kind, match))
        for pattern, kind in _OTHERS
    ),
)


def _addresses(start: str, end: str) -> tuple[int, int]:
    return int(start, 16), int(end, 16)


def _used_and_unused(bottom: str, top: str, end: str, kind: str) -> Iterator[NamedRange]:
    """A region of the heap: its part that objects fill, and the rest."""
    first, middle, last = (int(word, 16) for word in (bottom, top, end))
    if first < middle:
        yield NamedRange(first, middle, (kind,))
    if middle < last:
        yield NamedRange(middle, last, (UNUSED,))
