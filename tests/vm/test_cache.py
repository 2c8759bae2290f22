"""The page cache in use, against a program that knows what it read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pydamon import ProbeUnavailable
from pydamon.cache import CacheMonitor, CacheReport, CgroupCache
from tests.integration.conftest import MIB

pytestmark = pytest.mark.live

SECOND = 10**9
CGROUPS = Path("/sys/fs/cgroup")
READER = """
import os, sys, time
big, small, hot_mib = sys.argv[1], sys.argv[2], int(sys.argv[3])
MIB = 1 << 20
fd, other = os.open(big, os.O_RDONLY), os.open(small, os.O_RDONLY)

def read(fd, begin, end, step=MIB // 8):
    for at in range(begin, end, step):
        os.pread(fd, step, at)

read(fd, 0, os.fstat(fd).st_size)
print("scanned", flush=True)
while True:
    read(fd, 0, hot_mib * MIB)
    read(other, 0, os.fstat(other).st_size)
    time.sleep(0.2)
"""


@pytest.fixture
def monitor() -> Iterator[CacheMonitor]:
    try:
        monitor = CacheMonitor("reads", cpu_budget_percent=None)
    except ProbeUnavailable as error:
        pytest.skip(str(error))
    with monitor:
        yield monitor


@contextmanager
def cgroup(name: str) -> Iterator[Path]:
    (CGROUPS / "cgroup.subtree_control").write_text("+memory")
    directory = CGROUPS / name
    directory.mkdir()
    try:
        yield directory
    finally:
        directory.rmdir()


@contextmanager
def reader(
    directory: Path, files: Path, big_mib: int, hot_mib: int, *, scanned: bool = True
) -> Iterator[None]:
    """Read a large file once, and then its first part and a small file all the time.

    Without *scanned*, what follows does not wait for the first.
    """
    for name, mib in (("big", big_mib), ("small", 4)):
        with (files / name).open("wb") as file:
            for _ in range(mib):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())
            # The cgroup that reads it pays for it.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    join = f"open('{directory}/cgroup.procs', 'w').write('0')\n"
    argv = [
        sys.executable,
        "-c",
        join + READER,
        str(files / "big"),
        str(files / "small"),
        str(hot_mib),
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert not scanned or process.stdout.readline() == b"scanned\n"
            yield
        finally:
            process.kill()


def row_of(use: CacheReport, path: str) -> CgroupCache:
    row = use.of(path)
    assert row is not None
    return row


def test_two_files_a_hot_part_and_a_scan(monitor: CacheMonitor, tmp_path: Path) -> None:
    with cgroup("reader") as directory, reader(directory, tmp_path, 60, 10):
        time.sleep(3)
        monitor.report()
        time.sleep(2)
        use = monitor.report()
        time.sleep(6)
        later = monitor.report()
    row = row_of(use, "/reader")
    assert use.followed_share == use.observed_share == 1
    assert use.missed_folios == 0
    assert row.used_within(SECOND) == pytest.approx(14 * MIB, rel=0.02)
    assert row.deviation_bytes[0] == 0
    # All that was read since the start: how long ago that is depends on the machine.
    assert max(filter(None, row.used_bytes)) == pytest.approx(64 * MIB, rel=0.1)
    assert row.resident_bytes == pytest.approx(64 * MIB, rel=0.1)
    assert later.of("/reader") is not None
    # The hot part comes back each 0.2 s and more, the rest never.
    assert row_of(later, "/reader").again_per_s[1] == 0
    assert row_of(later, "/").used_within(SECOND) == pytest.approx(14 * MIB, rel=0.1)


def test_a_sample_stands_for_all(tmp_path: Path) -> None:
    try:
        monitor = CacheMonitor("reads", cpu_budget_percent=None, most_folios=2048)
    except ProbeUnavailable as error:
        pytest.skip(str(error))
    with (
        monitor,
        cgroup("sampled") as directory,
        reader(directory, tmp_path, 160, 40, scanned=False),
    ):
        begin = time.monotonic()
        for use in monitor.reports("1s"):  # noqa: B007
            if time.monotonic() > begin + 25:
                break
        row = row_of(use, "/sampled")
    assert use.followed_share < 0.1
    used, deviation = row.used_within(60 * SECOND), row.deviation_bytes[2]
    print(f"{used} bytes, standard deviation {deviation}, of {use.followed_share:.3f} of folios")
    assert used is not None
    assert deviation is not None
    assert deviation < 0.05 * used
    assert used == pytest.approx(164 * MIB, rel=0.1)


def test_mapped_files_are_left_out(monitor: CacheMonitor, tmp_path: Path) -> None:
    import mmap

    with (tmp_path / "mapped").open("w+b") as file:
        file.write(bytes(8 * MIB))
        file.flush()
        with mmap.mmap(file.fileno(), 8 * MIB, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
            bytes(memory)
            before = row_of(monitor.report(), "/").used_within(SECOND) or 0
            for at in range(0, 8 * MIB, MIB):
                os.pread(file.fileno(), MIB, at)
            mapped = row_of(monitor.report(), "/").used_within(SECOND) or 0
        for at in range(0, 8 * MIB, MIB):
            os.pread(file.fileno(), MIB, at)
        unmapped = row_of(monitor.report(), "/").used_within(SECOND) or 0
    assert mapped - before < MIB
    assert unmapped - mapped > 7 * MIB


def test_a_small_budget_lets_tracing_rest(tmp_path: Path) -> None:
    try:
        monitor = CacheMonitor("reads", cpu_budget_percent=0.002)
    except ProbeUnavailable as error:
        pytest.skip(str(error))
    with monitor, cgroup("busy") as directory, reader(directory, tmp_path, 20, 20):
        *_, use = monitor.reports("1s", "8s")
    assert use.observed_share < 0.9
    assert use.reads_per_s < 30_000
