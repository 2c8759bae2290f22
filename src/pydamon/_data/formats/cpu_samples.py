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
from pathlib import Path

from pydamon._model.errors import RecordingError

__all__ = ["CpuSample", "perf_script_command", "read_cpu_samples"]

_PERF_DATA = b"PERFILE2"
_SCRIPT = ("perf", "script", "--ns", "-F", "comm,tid,time,ip,sym,dso", "-i")
_TIME = re.compile(r"\s(\d+)\.(\d{6,9}):")
_FRAME = re.compile(r"^(?:.*: )?\s+[0-9a-f]+ (.+?)(?:\+0x[0-9a-f]+)? \((.*)\)\s*$")


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
        with path.open("rb") as file:
            is_data = file.read(len(_PERF_DATA)) == _PERF_DATA
        with _perf_script(path) if is_data else path.open(errors="replace") as lines:
            yield from _samples(lines)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecordingError(f"cannot read {path}: {reason}") from error


def _samples(lines: Iterable[str]) -> Iterator[CpuSample]:
    time_ns = -1  # no sample, or its innermost function has been yielded
    for line in lines:
        if not line.startswith(("\t", " \t")) and (time := _TIME.search(line)):
            time_ns = int(time[1]) * 10**9 + int(time[2].ljust(9, "0"))
        if time_ns >= 0 and (frame := _FRAME.search(line)):
            yield CpuSample(time_ns, frame[1], frame[2])
            time_ns = -1


@contextmanager
def _perf_script(path: Path) -> Iterator[Iterable[str]]:
    """The text that perf prints of its file: only perf on the same machine can name functions."""
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
