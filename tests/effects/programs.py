"""Programs with memory of a known use, and what they say of themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Worker", "working"]

MIB = 1 << 20
_WORK = """
import mmap, sys, time
import numpy as np
kind, hot, rest, path = sys.argv[1], int(sys.argv[2]) << 20, int(sys.argv[3]) << 20, sys.argv[4]
huge = int(open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").read())
size = hot + rest
if path:
    with open(path, "r+b") as file:
        memory = np.frombuffer(mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ), np.uint8)
    memory[::mmap.PAGESIZE].sum()
else:
    room = mmap.mmap(-1, size + huge, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory = np.frombuffer(room, np.uint8)
    skip = -memory.ctypes.data % huge
    if kind == "always":
        room.madvise(mmap.MADV_HUGEPAGE)
    memory = memory[skip : skip + size]
    memory[:hot:mmap.PAGESIZE] = 1
    memory[hot::huge] = 1
    if kind == "collapse":
        import ctypes
        address, MADV_COLLAPSE = ctypes.c_void_p(memory.ctypes.data), 25
        assert not ctypes.CDLL(None).madvise(address, ctypes.c_size_t(hot), MADV_COLLAPSE)
part, sparse = memory[:hot].view(np.int64), memory[hot::huge]
places = np.random.default_rng(0).integers(0, len(part), 1 << 18)
out = np.empty(len(places), np.int64)
print("ready", flush=True)
for line in sys.stdin:
    end, cpu, rounds = time.monotonic() + float(line), time.process_time(), 0
    while time.monotonic() < end:
        part.take(places, out=out)
        if not path:
            sparse.max()
        rounds += 1
    print(rounds / (time.process_time() - cpu), flush=True)
"""


class Worker:
    """A program that reads its hot part at random, and a page of each 2 MiB of the rest."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._stdin, self._stdout = process.stdin, process.stdout
        self._stdout.readline()

    def start(self, seconds: float) -> None:
        """Let it work."""
        self._stdin.write(f"{seconds}\n")
        self._stdin.flush()

    def speed(self) -> float:
        """The rounds that it made in a second of its CPU time; waits until it is done."""
        return float(self._stdout.readline())

    @property
    def resident_mib(self) -> int:
        """Its resident set."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(x.split()[1]) for x in text.splitlines() if x.startswith("VmRSS")) >> 10

    @property
    def huge_mib(self) -> int:
        """How much of its memory huge pages map."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return next(int(x.split()[1]) for x in text.splitlines() if "AnonHuge" in x) >> 10

    @property
    def major_faults(self) -> int:
        """How often it had to wait for memory to be read back."""
        return int(Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[9])


@contextmanager
def working(kind: str, hot_mib: int, rest_mib: int, path: str = "") -> Iterator[Worker]:
    """A program that is gone when this ends; its memory is that of a file, or anonymous."""
    argv = [sys.executable, "-c", _WORK, kind, str(hot_mib), str(rest_mib), path]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()
