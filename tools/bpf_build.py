"""Compile the BPF programs with the C compiler of the package ziglang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLER = ROOT / "src/pydamon/_observe/probes/ebpf/sampler.bpf.c"
CACHE = ROOT / "src/pydamon/_observe/cache/cache.bpf.c"


def build() -> list[Path]:
    """Compile each source next to itself; returns the objects.

    The sampler comes with loops of the kernel's, and without.
    """
    return [
        _compile(SAMPLER, SAMPLER.with_name("sampler.bpf.o")),
        _compile(SAMPLER, SAMPLER.with_name("sampler_bounded.bpf.o"), "-DWITHOUT_BPF_LOOP"),
        _compile(CACHE, CACHE.with_name("cache.bpf.o")),
    ]


def _compile(source: Path, output: Path, *flags: str) -> Path:
    command = [
        *(sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding"),
        *("-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", *flags),
        *("-c", str(source), "-o", str(output)),
    ]
    subprocess.run(command, check=True)
    return output


if __name__ == "__main__":
    print(*build(), sep="\n")
