"""Programs in Python that need nothing which pydamon does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydamon.bench.programs.base import running, wait_for_line

__all__ = ["Script"]


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
