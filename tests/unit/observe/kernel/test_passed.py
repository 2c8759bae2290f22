"""Kinds of pages by the kernel: probes, and schemes that are there for a look only."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pydamon import Attrs, MonitorOptions, ProbeUnavailable, UsageError
from pydamon._observe.kernel import (
    Kdamond,
    KdamondSettings,
    KernelEngine,
    KernelMonitor,
    KernelTarget,
)
from pydamon._observe.kernel.kdamond import target_numbers
from pydamon._observe.kernel.passed import (
    MAX_PROBES,
    SchemeLooks,
    can_probe,
    passed_by_probes,
    scheme_of_kind,
)
from pydamon._observe.kernel.reader import cut_at, group, records, sample_dtype, without
from pydamon._observe.monitor import Processes
from pydamon._observe.pages.passed import PassedLooks
from tests.unit.observe.kernel.fake import NEW, OLD, FakeFiles

PROBES = "contexts/0/monitoring_attrs/probes"
FORMAT = """name: damon_region_aggregated
ID: 744
format:
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:unsigned long target_id;\toffset:8;\tsize:8;\tsigned:0;
\tfield:unsigned long start;\toffset:16;\tsize:8;\tsigned:0;
\tfield:unsigned long end;\toffset:24;\tsize:8;\tsigned:0;
\tfield:unsigned int nr_regions;\toffset:32;\tsize:4;\tsigned:0;
\tfield:unsigned int nr_accesses;\toffset:36;\tsize:4;\tsigned:0;
\tfield:unsigned int age;\toffset:40;\tsize:4;\tsigned:0;
\tfield:__data_loc unsigned char[] probe_hits;\toffset:44;\tsize:4;\tsigned:0;
"""


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process.pid
        process.kill()


def kdamond(tmp_path: Path, release: str, *kinds: str) -> tuple[FakeFiles, Kdamond]:
    """A kdamond that probes for some kinds."""
    files = FakeFiles(tmp_path / "kdamonds", release)
    files.write("nr_kdamonds", 1)
    driven = Kdamond(files)
    target = KernelTarget(os.getpid())
    driven.configure(KdamondSettings("vaddr", (target,), Attrs(), probes=kinds))
    driven.start()
    return files, driven


def test_probes_are_in_their_files(tmp_path: Path) -> None:
    _, driven = kdamond(tmp_path, NEW, "anon", "memcg:app/worker")
    says = driven.written()
    assert says[f"{PROBES}/nr_probes"] == "2"
    first, second = (
        {name: says[f"{PROBES}/{n}/filters/0/{name}"] for name in ("type", "matching", "allow")}
        for n in range(2)
    )
    assert first == {"type": "anon", "matching": "Y", "allow": "Y"}
    assert second["type"] == "memcg"
    assert says[f"{PROBES}/1/filters/0/path"] == "/app/worker"


def test_older_kernels_lack_probes_and_say_since_when(tmp_path: Path) -> None:
    with pytest.raises(ProbeUnavailable, match=r"probes for kinds of pages.*7\.2"):
        kdamond(tmp_path, OLD, "anon")


def test_pauses_are_of_new_kernels(tmp_path: Path) -> None:
    files, driven = kdamond(tmp_path / "new", NEW)
    driven.pause(True)
    assert files.read("0/contexts/0/pause") == "Y"
    driven.pause(False)
    assert files.read("0/contexts/0/pause") == "N"
    _, driven = kdamond(tmp_path / "old", OLD)
    with pytest.raises(ProbeUnavailable, match=r"pauses.*7\.2"):
        driven.pause(True)


def test_what_the_kernel_can_probe_for() -> None:
    assert can_probe(["anon", "memcg:/a"], 20)
    assert not can_probe([], 20)
    assert not can_probe(["anon", "file"], 20)
    assert not can_probe(["anon"], 256)
    assert not can_probe([f"memcg:/{n}" for n in range(MAX_PROBES + 1)], 20)


def test_hits_of_probes_are_shares_of_a_region() -> None:
    hits = np.array([[20, 0], [5, 40]], np.uint8)
    passed = passed_by_probes(("anon", "memcg:/"), hits, 20, np.array([4096, 8192]))
    assert passed.size_bytes.tolist() == [[4096, 2048], [0, 8192]]


def event(start: int, hits: bytes) -> bytes:
    fields = struct.pack("=HxxiQQQIIII", 744, 1, 0, start, start + 4096, 2, 3, 4, 48 | 2 << 16)
    raw = fields + hits
    raw += bytes(-(4 + len(raw)) % 8)
    head = struct.pack("=IHHqI", 9, 0, 20 + len(raw), start + 1, len(raw))
    return head + raw


def test_events_have_the_hits_of_probes() -> None:
    dtype = sample_dtype(FORMAT, 2)
    data = event(0, b"\x14\x01") + event(4096, b"\x00\x02")
    assert len(data) == 2 * dtype.itemsize
    samples, lost = records(data, dtype)
    (aggregation,), beyond, broken = group(samples, 1, 10**12)
    assert (beyond, broken, lost) == (2, 0, False)
    assert aggregation.nr_accesses.tolist() == [3, 3]
    assert aggregation.probe_hits is not None
    assert aggregation.probe_hits.tolist() == [[20, 1], [0, 2]]
    halves = cut_at(aggregation, np.array([2048]))
    assert halves.probe_hits is not None
    assert halves.probe_hits.tolist() == [[20, 1], [20, 1], [0, 2]]
    rest = without(aggregation, [0])
    assert rest.probe_hits is not None
    assert len(rest.probe_hits) == 0


def test_tried_regions_belong_to_the_targets_in_turn() -> None:
    rows = np.array([(0, 10, 1), (10, 30, 1), (5, 20, 1), (40, 50, 1), (0, 9, 1)])
    assert target_numbers(rows).tolist() == [0, 0, 1, 1, 2]
    assert target_numbers(np.zeros((0, 3), np.int64)).tolist() == []


def monitor(tmp_path: Path, release: str, pid: int, passed: str) -> tuple[FakeFiles, KernelMonitor]:
    files = FakeFiles(tmp_path / "kdamonds", release)
    files.regions = [(0x10000, 0x20000, 20, 7), (0x20000, 0x80000, 0, 3)]
    options = MonitorOptions(passed=passed, cpu_budget_percent=None)
    engine = KernelEngine(files, tmp_path / "run", events=False)
    mon = engine.open(Processes.of(pid), options)
    assert isinstance(mon, KernelMonitor)
    return files, mon


def test_schemes_tell_what_only_the_kernel_sees(tmp_path: Path, sleeper: int) -> None:
    files, mon = monitor(tmp_path, NEW, sleeper, "young,anon")
    with mon:
        assert isinstance(mon.passed_looks, SchemeLooks)
        first, *_ = islice(mon, 2)
        # The schemes of the look are gone; the other one tries all regions.
        assert files.read("0/contexts/0/schemes/nr_schemes") == "1"
    assert first.passed is not None
    assert first.passed.kinds == ("young", "anon")
    assert first.passed.size_bytes.tolist() == [[4096, 4096], [4096, 4096]]


def test_kernels_that_cannot_filter_pages_name_the_release(tmp_path: Path, sleeper: int) -> None:
    with pytest.raises(ProbeUnavailable, match=r"Linux 6\.1"):
        monitor(tmp_path, OLD, sleeper, "young")
    assert FakeFiles(tmp_path / "kdamonds").read("nr_kdamonds") == "0"


def test_flags_of_pages_tell_the_rest_on_every_kernel(tmp_path: Path, sleeper: int) -> None:
    _, mon = monitor(tmp_path, OLD, sleeper, "anon,file")
    with mon:
        assert isinstance(mon.passed_looks, PassedLooks)
        snapshot = next(iter(mon))
    assert snapshot.passed is not None
    assert snapshot.passed.kinds == ("anon", "file")


def test_each_kind_has_a_filter() -> None:
    rules = {kind: scheme_of_kind(kind).filters[0] for kind in ("file", "huge", "memcg:/a")}
    assert (rules["file"].kind, rules["file"].matching) == ("anon", False)
    assert rules["huge"].min_size_bytes == 2 << 20
    assert rules["memcg:/a"].memcg_path == "/a"
    assert all(rule.allow for rule in rules.values())
    with pytest.raises(UsageError):
        MonitorOptions(passed="swapped")
