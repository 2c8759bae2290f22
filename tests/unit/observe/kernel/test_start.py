"""Which engine `auto` becomes: sampling where it sees pages, else the kernel's; and why."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import pydamon
from pydamon import MonitorOptions, ProbeUnavailable, Scheme, UsageError
from pydamon._act.policies import Config, Monitoring, Reclaim, Service, TargetSelection
from pydamon._observe.kernel import KernelEngine
from pydamon._observe.kernel.kdamond import ADMIN
from pydamon._observe.monitor import Selection
from pydamon._observe.probes.registry import PROBES
from pydamon._observe.sampling import SamplingEngine, SamplingMonitor
from pydamon._observe.start import ENGINES
from tests.unit.observe.kernel.fake import FakeFiles

samples_here = pytest.mark.skipif(
    not any(probe.availability().works for probe in PROBES), reason="no probe works here"
)


@pytest.fixture
def pid() -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeFiles:
    """The files of the kernel that `pydamon.monitor` uses."""
    files = FakeFiles(tmp_path / "kdamonds")
    files.regions = [(0x1000, 0x2000, 1, 1)]
    engine = KernelEngine(files, tmp_path / "run", events=False)
    monkeypatch.setitem(ENGINES, "kernel", engine)
    return files


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which single pages cannot be sampled."""

    monkeypatch.setitem(ENGINES, "sampling", _NoPages())


class _NoPages(SamplingEngine):
    def open(self, selection: Selection, options: MonitorOptions) -> SamplingMonitor:
        if options.probe == "ebpf":
            raise ProbeUnavailable("BPF is not allowed here")
        return super().open(selection, options)


@pytest.mark.skipif(not PROBES[0].availability().works, reason="pages cannot be sampled here")
def test_pages_are_sampled_where_they_can_be(files: FakeFiles, pid: int) -> None:
    with pydamon.monitor(pid) as mon:
        assert (mon.engine, mon.probe_name) == ("sampling", "ebpf")
    assert files.written == []


@pytest.mark.usefixtures("no_pages")
def test_the_kernel_looks_where_pages_cannot_be_sampled(files: FakeFiles, pid: int) -> None:
    with pydamon.monitor(pid) as mon:
        assert mon.engine == "kernel"
        assert "BPF" in str(mon.fallback_reasons["ebpf"])
        assert len(next(iter(mon))) == 1
    assert files.tree() == {"nr_kdamonds": "0\n"}


@samples_here
@pytest.mark.usefixtures("no_pages")
def test_a_kernel_that_refuses_is_a_fallback_reason(
    pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Mock()
    engine.name = "kernel"
    engine.open.side_effect = ProbeUnavailable("cannot write 'on': Invalid argument")
    monkeypatch.setitem(ENGINES, "kernel", engine)
    with pydamon.monitor(pid) as mon:
        assert mon.engine == "sampling"
        assert "Invalid argument" in str(mon.fallback_reasons["kernel"])


def test_a_policy_is_the_kernels_when_one_word_is_changed(files: FakeFiles, pid: int) -> None:
    place = "0/contexts/0/schemes"
    statuses: list[dict[str, Any]] = []
    policy = Reclaim(min_age="1s")
    config = Config(
        name="x",
        target=TargetSelection(pids=[pid]),
        monitoring=Monitoring(engine="kernel", aggr="100ms", update="100ms"),
        policy=policy,
        schemes=policy.schemes(),
    )

    def report(status: dict[str, Any]) -> None:
        statuses.append(status)
        # The last report comes when the kernel has nothing to do any more.
        if files.has(f"{place}/0/action") and files.read(f"{place}/0/action") == "pageout":
            files._put(f"{place}/0/stats/sz_tried", "4096")

    told: list[str] = []
    Service(lambda: config, duration_ns=3 * 10**9, report=report, complain=told.append).run()
    assert "7.2" in told[0]
    assert statuses[-1]["probe"] == "kernel"
    assert statuses[-1]["schemes"][0]["sz_tried"] == 4096
    assert statuses[-1]["figures"]["resident_at_first_bytes"] > 0
    assert files.tree() == {"nr_kdamonds": "0\n"}


def test_schemes_follow_each_other_in_the_kernel(files: FakeFiles, pid: int) -> None:
    with pydamon.monitor(pid, engine="kernel") as mon:
        first = pydamon.apply(mon, Scheme("pageout"))
        second = pydamon.apply(mon, Scheme("cold"), Scheme("stat"))
        first.close()
        assert files.read("0/contexts/0/schemes/0/action") == "cold"
        second.close()
        # What is left is the one by which regions are read.
        assert files.read("0/contexts/0/schemes/0/action") == "stat"


@samples_here
@pytest.mark.usefixtures("no_pages")
def test_pydamon_samples_where_the_kernel_is_not_free(files: FakeFiles, pid: int) -> None:
    files.write("nr_kdamonds", 2)
    before = files.tree()
    with pydamon.monitor(iter([pid])) as mon:
        assert mon.engine == "sampling"
        assert "somebody else" in str(mon.fallback_reasons["kernel"])
    with pytest.raises(ProbeUnavailable, match="somebody else"):
        pydamon.monitor(pid, engine="kernel")
    assert files.tree() == before


@samples_here
@pytest.mark.usefixtures("no_pages")
def test_pydamon_samples_where_the_kernel_lacks_what_is_asked(files: FakeFiles, pid: int) -> None:
    with pydamon.monitor(pid, options=MonitorOptions(goal=pydamon.IntervalGoal())) as mon:
        assert mon.engine == "sampling"
        assert "6.15" in str(mon.fallback_reasons["kernel"])
    assert files.tree() == {"nr_kdamonds": "0\n"}


@samples_here
def test_what_only_sampling_has_is_a_choice_of_it(files: FakeFiles, pid: int) -> None:
    with pydamon.monitor(pid, options=MonitorOptions(seed=1)) as mon:
        assert mon.engine == "sampling"
        assert mon.fallback_reasons.get("kernel") is None
    assert files.written == []
    with pytest.raises(UsageError, match="a seed is for sampling"):
        pydamon.monitor(pid, engine="kernel", options=MonitorOptions(seed=1))
    with pytest.raises(UsageError, match="no engine"):
        pydamon.monitor(pid, engine="steam")


@samples_here
def test_this_machines_damon_is_not_touched_where_it_is_in_use(pid: int) -> None:
    try:
        count = int((ADMIN / "nr_kdamonds").read_text())
    except OSError:
        count = 0
    if count == 0:
        pytest.skip("nobody uses the kernel's DAMON here, if there is one")
    before = _everything()
    with pydamon.monitor(pid) as mon:
        assert mon.engine == "sampling"
    assert _everything() == before


def _everything() -> dict[str, str]:
    readable = [path for path in ADMIN.rglob("*") if path.is_file() and path.stat().st_mode & 0o400]
    return {str(path): path.read_text() for path in readable if "tried_regions" not in str(path)}
