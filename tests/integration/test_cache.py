"""The program that traces the page cache, against reads that are known.

Where functions may not be traced, the same program runs at a tracepoint whose argument is a folio,
too: that of folios that come into the page cache. For that this test changes private tables.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pydamon import ProbeUnavailable
from pydamon._observe.cache import layout, tracer
from pydamon._observe.linux.cgroups import cgroup_of, memory_directory
from pydamon._observe.probes.ebpf import loader
from pydamon._observe.probes.ebpf.btf import Btf
from pydamon.cache import CacheMonitor, CgroupCache
from tests.integration.conftest import MIB

pytestmark = pytest.mark.live

PAGE = mmap.PAGESIZE
SECOND = 10**9
_TYPEDEF, _RAW_TRACEPOINT = 8, 23


@pytest.fixture
def at_tracepoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the program run for folios that come into the page cache."""
    section = "fentry/folio_mark_accessed"
    try:
        number = Btf().type_id("btf_trace_mm_filemap_add_to_page_cache", _TYPEDEF)
        facts = layout.kernel()._replace(function=number)
    except ProbeUnavailable as error:
        pytest.skip(str(error))
    kind = replace(loader.PROGRAM_TYPES[section], attach_type=_RAW_TRACEPOINT)
    monkeypatch.setitem(loader.PROGRAM_TYPES, section, kind)
    monkeypatch.setattr(tracer, "kernel", lambda: facts)
    monkeypatch.setattr(tracer, "_read_own_file", lambda: FileOnDisk(tmp_path / "own", 1).read(1))


class FileOnDisk:
    """A file with a hole, whose pages come into the page cache one by one."""

    def __init__(self, path: Path, mib: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(self._fd, mib * MIB)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)

    def read(self, mib: int, monitor: CacheMonitor | None = None) -> None:
        """Read the first part, from disk."""
        os.posix_fadvise(self._fd, 0, mib * MIB, os.POSIX_FADV_DONTNEED)
        for at in range(0, mib * MIB, PAGE):
            os.pread(self._fd, PAGE, at)
            if monitor is not None and at % (8 * MIB) == 0:
                monitor.check()


@pytest.fixture(autouse=True)
def cgroup_of_its_own() -> Iterator[None]:
    """Keep out what other programs of the same cgroup read meanwhile, where that can be done."""
    parent = memory_directory(cgroup_of(os.getpid()))
    child = None if parent is None else parent / f"pydamon-test-{os.getpid()}"
    if parent is None or child is None or not made(child):
        yield
        return
    try:
        (child / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (parent / "cgroup.procs").write_text(str(os.getpid()))
        child.rmdir()


def made(cgroup: Path) -> bool:
    """Make a cgroup; false where that is refused, or where its memory is not counted."""
    try:
        cgroup.mkdir()
    except OSError:
        return False
    if (cgroup / "memory.stat").exists():
        return True
    cgroup.rmdir()
    return False


@pytest.fixture
def file(tmp_path: Path) -> Iterator[FileOnDisk]:
    file = FileOnDisk(tmp_path / "file", 200)
    yield file
    os.close(file._fd)


def traced(file: FileOnDisk, most_folios: int) -> tuple[float, CgroupCache]:
    """Read 200 MiB, wait, and read 40 MiB of them twice; the share that was followed, and a row."""
    try:
        monitor = CacheMonitor("reads", None, most_folios=most_folios)
    except ProbeUnavailable as error:
        pytest.skip(f"no BPF program at a tracepoint: {error}")
    with monitor:
        file.read(200, monitor)
        time.sleep(2)
        for _ in range(2):
            file.read(40, monitor)
        use = monitor.report()
    row = use.of(cgroup_of(os.getpid()))
    if row is None:
        pytest.skip("this machine has no figures of this process's cgroup")
    if use.missed_folios:
        pytest.skip("this machine is too busy: the sample was not adjusted in time")
    return use.followed_share, row


@pytest.mark.usefixtures("at_tracepoint")
def test_all_folios_are_exact(file: FileOnDisk) -> None:
    share, row = traced(file, 1 << 17)
    assert share == 1
    assert row.used_within(10 * SECOND) == pytest.approx(200 * MIB, rel=0.05)
    assert row.used_bytes[0] == pytest.approx(40 * MIB, rel=0.1)
    assert row.deviation_bytes[1] == 0


@pytest.mark.usefixtures("at_tracepoint")
def test_a_sample_stands_for_all_folios(file: FileOnDisk) -> None:
    share, row = traced(file, 4000)
    deviation = row.deviation_bytes[1]
    assert share < 0.1
    assert deviation is not None
    assert 0 < deviation < 0.04 * 200 * MIB
    assert row.used_within(10 * SECOND) == pytest.approx(200 * MIB, abs=4 * deviation)
    assert row.again_per_s[0] is not None
    assert row.again_per_s[0] > 0
