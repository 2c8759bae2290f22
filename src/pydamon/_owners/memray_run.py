"""How to start a Python program under memray."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pydamon._model.errors import UsageError

__all__ = ["memray_command"]

_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
"""Options of the interpreter that take the next word."""
_SCRIPT_LINE_BYTES = 256


def memray_command(words: list[str], capture: Path, *, objects: bool, force: bool) -> list[str]:
    """The words that run a Python program under memray, which writes a *capture* file.

    With *objects*, memray notes each small object, too. Raises `UsageError` for a program that is
    not Python's, without memray, and for a file that exists, unless *force* is set.
    """
    interpreter, program = _split(words)
    if capture.exists() and not force:
        raise UsageError(
            f"{capture} exists already", hint="name another file, or overwrite with --force"
        )
    tried = subprocess.run(
        [interpreter[0], "-c", "import memray"], capture_output=True, check=False
    )
    if tried.returncode:
        raise UsageError(
            f"{interpreter[0]} has no memray", hint=f"{interpreter[0]} -m pip install memray"
        )
    flags = ["--quiet", "--force", "--output", str(capture)]
    flags += ["--trace-python-allocators"] * objects
    return [*interpreter, "-m", "memray", "run", *flags, *program]


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """The interpreter with its options, and the program with its arguments."""
    first = words[0]
    if not Path(first).name.startswith("python"):
        return _of_script(first), [_found(first), *words[1:]]
    place = 1
    while place < len(words) and words[place].startswith("-") and words[place] not in ("-m", "-c"):
        place += 2 if words[place] in _WITH_VALUE else 1
    if place >= len(words):
        raise UsageError("no program is named behind the interpreter's name")
    return [_found(first), *words[1:place]], words[place:]


def _found(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UsageError(f"there is no program {name!r}")
    return path


def _of_script(name: str) -> list[str]:
    """The interpreter of a script, as its first line names it."""
    with Path(_found(name)).open("rb") as file:
        line = file.readline(_SCRIPT_LINE_BYTES)
    words = line.removeprefix(b"#!").decode(errors="replace").split()
    if words and Path(words[0]).name == "env":
        words = words[1:]
    if not line.startswith(b"#!") or not words or not Path(words[0]).name.startswith("python"):
        raise UsageError(
            f"{name} is no Python program", hint="memray can only run programs in Python"
        )
    return [_found(words[0]), *words[1:]]
