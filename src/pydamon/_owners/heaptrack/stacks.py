"""Name the stacks of a heaptrack file: by heaptrack's interpreter, or else by module and offset.

The interpreter reads the raw file's lines without its allocations, which takes a moment only. It
finds functions and lines in the debug information of the modules, at the paths of this machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from array import array
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from pathlib import Path

from pydamon._model.errors import RecordingError
from pydamon._owners.heaptrack.names import demangled

__all__ = ["Stacks", "find_interpreter", "interpret", "name_by_module"]

Labels = tuple[str, ...]
_PLACES = ("../lib/heaptrack/libexec", "../lib64/heaptrack/libexec", "../libexec/heaptrack")
_ALLOCATORS = re.compile(
    r"operator new|__gnu_cxx::new_allocator|std::(__new_allocator|allocator|_(Vector|Deque)_base)"
    r"|__rust_|__rdl_|<?([\w&\[\] ]+ as )?(alloc|core|hashbrown|std::collections)::"
)
"""The innermost frames of these functions, of C++'s and Rust's libraries, only pass an allocation
on."""
_MOST_FRAMES = 1000
"""heaptrack itself keeps 64."""
_CUT = "(outer frames left out)"


@dataclass
class Stacks:
    """The stacks of a file by their index, from 1: each is a frame on top of an earlier stack.

    A frame has the label of a function, behind those that it is inlined into.
    """

    has_functions: bool
    _frame: list[Labels] = field(default_factory=lambda: [()])
    _parent: array[int] = field(default_factory=lambda: array("q", [0]))

    def add(self, frame: Labels, parent: int) -> None:
        """Add a stack; raises `ValueError` for a *parent* that is no earlier stack."""
        if not 0 <= parent < len(self._parent):
            raise ValueError("a stack on top of none")
        self._frame.append(frame)
        self._parent.append(parent)

    def __len__(self) -> int:
        """One more than the last index."""
        return len(self._parent)

    def path(self, stack: int) -> Labels:
        """The labels of a stack, root first, without what only passes an allocation on."""
        frames: list[Labels] = []
        while stack and len(frames) < _MOST_FRAMES:
            frames.append(self._frame[stack])
            stack = self._parent[stack]
        frames += [(_CUT,)] * (stack > 0)
        return _without_allocators(tuple(chain.from_iterable(reversed(frames))))


def find_interpreter() -> Path | None:
    """The path of `heaptrack_interpret`, which lies beside heaptrack's library."""
    program = shutil.which("heaptrack")
    if program is None:
        return None
    folder = Path(program).resolve().parent
    candidates = [folder / place / "heaptrack_interpret" for place in _PLACES]
    return next((path for path in candidates if path.is_file()), None)


def interpret(lines: list[bytes], interpreter: Path) -> Stacks:
    """Name the functions of all stacks by heaptrack's interpreter."""
    try:
        done = subprocess.run(
            [interpreter], input=b"\n".join(lines) + b"\n", capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise RecordingError(f"heaptrack_interpret cannot name the stacks: {error}") from None
    lines = done.stdout.split(b"\n")
    names = (_text(line) for line in lines if line.startswith(b"s "))
    return _Interpreted(demangled(names)).stacks(lines)


def _text(line: bytes) -> str:
    return line.split(b" ", 2)[2].decode("utf-8", "replace")


class _Interpreted:
    """The interpreter's output: numbered strings, numbered addresses, and stacks."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._strings = [""]
        self._frames: list[Labels] = [()]

    def stacks(self, lines: Iterable[bytes]) -> Stacks:
        """The stacks, in the order of the file."""
        stacks = Stacks(has_functions=True)
        for line in lines:
            match line[:2]:
                case b"s ":
                    text = _text(line)
                    self._strings.append(self._names.get(text, text))
                case b"i ":
                    self._frames.append(self._labels([int(word, 16) for word in line[2:].split()]))
                case b"t ":
                    frame, parent = (int(word, 16) for word in line[2:].split())
                    stacks.add(self._frames[frame], parent)
        return stacks

    def _labels(self, numbers: list[int]) -> Labels:
        """The function of an address, behind those that it is inlined into."""
        address, module, *rest = numbers
        if not rest:
            name = self._strings[module] if module else ""
            return (f"{_basename(name) or '??'} at {address:#x}",)
        frames = [self._label(*rest[place : place + 3]) for place in range(0, len(rest), 3)]
        return tuple(reversed(frames))

    def _label(self, function: int, file: int = 0, line: int = 0) -> str:
        name = self._strings[function] or "??"
        if not file:
            return name
        return f"{name} ({_basename(self._strings[file])}:{line})"


def _without_allocators(path: Labels) -> Labels:
    """Leave out the innermost frames that only pass an allocation on."""
    while len(path) > 1 and _ALLOCATORS.match(path[-1]):
        path = path[:-1]
    return path


def name_by_module(lines: list[bytes]) -> Stacks:
    """Name the frames of all stacks by module and offset, where nobody can name functions."""
    modules = _Modules()
    program = ""
    stacks = Stacks(has_functions=False)
    for line in lines:
        match line[:2]:
            case b"x ":
                program = _text_after(line, 2)
            case b"m " if line.endswith(b" -"):
                modules = _Modules()
            case b"m ":
                modules.add(line, program)
            case b"t ":
                address, parent = (int(word, 16) for word in line[2:].split())
                stacks.add((modules.place(address),), parent)
    return stacks


class _Modules:
    """What is loaded where, as of some line of a file."""

    def __init__(self) -> None:
        # The end of a segment first, so that it is found by bisection: start, base and name follow.
        self._segments: list[tuple[int, int, int, str]] = []
        self._places: dict[int, str] = {}

    def add(self, line: bytes, program: str) -> None:
        """Add the segments of a module."""
        length, rest = line[2:].split(b" ", 1)
        name = rest[: int(length, 16)].decode("utf-8", "replace")
        base, *segments = (int(word, 16) for word in rest[int(length, 16) :].split())
        label = _basename(program if name == "x" else name)
        for start, size in zip(segments[::2], segments[1::2], strict=True):
            insort(self._segments, (base + start + size, base + start, base, label))
        self._places = {}

    def place(self, address: int) -> str:
        """The module and offset of an address."""
        if address not in self._places:
            at = bisect_right(self._segments, address, key=itemgetter(0))
            self._places[address] = f"?? at {address:#x}"
            if at < len(self._segments) and self._segments[at][1] <= address:
                _, _, base, label = self._segments[at]
                self._places[address] = f"{label}+{address - base:#x}"
        return self._places[address]


def _text_after(line: bytes, start: int) -> str:
    return line[start:].split(b" ", 1)[1].decode("utf-8", "replace")


def _basename(path: str) -> str:
    return path.rpartition("/")[2]
