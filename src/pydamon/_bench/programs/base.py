"""The interface of real programs, and programs in Python that need nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydamon._model.errors import TargetError

__all__ = ["Program", "Script", "running", "wait_for_line"]

_PATIENCE_S = 10


class Program(Protocol):
    """A program that can be started, with a constant load until its end."""

    @property
    def name(self) -> str:
        """The name for `--program`."""
        ...

    @property
    def about(self) -> str:
        """A description, in a line."""
        ...

    def missing(self) -> str:
        """Return what it needs that is not installed, or an empty string."""
        ...

    def start(self, seed: int) -> AbstractContextManager[int]:
        """Run it with its load; yields the pid of the process to monitor, with its children."""
        ...


@contextmanager
def running(argv: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process; at the end it is terminated, and killed if that is not enough."""
    with subprocess.Popen([*map(str, argv)], **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for_line(process: subprocess.Popen[bytes], name: str) -> bytes:
    """Return the next line of a process's output; raise `TargetError` if it exits instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise TargetError(f"{name} exited before it was ready")
    return bytes(line)


@dataclass(frozen=True, slots=True)
class Script:
    """A script beside this file, which takes a seed, and prints a line when it is ready."""

    name: str
    about: str
    file: str

    def missing(self) -> str:
        """Return an empty string: Python is always there."""
        return ""

    @contextmanager
    def start(self, seed: int) -> Iterator[int]:
        """Run it in a process of its own, with one thread for linear algebra."""
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        argv: list[str | Path] = [sys.executable, Path(__file__).with_name(self.file), str(seed)]
        with running(argv, stdout=subprocess.PIPE, env=environment) as process:
            wait_for_line(process, self.name)
            yield process.pid
