"""Compile the BPF program with the C compiler of the package ziglang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/pydamon/_observe/probes/ebpf/sampler.bpf.c"


def build(source: Path = SOURCE) -> Path:
    """Compile *source* to an object file beside it, and return the path of that file."""
    output = source.with_suffix(".o")
    command = [
        *(sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding"),
        *("-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"),
        *("-c", str(source), "-o", str(output)),
    ]
    subprocess.run(command, check=True)
    return output


if __name__ == "__main__":
    print(build())
