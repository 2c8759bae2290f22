"""CPU samples of `perf record`: which functions ran when.

Times are read as perf's clock has them. `perf record -e cpu-clock -k realtime` uses Unix time, as
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
from itertools import chain
from pathlib import Path
from typing import IO

from pydamon._data.formats.content import CHUNK_BYTES, line_chunks
from pydamon._model.errors import RecordingError

__all__ = ["CpuSample", "perf_script_command", "read_cpu_samples"]

_PERF_DATA = b"PERFILE2"
_SCRIPT = ("perf", "script", "--ns", "-F", "comm,tid,time,ip,sym,dso", "-i")
_TIME = re.compile(r"\s([0-9]{1,15})\.([0-9]{6,9}):")
_ADDRESS = re.compile(r"^(?:.*: )?\s+[0-9a-f]+ (?=[^\s])")
_OFFSET = re.compile(r"\+0x[0-9a-f]+$")
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class CpuSample:
    """A function that was running when perf took a sample.

    Parameters
    ----------
    time_ns
        When the sample was taken, by the clock that `perf record` used.
    function
        The innermost function of the call chain.
    file
        The program or library that the function is in; `[kernel.kallsyms]` for the kernel.
    count
        How many samples this stands for.

    Examples
    --------
    >>> from pydamon.analysis import CpuSample
    >>> CpuSample(1_750_000_000 * 10**9, "memcpy", "/usr/lib/libc.so.6").function
    'memcpy'
    """

    time_ns: int
    function: str
    file: str
    count: int = 1


def read_cpu_samples(path: str | os.PathLike[str]) -> Iterator[CpuSample]:
    """Read the samples that `perf record` has taken.

    Parameters
    ----------
    path
        A file of `perf record`, or the text that `perf script` prints of it.

    Yields
    ------
    CpuSample
        The samples, in the order of the file.

    Raises
    ------
    RecordingError
        If the file cannot be read, or perf is needed and is missing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from pydamon.analysis import read_cpu_samples
    >>> text = "app 7 100.000000001: cpu-clock:  4005d0 main+0x10 (/usr/bin/app)"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "samples.txt"
    ...     length = path.write_text(text)
    ...     [sample.function for sample in read_cpu_samples(path)]
    ['main']
    """
    path = Path(path)
    try:
        with path.open("rb") as file:  # once: it may be a pipe
            head = file.read(len(_PERF_DATA))
            if head != _PERF_DATA:
                yield from _samples(chain([head], _chunks(file)))
                return
        with _perf_script(path) as text:
            yield from _samples(_chunks(text))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecordingError(f"cannot read {path}: {reason}") from error


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK_BYTES), b"")


def _samples(chunks: Iterable[bytes]) -> Iterator[CpuSample]:
    """The samples in text; raises `ValueError` if it is no text of perf's."""
    lines = (line for chunk in line_chunks(chunks) for line in chunk.split(b"\n"))
    time_ns = -1  # no sample, or its innermost function has been yielded
    for encoded in lines:
        line = encoded.decode(errors="replace")
        if not line.startswith(("\t", " \t")) and (time := _TIME.search(line)):
            time_ns = int(time[1]) * 10**9 + int(time[2].ljust(9, "0"))
            if time_ns >= 2**63:
                raise ValueError(f"a sample was taken after {time[1]} seconds, which cannot be")
        if time_ns >= 0 and (frame := _frame(line)):
            yield CpuSample(time_ns, *frame)
            time_ns = -1


def _frame(line: str) -> tuple[str, str] | None:
    """The function and the file of a line of a call chain.

    Names of functions have parentheses, too, and lines may be long: no pattern for all of it.
    """
    address = _ADDRESS.search(line)
    text = line.rstrip()
    if address is None or not text.endswith(")"):
        return None
    deleted = _DELETED if text.endswith(f"{_DELETED})") else ""
    rest = text[address.end() : -1 - len(deleted)]
    function, space, file = rest.rpartition(" (")
    return (_OFFSET.sub("", function), file + deleted) if space else None


@contextmanager
def _perf_script(path: Path) -> Iterator[IO[bytes]]:
    """The text that perf prints of its file: only perf on the same machine can name functions."""
    try:
        process = subprocess.Popen(
            [*_SCRIPT, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise RecordingError(
            f"perf is needed to read {path}",
            hint=f"install it, or run where it is: {perf_script_command(path)} > FILE.txt",
        ) from error
    with process:
        assert process.stdout is not None
        yield process.stdout
    if process.returncode:
        if _is_foreign(path):
            raise RecordingError(
                f"perf reads only its user's own files, and {path} belongs to another user",
                hint=f"if you trust it, read FILE.txt: {perf_script_command(path)} > FILE.txt",
            )
        raise RecordingError(f"perf cannot read {path}", hint=f"see: {perf_script_command(path)}")


def perf_script_command(path: Path) -> str:
    """The command that prints a file of perf as text; `-f` if another user owns the file."""
    force = " -f" if _is_foreign(path) else ""
    return f"perf script{force} -i {shlex.quote(str(path))}"


def _is_foreign(path: Path) -> bool:
    try:
        return path.stat().st_uid not in (0, os.geteuid())
    except OSError:
        return False
