"""What a real program is to the benchmark; and programs in Python that need nothing else."""

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
    """A program that can be started with a load that stays the same until it is ended."""

    @property
    def name(self) -> str:
        """What `--program` calls it."""
        ...

    @property
    def about(self) -> str:
        """What it does, in a line."""
        ...

    def missing(self) -> str:
        """What is not installed here that it needs; empty where it can be started."""
        ...

    def start(self, seed: int) -> AbstractContextManager[int]:
        """Run it, with its load; gives the pid of the process to watch, with its children."""
        ...


@contextmanager
def running(argv: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone when this ends; it is asked first, and then killed."""
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
    """The next line that a process prints; raises `TargetError` if it ends instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise TargetError(f"{name} has ended instead of getting ready")
    return bytes(line)


@dataclass(frozen=True, slots=True)
class Script:
    """A script beside this file: it gets a seed, and prints a line when it is ready."""

    name: str
    about: str
    file: str

    def missing(self) -> str:
        """Nothing ever."""
        return ""

    @contextmanager
    def start(self, seed: int) -> Iterator[int]:
        """Run it in a process of its own, with one thread."""
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        argv: list[str | Path] = [sys.executable, Path(__file__).with_name(self.file), str(seed)]
        with running(argv, stdout=subprocess.PIPE, env=environment) as process:
            wait_for_line(process, self.name)
            yield process.pid
