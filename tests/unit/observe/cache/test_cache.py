"""The page cache's budget, sums by cgroup, and the kernel's figures.

Private modules: the public monitor needs a kernel that may be traced.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pydamon import TargetError, UsageError
from pydamon._model.cache_use import FIRST_READ, FollowedFolios
from pydamon._observe.cache.budget import COUNTED_NS, SAMPLED_NS, SEEN_NS, ReadBudget
from pydamon._observe.cache.cgroups import cache_figures, cgroup_ids
from pydamon._observe.cache.rows import sums_by_path, used_by_path
from pydamon._observe.cache.tracer import Counters, Reuses
from pydamon.cache import IDLE_TIMES_NS, CacheMonitor, cachestat

PAGE = 4096
SECOND = 10**9


class Machine:
    """Reads at a constant rate, seen while tracing is on; a clock that a test sets forward."""

    def __init__(self, percent: float | None, reads_per_s: int) -> None:
        self.now_ns = self.seen = 0
        self.reads_per_s = reads_per_s
        self.budget = ReadBudget(percent, lambda: self.now_ns, lambda: 0)

    def run(self, seconds: int, sampled_share: float = 0.0) -> None:
        for _ in range(4 * seconds):
            self.now_ns += SECOND // 4
            if self.budget.may_trace:
                self.seen += self.reads_per_s // 4
            self.budget.account(Counters(self.seen, int(self.seen * sampled_share), 0, 0, 0))


def test_reads_within_the_budget_are_all_traced() -> None:
    machine = Machine(1.0, 100_000)
    machine.run(60)
    assert machine.budget.observed_share == 1
    assert machine.budget.take() == (60 * 100_000, 0, 60 * 100_000 * SEEN_NS)
    assert machine.budget.take() == (0, 0, 0)


@pytest.mark.parametrize("reads_per_s", [1_000_000, 10_000_000])
def test_tracing_rests_where_reads_are_too_many(reads_per_s: int) -> None:
    machine = Machine(1.0, reads_per_s)
    machine.run(20)
    machine.budget.take()
    machine.run(400)
    spent = machine.budget.take().spent_ns / (400 * SECOND)
    assert 0.5 * 0.008 < spent < 1.2 * 0.008
    assert 0 < machine.budget.observed_share < 0.5


def test_without_a_budget_tracing_never_rests() -> None:
    machine = Machine(None, 100_000_000)
    machine.run(60)
    assert machine.budget.observed_share == 1


def test_what_followed_folios_take() -> None:
    now_ns = 0
    budget = ReadBudget(1.0, lambda: now_ns, lambda: 0)
    now_ns = SECOND
    share = budget.account(Counters(10_000, 5_000, 0, 0, 1_000))
    assert share == pytest.approx((5_000 * SAMPLED_NS + 1_000 * COUNTED_NS) / SECOND)
    assert budget.followed_share == pytest.approx(0.003)


def test_sums_include_cgroups_below() -> None:
    folios = FollowedFolios(
        np.array([SECOND // 2, 5 * SECOND, 0]),
        np.array([11, 12, 99], np.uint64),
        np.array([PAGE, 2 * PAGE, 4 * PAGE]),
        0.5,
    )
    reuses = Reuses(
        np.array([12, 11], np.uint64),
        np.array([60, FIRST_READ]),
        np.array([8.0, 2.0]),
        np.array([8.0 * PAGE, 2.0 * PAGE]),
    )
    paths = {1: "/", 11: "/a", 12: "/a/b"}
    sums = sums_by_path(folios, reuses, paths)
    assert {path: (row.used[:2] / PAGE).tolist() for path, row in sums.items()} == {
        "/": [10, 14],
        "/a": [2, 6],
        "/a/b": [0, 4],
        "": [8, 8],
    }
    used = used_by_path(folios, SECOND, paths)
    assert used == {path: int(row.used[0]) for path, row in sums.items()}
    assert sums["/a/b"].again[0] == 8
    assert sums["/"].first_bytes == 2 * PAGE
    columns = sums["/a"].columns(elapsed_s=2, watched_ns=5 * SECOND)
    assert columns["used_bytes"] == (2 * PAGE, 6 * PAGE, None, None, None, None)
    assert columns["deviation_bytes"][0] == round((0.5 * PAGE**2 / 0.25) ** 0.5)
    assert columns["again_per_s"][:2] == (4, None)
    assert len(columns["used_bytes"]) == len(IDLE_TIMES_NS)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Cgroups of version 2."""
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    (tmp_path / "a/b").mkdir(parents=True)
    text = "anon 1\nfile 9\nactive_file 4096\ninactive_file 8192\nworkingset_refault_file 3\n"
    (tmp_path / "a/memory.stat").write_text(text)
    return tmp_path


def test_figures_of_version_2(tree: Path) -> None:
    assert cache_figures(tree, "/a") == (4096, 8192, 3)
    assert cache_figures(tree, "/a/b") is None
    assert set(cgroup_ids(tree).values()) == {"/", "/a", "/a/b"}
    assert cgroup_ids(tree)[(tree / "a/b").stat().st_ino] == "/a/b"


def test_figures_of_version_1_include_cgroups_below(tmp_path: Path) -> None:
    tree = tmp_path / "memory"
    (tree / "a").mkdir(parents=True)
    text = "active_file 0\ninactive_file 0\ntotal_active_file 4096\ntotal_inactive_file 8192\n"
    (tree / "a/memory.stat").write_text(text)
    assert cache_figures(tree, "/a") == (4096, 8192, None)


@pytest.mark.parametrize("text", ["", "active_file x\ninactive_file 1\n", "\0\n", "active_file 1"])
def test_figures_that_make_no_sense(tree: Path, text: str) -> None:
    (tree / "a/memory.stat").write_text(text)
    assert cache_figures(tree, "/a") is None


def test_cachestat_counts_what_was_just_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 10 * PAGE)
    try:
        cached = cachestat(file)
    except UsageError as error:
        pytest.skip(str(error))
    assert cached.size_bytes == 10 * PAGE
    assert cached.cached_bytes == 10 * PAGE


def test_wrong_values() -> None:
    with pytest.raises(UsageError, match="no source 'x'"):
        CacheMonitor("x")
    with pytest.raises(UsageError, match="above 0"):
        CacheMonitor("kernel", 0)
    with CacheMonitor("kernel") as monitor:
        with pytest.raises(UsageError, match="shortest interval"):
            next(monitor.reports("1ms"))
        with pytest.raises(TargetError, match="no cgroup 'no/such'"):
            monitor.path_of("no/such")


def test_without_rights_the_kernels_figures_are_shown() -> None:
    line = (
        "import os, pydamon.cache; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "with pydamon.cache.CacheMonitor() as monitor: print(monitor.report().source)"
    )
    if os.geteuid() != 0:
        line = line.partition("\n")[2].replace("with", "import pydamon.cache\nwith", 1)
    argv = [sys.executable, "-c", line]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout == "kernel\n", done.stderr


def test_the_kernels_figures_alone() -> None:
    with CacheMonitor("kernel") as monitor:
        (use,) = monitor.reports("100ms", "100ms")
    assert use.source == "kernel"
    assert use.observed_share == 0
    assert all(row.used_bytes == () for row in use.cgroups)
