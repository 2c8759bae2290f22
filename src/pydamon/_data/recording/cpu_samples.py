"""Which functions ran when: the samples that `perf record` takes, of a file of its or as text.

Times are as perf's clock has them. `perf record -e cpu-clock -k realtime` has Unix time, as
recordings do.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydamon._model.errors import RecordingError

__all__ = ["CpuSample", "perf_script_command", "read_cpu_samples"]

_PERF_DATA = b"PERFILE2"
_SCRIPT = ("perf", "script", "--ns", "-F", "comm,tid,time,ip,sym,dso", "-i")
_TIME = re.compile(r"\s(\d+)\.(\d{6,9}):")
_FRAME = re.compile(r"^(?:.*: )?\s+[0-9a-f]+ (.+?)(?:\+0x[0-9a-f]+)? \((.*)\)\s*$")


@dataclass(frozen=True, slots=True)
class CpuSample:
    """A function of a file (a program, a library, the kernel) that was found running."""

    time_ns: int
    function: str
    file: str


def read_cpu_samples(path: str | os.PathLike[str]) -> Iterator[CpuSample]:
    """The samples in what `perf record` or `perf script` has written, one after the other.

    Of call chains the innermost function counts. Raises `RecordingError`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_data = file.read(len(_PERF_DATA)) == _PERF_DATA
        with _perf_script(path) if is_data else path.open(errors="replace") as lines:
            yield from _samples(lines)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecordingError(f"cannot read {path}: {reason}") from error


def _samples(lines: Iterable[str]) -> Iterator[CpuSample]:
    time_ns = -1
    for line in lines:
        if not line.startswith(("\t", " \t")) and (found := _TIME.search(line)):
            time_ns = int(found[1]) * 10**9 + int(found[2].ljust(9, "0"))
        if time_ns >= 0 and (frame := _FRAME.search(line)):
            yield CpuSample(time_ns, frame[1], frame[2])
            time_ns = -1


@contextmanager
def _perf_script(path: Path) -> Iterator[Iterable[str]]:
    """The text of a file of perf's, which only perf of the same machine can name functions for."""
    try:
        process = subprocess.Popen(
            [*_SCRIPT, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise RecordingError(
            f"perf is needed to read {path}",
            hint=f"install it, or where it is: {perf_script_command(path)} > FILE.txt",
        ) from error
    with process:
        assert process.stdout is not None
        yield process.stdout
    if process.returncode:
        if _is_foreign(path):
            raise RecordingError(
                f"perf reads only files of its user, which {path} is not",
                hint=f"if you trust it: {perf_script_command(path)} > FILE.txt, and give that",
            )
        raise RecordingError(f"perf cannot read {path}", hint=f"see: {perf_script_command(path)}")


def perf_script_command(path: Path) -> str:
    """What prints a file of perf's as text: perf wants to be forced where another user owns it."""
    force = " -f" if _is_foreign(path) else ""
    return f"perf script{force} -i {shlex.quote(str(path))}"


def _is_foreign(path: Path) -> bool:
    try:
        return path.stat().st_uid not in (0, os.geteuid())
    except OSError:
        return False
