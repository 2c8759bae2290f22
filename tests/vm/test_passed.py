"""How much of each region is of some kinds of pages, in recordings by the kernel's DAMON."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import pydamon
from pydamon import MonitorOptions, ProbeUnavailable
from pydamon._observe.kernel import KernelEngine, KernelMonitor
from pydamon._observe.kernel.passed import SchemeLooks
from pydamon._observe.monitor import PhysicalMemory, Processes
from pydamon._observe.pages.passed import PassedLooks
from tests.integration.conftest import MIB
from tests.integration.kinds import running_kinds, total
from tests.unit.observe.kernel.conftest import needs_damon

pytestmark = [pytest.mark.live, needs_damon]

RELEASE = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))


@pytest.fixture
def program() -> Iterator[int]:
    with running_kinds() as pid:
        yield pid


@contextmanager
def kernel(selection: Processes | PhysicalMemory, passed: str) -> Iterator[KernelMonitor]:
    options = MonitorOptions(passed=passed, sample="25ms", aggr="500ms", cpu_budget_percent=None)
    with KernelEngine().open(selection, options) as mon:
        assert isinstance(mon, KernelMonitor)
        yield mon


def anon_pages() -> int:
    found = re.search(r"^AnonPages: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert found
    return 1024 * int(found[1])


def test_kinds_of_a_process_by_the_flags_of_its_pages(program: int) -> None:
    with kernel(Processes.of(program), "anon,file,active") as mon:
        assert isinstance(mon.passed_looks, PassedLooks)
        *_, last = mon.run("3s")
    assert 32 * MIB <= total(last, "anon") < 48 * MIB
    assert 16 * MIB <= total(last, "file") < 48 * MIB
    assert total(last, "active") <= total(last, "anon") + total(last, "file")


def test_young_pages_of_a_process_by_filters(program: int) -> None:
    if RELEASE < (6, 18):
        with (
            pytest.raises(ProbeUnavailable, match=r"Linux 6\.1[48]"),
            kernel(Processes.of(program), "young"),
        ):
            pass
        return
    with kernel(Processes.of(program), "young,anon") as mon:
        assert isinstance(mon.passed_looks, SchemeLooks)
        snapshots = list(mon.run("8s"))
    told = [s for s in snapshots if s.passed is not None and total(s, "anon")]
    assert told
    assert 28 * MIB <= total(told[-1], "anon") < 52 * MIB
    assert max(total(snapshot, "young") for snapshot in told) >= 4 * MIB
    for snapshot in told:
        assert snapshot.passed is not None
        assert (snapshot.passed.size_bytes <= snapshot.size).all()


@pytest.mark.usefixtures("program")
def test_kinds_of_physical_memory() -> None:
    with kernel(PhysicalMemory(), "anon,memcg:/") as mon:
        by_probes = mon.passed_looks is None
        assert by_probes == (RELEASE >= (7, 2))
        snapshots = list(mon.run("12s"))
    sums = [total(s, "anon") for s in snapshots if s.passed is not None]
    assert sums
    true = anon_pages()
    # Probes look at 20 pages of each region, of which there are few.
    low, high = (0.3, 3) if by_probes else (0.85, 1.15)
    assert low * true < np.mean(sums) < high * true


@pytest.mark.usefixtures("program")
def test_file_pages_of_physical_memory() -> None:
    with kernel(PhysicalMemory(), "file,active,huge") as mon:
        *_, last = mon.run("15s")  # a look takes several snapshots of an emulated CPU
    assert total(last, "file") > 16 * MIB


@pytest.mark.usefixtures("program")
def test_young_pages_of_physical_memory() -> None:
    if RELEASE < (6, 14):
        with pytest.raises(ProbeUnavailable, match="Linux"), kernel(PhysicalMemory(), "young"):
            pass
        return
    with kernel(PhysicalMemory(), "young") as mon:
        snapshots = list(mon.run("8s"))
    assert max(total(s, "young") for s in snapshots if s.passed is not None) >= 4 * MIB


def test_a_kdamond_rests_and_goes_on(program: int) -> None:
    with kernel(Processes.of(program), "") as mon:
        if RELEASE < (7, 2):
            with pytest.raises(ProbeUnavailable, match=r"Linux 7\.2"):
                mon.pause()
            return
        assert len(list(mon.run("2s"))) >= 2
        mon.pause()
        at_ns = mon.kdamond_cpu_ns
        time.sleep(2)
        resting_ns = mon.kdamond_cpu_ns - at_ns
        mon.pause(False)
        *_, last = mon.run("2s")
        working_ns = mon.kdamond_cpu_ns - at_ns - resting_ns
        assert len(last)
    assert resting_ns < working_ns


def test_recordings_keep_kinds(program: int, tmp_path: Path) -> None:
    path = tmp_path / "passed.damon"
    with kernel(Processes.of(program), "anon") as mon:
        snapshots = list(mon.run("3s"))
    pydamon.write_recording(path, pydamon.Recording.from_snapshots(snapshots))
    recording = pydamon.read_recording(path)
    assert recording.passed_kinds == ("anon",)
    assert pydamon.analysis.regions(recording).regions[0].passed.keys() == {"anon"}
