"""Compile the BPF program with the C compiler of the package ziglang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/pydamon/_observe/probes/ebpf/sampler.bpf.c"


def build(source: Path = SOURCE) -> list[Path]:
    """Compile *source* next to itself, with loops of the kernel's and without; the objects."""
    name = source.name.removesuffix(".bpf.c")
    return [
        _compile(source, source.with_name(f"{name}.bpf.o")),
        _compile(source, source.with_name(f"{name}_bounded.bpf.o"), "-DWITHOUT_BPF_LOOP"),
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
