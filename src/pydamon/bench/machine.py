"""The machine that figures were measured on: nothing that tells whose it is."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader needs to know of it; `load` is how busy it was when the benchmark began."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    load: float

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        return cls(
            _cpu(),
            os.cpu_count() or 1,
            psutil.virtual_memory().total,
            ".".join(platform.release().split("-")[0].split(".")[:3]),
            platform.python_version(),
            os.getloadavg()[0],
        )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
