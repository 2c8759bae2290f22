"""Read what `jcmd` prints of a Java Virtual Machine: pure functions of its text.

Facts of OpenJDK 17: `VM.native_memory detail` lists reserved ranges and the committed ranges within
them (only with `-XX:NativeMemoryTracking=detail`); `VM.info` the regions of G1, the pages of ZGC
and the code heaps; `Thread.print` the names of threads with their ids (`nid`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["JvmText", "NamedRange", "NativeRange", "parse_jcmd"]

_HEX = r"0x[0-9a-f]+"
_RESERVED = re.compile(
    rf"^\[({_HEX}) - ({_HEX})\] reserved( and committed)? \d+KB for (.+?)(?: from)?\s*$"
)
_COMMITTED = re.compile(rf"^\s+\[({_HEX}) - ({_HEX})\] committed \d+KB")
_G1_REGION = re.compile(rf"^\|\s*\d+\|({_HEX}), ({_HEX}), ({_HEX})\|\s*\d+%\|\s*(\w+)\s*\|")
_ZGC_PAGE = re.compile(rf"^ (Small|Medium|Large)\s+({_HEX}) ({_HEX}) ({_HEX})\s+")
_CODE_HEAP = re.compile(r"^CodeHeap '([^']+)'|^CodeCache: ")
_CODE_BOUNDS = re.compile(rf"^ bounds \[({_HEX}), ({_HEX}), ({_HEX})\]")
_HEAP = re.compile(rf"^ \S.*total .*\[({_HEX}), ({_HEX})\)")
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
_UNUSED = "unused"


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
    told = JvmText()
    code_heap = ""
    for line in text.split("\n"):
        if match := _RESERVED.match(line):
            start, end = int(match[1], 16), int(match[2], 16)
            told.native.append(
                NativeRange(start, end, match[4], [(start, end)] if match[3] else [])
            )
        elif match := _COMMITTED.match(line):
            _commit(told.native, int(match[1], 16), int(match[2], 16))
        elif match := _G1_REGION.match(line):
            told.heap += _used_and_unused(match[1], match[2], match[3], _G1_KINDS.get(match[4], ""))
        elif match := _ZGC_PAGE.match(line):
            kind = f"{match[1].lower()} pages"
            told.zgc_pages += _used_and_unused(match[2], match[3], match[4], kind)
        elif match := _CODE_HEAP.match(line):
            code_heap = match[1] or "code cache"
        elif match := _CODE_BOUNDS.match(line):
            told.code.append(NamedRange(int(match[1], 16), int(match[2], 16), (code_heap,)))
        elif match := _THREAD.match(line):
            told.threads[int(match[2], 0)] = match[1]
        else:
            told.others += _others(line)
    return told


def _commit(native: list[NativeRange], start: int, end: int) -> None:
    """Add a committed range to the reserved range that is listed last; some are listed twice."""
    if native and (start, end) not in native[-1].committed:
        native[-1].committed.append((start, end))


def _used_and_unused(bottom: str, top: str, end: str, kind: str) -> Iterator[NamedRange]:
    """A region of the heap: its part that objects fill, and the rest."""
    first, middle, last = (int(word, 16) for word in (bottom, top, end))
    if first < middle:
        yield NamedRange(first, middle, (kind or "other",))
    if middle < last:
        yield NamedRange(middle, last, (_UNUSED,))


def _others(line: str) -> Iterator[NamedRange]:
    """Ranges that are told without native memory tracking, too."""
    for pattern, kind in _OTHERS:
        if match := pattern.match(line):
            yield NamedRange(int(match[1], 16), int(match[2], 16), (kind,))
    if match := _HEAP.match(line):
        yield NamedRange(int(match[1], 16), int(match[2], 16), ("Java Heap",))
