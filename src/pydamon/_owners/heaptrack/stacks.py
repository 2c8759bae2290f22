"""Name the stacks of a heaptrack file: by heaptrack's interpreter, or else by module and offset.

The interpreter reads the raw file's lines without its allocations, which takes a moment only. It
finds functions and lines in the debug information of the modules, at the paths of this machine.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pydamon._model.errors import RecordingError

__all__ = ["Stacks", "find_interpreter", "interpret", "name_by_module"]

Labels = tuple[str, ...]
_PLACES = ("../lib/heaptrack/libexec", "../lib64/heaptrack/libexec", "../libexec/heaptrack")
_ALLOCATORS = ("operator new", "__rust_alloc", "__rdl_alloc", "__rust_realloc", "__rdl_realloc")
"""The innermost frames of these functions only pass an allocation on."""


class Stacks(NamedTuple):
    """The labels of each stack, root first; the first stack has index 1."""

    paths: list[Labels]
    has_functions: bool


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
    return Stacks(_Interpreted().paths(done.stdout.split(b"\n")), has_functions=True)


class _Interpreted:
    """The interpreter's output: numbered strings, numbered addresses, and stacks."""

    def __init__(self) -> None:
        self._strings = [""]
        self._frames: list[Labels] = [()]

    def paths(self, lines: Iterable[bytes]) -> list[Labels]:
        """The labels of each stack, in the order of the file."""
        paths: list[Labels] = [()]
        for line in lines:
            match line[:2]:
                case b"s ":
                    text = line.split(b" ", 2)[2].decode("utf-8", "replace")
                    self._strings.append(text)
                case b"i ":
                    self._frames.append(self._labels([int(word, 16) for word in line[2:].split()]))
                case b"t ":
                    frame, parent = (int(word, 16) for word in line[2:].split())
                    paths.append(paths[parent] + self._frames[frame])
        return [_without_allocators(path) for path in paths]

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
    while len(path) > 1 and path[-1].startswith(_ALLOCATORS):
        path = path[:-1]
    return path


def name_by_module(lines: list[bytes]) -> Stacks:
    """Name the frames of all stacks by module and offset, where nobody can name functions."""
    modules: list[tuple[int, int, int, str]] = []
    program = ""
    paths: list[Labels] = [()]
    for line in lines:
        match line[:2]:
            case b"x ":
                program = _text_after(line, 2)
            case b"m " if line.endswith(b" -"):
                modules = []
            case b"m ":
                modules += _module(line, program)
            case b"t ":
                address, parent = (int(word, 16) for word in line[2:].split())
                paths.append((*paths[parent], _place(address, modules)))
    return Stacks(paths, has_functions=False)


def _module(line: bytes, program: str) -> list[tuple[int, int, int, str]]:
    """The ranges of a module's segments, its base, and its name."""
    length, rest = line[2:].split(b" ", 1)
    name = rest[: int(length, 16)].decode("utf-8", "replace")
    base, *segments = (int(word, 16) for word in rest[int(length, 16) :].split())
    label = _basename(program if name == "x" else name)
    pairs = zip(segments[::2], segments[1::2], strict=True)
    return [(base + start, base + start + size, base, label) for start, size in pairs]


def _text_after(line: bytes, start: int) -> str:
    return line[start:].split(b" ", 1)[1].decode("utf-8", "replace")


def _place(address: int, modules: list[tuple[int, int, int, str]]) -> str:
    for start, end, base, label in modules:
        if start <= address < end:
            return f"{label}+{address - base:#x}"
    return f"?? at {address:#x}"


def _basename(path: str) -> str:
    return path.rpartition("/")[2]
