"""Compile the BPF programs with the C compiler of the package ziglang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLER = ROOT / "src/pydamon/_observe/probes/ebpf/sampler.bpf.c"
CACHE = ROOT / "src/pydamon/_observe/cache/cache.bpf.c"


TARGETS = {
    "": (),
    **{
        f"_aarch64_{1 << shift >> 10}k": ("-DAARCH64", f"-DPAGE_SHIFT={shift}")
        for shift in (12, 14, 16)
    },
}
"""Parts of the objects' names, and flags: x86-64 first. BPF itself is the same everywhere."""


def build() -> list[Path]:
    """Compile each source next to itself; the objects.

    All of them, whatever the machine: one wheel serves every processor. The sampler comes with
    loops of the kernel's, and without.
    """
    samplers = [
        _compile(SAMPLER, SAMPLER.with_name(f"sampler{target}{suffix}.bpf.o"), *flags, *loops)
        for target, flags in TARGETS.items()
        for suffix, loops in (("", ()), ("_bounded", ("-DWITHOUT_BPF_LOOP",)))
    ]
    return [*samplers, _compile(CACHE, CACHE.with_name("cache.bpf.o"))]


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
