"""Real processes to watch. Every one of them is started here and ended by its pid."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pytest

from pydamon._observe.probes.registry import PROBES
from pydamon._workloads import QUARTER

MIB = 1 << 20
CHURN = """
import subprocess, time
print("ready", flush=True)
running = []
while True:
    running.append(subprocess.Popen(["sleep", "0.1"]))
    if len(running) > 10:
        running.pop(0).wait()
    time.sleep(0.005)
"""
"""A program whose children end all the time."""


def slowness() -> int:
    """How many times slower than an ordinary CPU this one is: 1, or about 10 where it is emulated.

    Multiplied with it, a CPU budget buys as much monitoring as it does elsewhere.
    """
    array = np.arange(1000)
    begin_ns = time.thread_time_ns()
    for _ in range(2000):
        (array + 1).sum()
    sum(range(100_000))
    return max(1, (time.thread_time_ns() - begin_ns) // (10 * 10**6))


@dataclass(frozen=True)
class Program:
    """A running program, and where its hot part is (bytes)."""

    pid: int
    start: int
    hot: int
    size: int


@contextmanager
def running(*argv: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone when this ends."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*map(str, argv)], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def script(text: str) -> Iterator[subprocess.Popen[str]]:
    """A Python script, once it has printed its first line (which is read)."""
    with running(sys.executable, "-c", text) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


@pytest.fixture
def quarter() -> Iterator[Callable[..., Program]]:
    """Starts programs that touch a part of their memory all the time."""
    with ExitStack() as stack:

        def start(mib: int, hot_mib: int | None = None) -> Program:
            hot = () if hot_mib is None else (str(hot_mib),)
            process = stack.enter_context(running(sys.executable, QUARTER, str(mib), *hot))
            assert process.stdout is not None
            address, hot_bytes, size = (int(word, 16) for word in process.stdout.readline().split())
            return Program(process.pid, address, hot_bytes, size)

        yield start


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A directory for files that can be paged out: on a disk, not in memory."""
    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    above = [str(path) for path in (tmp_path, *tmp_path.parents)]
    kind = next((mounts[path] for path in above if path in mounts), "")
    if kind in ("tmpfs", "ramfs"):
        pytest.skip(f"{tmp_path} is in memory ({kind}): choose another --basetemp")
    return tmp_path


@cache
def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test if a probe does not work here. Trying a probe is slow, so it happens once."""
    probe = next(probe for probe in PROBES if probe.name == name)
    here = probe.availability()
    return pytest.mark.skipif(not here.works, reason=f"no {name} probe: {here.reason}")


def huge_bytes(pid: int) -> int:
    """How much of a process huge pages map."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    return 1024 * sum(map(int, re.findall(r"^AnonHugePages:\s+(\d+)", text, re.MULTILINE)))


def open_files() -> int:
    """How many file descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
