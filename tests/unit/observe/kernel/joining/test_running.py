"""Which kdamonds run, and which one is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pydamon import Attrs, ProbeUnavailable, TargetError, UsageError
from pydamon._observe.kernel import (
    KernelTarget,
    RunningKdamond,
)
from pydamon._observe.kernel.claim import check_free
from pydamon._observe.kernel.join import choose_kdamond
from pydamon._observe.kernel.running import Monitoring
from pydamon._observe.monitor import PhysicalMemory, Processes
from tests.unit.observe.kernel.fake import FakeFiles
from tests.unit.observe.kernel.joining.foreign import (
    KDAMOND,
    MS,
    Joining,
    add_module,
    add_thread,
    needs_addresses,
    start_foreign,
)


def test_nobody_is_one_clear_line(joining: Joining, proc: Path) -> None:
    with pytest.raises(ProbeUnavailable, match="nobody runs the kernel's DAMON now") as caught:
        joining()
    assert caught.value.hint == ""
    add_thread(proc, 5)
    with pytest.raises(ProbeUnavailable, match=r"kdamond.0 \(pid 5\) monitors, but no file says"):
        joining()


@needs_addresses
def test_several_are_told_apart_by_name(
    files: FakeFiles, joining: Joining, modules: Path, proc: Path, sleeper: int
) -> None:
    start_foreign(files, KernelTarget(sleeper))
    add_thread(proc, KDAMOND, "kdamond.3")
    add_thread(proc, 90, "kdamond.4")
    add_module(
        modules,
        "damon_reclaim",
        enabled="Y",
        kdamond_pid=90,
        sample_interval=5000,
        aggr_interval=100_000,
        min_nr_regions=10,
        max_nr_regions=1000,
        autotune_monitoring_intervals="N",
        addr_unit=1,
    )
    assert [(k.pid, k.thread, k.user) for k in joining.running()] == [
        (KDAMOND, "kdamond.3", "sysfs"),
        (90, "kdamond.4", "DAMON_RECLAIM"),
    ]
    with pytest.raises(UsageError, match="2 kdamonds run: name one") as caught:
        joining()
    assert caught.value.hint.splitlines() == [k.describe() for k in joining.running()]
    for name in (90, "90", "kdamond.4", "damon_reclaim", "DAMON_RECLAIM"):
        with joining(join=name) as mon:
            assert "DAMON_RECLAIM" in mon.joined
            assert mon.attrs == Attrs()
    # A target says which one is meant, too.
    with joining(PhysicalMemory()) as mon:
        assert "pid 90" in mon.joined
    with joining(Processes.of(sleeper)) as mon:
        assert "sysfs" in mon.joined
    with pytest.raises(UsageError, match=r"no kdamond kdamond\.9 runs"):
        joining(join="kdamond.9")
    with pytest.raises(TargetError, match="no kdamond monitors pid 1"):
        joining(Processes.of(1))
    with pytest.raises(TargetError, match="physical memory"):
        joining(PhysicalMemory(), "kdamond.3")


def test_a_thread_of_nobody_is_not_taken_for_a_modules(
    joining: Joining, modules: Path, proc: Path
) -> None:
    add_module(modules, "damon_stat", enabled="Y", aggr_interval_us=100_000)
    add_thread(proc, 5)
    add_thread(proc, 6, "kdamond.1")
    assert [(k.pid, k.user, k.monitoring) for k in joining.running()] == [
        (5, "", None),
        (6, "", None),
    ]
    (modules / "damon_stat/parameters/kdamond_pid").write_text("6\n")
    assert [k.user for k in joining.running()] == ["", "DAMON_STAT"]


@pytest.mark.parametrize(
    ("values", "attrs"),
    [
        ((0, 0, 0, 0, 0), Attrs(1000, 1000, 10**9, 3, 3)),
        ((5000, 100, 1, 10, 2), Attrs(5 * MS, 5 * MS, 10**9, 10, 10)),
        ((5000, 2 * 10**6, 10**6, 10, 1000), Attrs(5 * MS, 2 * 10**9, 2 * 10**9)),
    ],
)
def test_attributes_that_pydamon_would_refuse_are_read(
    files: FakeFiles, joining: Joining, sleeper: int, values: tuple[int, ...], attrs: Attrs
) -> None:
    start_foreign(files, KernelTarget(sleeper))
    names = ("intervals/sample_us", "intervals/aggr_us", "intervals/update_us")
    for name, value in zip((*names, "nr_regions/min", "nr_regions/max"), values, strict=True):
        files._put(f"0/contexts/0/monitoring_attrs/{name}", str(value))
    with joining() as mon:
        assert mon.attrs == attrs
        assert mon.caveat == ""


def test_who_cannot_be_told_is_no_candidate_for_a_target() -> None:
    unknown = RunningKdamond(7, "kdamond.0", "")
    known = RunningKdamond(8, "kdamond.1", "sysfs", None, Monitoring("vaddr", (3,), Attrs()))
    assert choose_kdamond([unknown, known], True, [3]) is known
    assert choose_kdamond([unknown], True) is unknown
    assert known.read_again() is None
    gone = replace(known, place=Path("/nonexistent"))
    assert gone.read_again() is None


def test_a_line_names_a_few_targets() -> None:
    many = RunningKdamond(
        8, "kdamond.1", "sysfs", None, Monitoring("vaddr", tuple(range(1, 100)), Attrs())
    )
    assert "monitors pid 1, 2, 3, 4, 5 and 94 more: 5 ms / 100 ms" in many.describe()
    assert not replace(many, user="").answers_to("")


def test_who_finds_damon_in_use_is_told_of_joining(
    files: FakeFiles, tmp_path: Path, modules: Path, sleeper: int
) -> None:
    start_foreign(files, KernelTarget(sleeper))
    with pytest.raises(ProbeUnavailable, match="somebody else") as caught:
        check_free(files, tmp_path, modules)
    assert "--engine kernel --join" in caught.value.hint
    assert "join=True" in caught.value.hint
    files.write("0/state", "off")
    with pytest.raises(ProbeUnavailable, match="switched off") as caught:
        check_free(files, tmp_path, modules)
    assert caught.value.hint == ""
    files.write("nr_kdamonds", 0)
    add_module(modules, "damon_stat", enabled="Y")
    with pytest.raises(ProbeUnavailable, match="DAMON_STAT") as caught:
        check_free(files, tmp_path, modules)
    assert "--join" in caught.value.hint
    assert "damon_stat/parameters/enabled" in caught.value.hint
