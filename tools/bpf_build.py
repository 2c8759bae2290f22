"""Compile the BPF program with the C compiler of the package ziglang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/pydamon/_observe/probes/ebpf/sampler.bpf.c"


TARGETS = {
    "": (),
    **{
        f"_aarch64_{1 << shift >> 10}k": ("-DAARCH64", f"-DPAGE_SHIFT={shift}")
        for shift in (12, 14, 16)
    },
}
"""Parts of the objects' names, and flags: x86-64 first. BPF itself is the same everywhere."""


def build(source: Path = SOURCE) -> list[Path]:
    """Compile *source* next to itself, with loops of the kernel's and without; the objects.

    All of them, whatever the machine: one wheel serves every processor.
    """
    name = source.name.removesuffix(".bpf.c")
    return [
        _compile(source, source.with_name(f"{name}{target}{suffix}.bpf.o"), *flags, *loops)
        for target, flags in TARGETS.items()
        for suffix, loops in (("", ()), ("_bounded", ("-DWITHOUT_BPF_LOOP",)))
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
