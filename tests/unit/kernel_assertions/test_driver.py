"""What the kernel's tests assert of new settings, of the files that pydamon's driver writes.

See test_regions.py. The files are the fake ones of tests/unit/observe/kernel: what kernels make of
them is tested in the virtual machine (tests/vm). The names are private because the driver is.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydamon import (
    AccessPattern,
    Attrs,
    Destination,
    Filter,
    Goal,
    IntervalGoal,
    KernelError,
    ProbeUnavailable,
    Quota,
    Scheme,
    Watermarks,
    Weights,
)
from pydamon._observe.kernel import Kdamond, KdamondSettings, KernelTarget
from tests.unit.observe.kernel.fake import NEW, OLD, FakeFiles

_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where files are made fast, if there is such a place."""
_numbers = st.integers(0, 1000)
_pairs = st.tuples(_numbers, _numbers).map(sorted)
_goals = st.one_of(
    st.builds(Goal, metric=st.just("user_input"), target=st.integers(1, 999), value=_numbers),
    st.builds(Goal, metric=st.just("some_mem_psi_us"), target=st.integers(1, 999)),
    st.builds(
        Goal,
        metric=st.sampled_from(["node_mem_free_bp", "node_mem_used_bp"]),
        target=st.integers(1, 9999),
        node=st.integers(0, 9),
    ),
    st.builds(
        Goal,
        metric=st.sampled_from(["node_memcg_free_bp", "node_memcg_used_bp"]),
        target=st.integers(1, 9999),
        node=st.integers(0, 9),
        memcg_path=st.sampled_from(["/jobs", "/web"]),
    ),
)
_flags = {"matching": st.booleans(), "allow": st.booleans()}
_filters = st.one_of(
    st.builds(Filter, st.sampled_from(["anon", "young", "active", "unmapped"]), **_flags),
    st.builds(Filter, st.just("memcg"), memcg_path=st.just("/jobs"), **_flags),
    st.builds(
        lambda start, pages, **flags: Filter("addr", start=start, end=start + pages, **flags),
        _numbers,
        st.integers(1, 99),
        **_flags,
    ),
    st.builds(Filter, st.just("target"), target=st.integers(0, 9), **_flags),
    st.builds(
        lambda sizes, **flags: Filter(
            "hugepage_size", min_size=sizes[0], max_size=sizes[1], **flags
        ),
        _pairs,
        **_flags,
    ),
)
_quotas = st.builds(
    lambda kilobytes, ms, reset, weights, goals, **more: Quota(
        bytes=1024 * kilobytes,
        time=f"{ms}ms",
        reset=f"{reset}ms",
        weights=weights,
        goals=goals,
        **more,
    ),
    st.integers(1, 1000),
    st.integers(1, 9),
    st.integers(10, 5000),
    st.builds(Weights, size=_numbers, rate=_numbers, age=_numbers),
    st.lists(_goals, max_size=3),
    tuner=st.sampled_from(["consist", "temporal"]),
    fail_charge=st.sampled_from([1.0, 0.5, 0.001]),
)
_watermarks = st.builds(
    lambda marks, ms: Watermarks(
        metric="free_mem_rate", interval=f"{ms}ms", low=marks[0], mid=marks[1], high=marks[2]
    ),
    st.tuples(_numbers, _numbers, _numbers).map(sorted),
    st.integers(1, 9999),
)
_patterns = st.builds(
    lambda sizes, rates, ages: AccessPattern(
        min_size=sizes[0],
        max_size=sizes[1],
        min_rate=rates[0],
        max_rate=rates[1],
        min_age=ages[0],
        max_age=ages[1],
    ),
    _pairs,
    _pairs,
    _pairs,
)
_schemes = st.one_of(
    st.builds(
        Scheme,
        st.sampled_from(["pageout", "lru_prio", "stat"]),
        _patterns,
        quota=_quotas,
        watermarks=_watermarks,
        filters=st.lists(_filters, max_size=3),
        apply_interval=st.sampled_from(["0s", "200ms", "2s"]),
    ),
    st.builds(
        Scheme,
        st.sampled_from(["migrate_hot", "migrate_cold"]),
        _patterns,
        destinations=st.lists(
            st.builds(Destination, node=st.integers(0, 9), weight=st.integers(1, 99)),
            min_size=1,
            max_size=3,
        ),
    ),
)
_attrs = st.builds(
    lambda sample, samples, bounds: Attrs.of(
        f"{sample}ms", f"{sample * samples}ms", None, 3 + bounds[0], 3 + bounds[1]
    ),
    st.integers(1, 50),
    st.integers(1, 50),
    _pairs,
)
_settings = st.builds(
    KdamondSettings,
    st.just("paddr"),
    st.just((KernelTarget(0, ((0x1000, 0x9000),)),)),
    _attrs,
    st.sampled_from([None, IntervalGoal(), IntervalGoal(300, 4)]),
    st.lists(_schemes, max_size=2).map(tuple),
)


def written(directory: Path, *each: KdamondSettings) -> dict[str, str]:
    """All files after one kdamond was given these settings in turn."""
    files = FakeFiles(directory / "kdamonds", NEW)
    files.write("nr_kdamonds", 1)
    kdamond = Kdamond(files)
    for number, one_setting in enumerate(each):
        kdamond.configure(one_setting)
        if number == 0:
            kdamond.start()
        else:
            kdamond.commit()
    return files.tree()


@settings(max_examples=20)
@given(_settings, _settings)
def test_new_settings_leave_nothing_of_the_old_ones(
    before: KdamondSettings, after: KdamondSettings
) -> None:
    """damos_test_commit_quota, _quota_goal, _quota_goals, _dests, _filter, _pageout, _migrate_hot.

    Also sysfs.py. Whatever it was told before, a kdamond has what it is told last, and no more.
    """
    with TemporaryDirectory(dir=_MEMORY) as one, TemporaryDirectory(dir=_MEMORY) as other:
        assert written(Path(one), before, after) == written(Path(other), after)


@settings(max_examples=10)
@given(_settings)
def test_the_same_settings_change_nothing(again: KdamondSettings) -> None:
    """sysfs_no_op_commit_break.py: settings that are given once more change nothing."""
    with TemporaryDirectory(dir=_MEMORY) as one, TemporaryDirectory(dir=_MEMORY) as other:
        assert written(Path(one), again, again) == written(Path(other), again)


def test_least_settings_are_settings(tmp_path: Path) -> None:
    """sysfs.py, its last commit: after one with everything, one with next to nothing."""
    least = KdamondSettings("vaddr", (KernelTarget(os.getpid()),), Attrs())
    tree = written(tmp_path, least, least)
    assert tree["0/contexts/0/schemes/nr_schemes"] == "0\n"
    assert tree["0/state"] == "on\n"


def test_the_kernel_keeps_the_regions_of_processes(tmp_path: Path) -> None:
    """damon_test_commit_target_regions: a commit without regions keeps the ones there are."""
    tree = written(tmp_path, KdamondSettings("vaddr", (KernelTarget(os.getpid()),), Attrs()))
    assert tree["0/contexts/0/targets/0/regions/nr_regions"] == "0\n"


def test_each_target_is_added(tmp_path: Path) -> None:
    """damon_sysfs_test_add_targets: one target, and then another one."""
    targets = (KernelTarget(os.getpid()), KernelTarget(os.getppid()))
    for count in (1, 2):
        tree = written(tmp_path / str(count), KdamondSettings("vaddr", targets[:count], Attrs()))
        assert tree["0/contexts/0/targets/nr_targets"] == f"{count}\n"
        pids = [tree[f"0/contexts/0/targets/{number}/pid_target"] for number in range(count)]
        assert pids == [f"{target.pid}\n" for target in targets[:count]]


@pytest.mark.parametrize("release", [OLD, NEW])
def test_what_the_kernel_refuses_is_an_error(tmp_path: Path, release: str) -> None:
    """sysfs.sh: two contexts, and filters of an unknown kind.

    damon_test_walk_control_obsolete: a kdamond that has ended takes no commands.
    """
    files = FakeFiles(tmp_path / "kdamonds", release)
    files.write("nr_kdamonds", 1)
    with pytest.raises(KernelError, match="Invalid argument"):
        files.write("0/contexts/nr_contexts", 2)
    kdamond = Kdamond(files)
    scheme = Scheme("stat", filters=[Filter("target", target=0)])
    kdamond.configure(
        KdamondSettings("vaddr", (KernelTarget(os.getpid()),), Attrs(), None, (scheme,))
    )
    place = "core_filters" if release == NEW else "filters"
    files.write(f"0/contexts/0/schemes/0/{place}/nr_filters", 1)
    with pytest.raises((KernelError, ProbeUnavailable)):
        files.write(f"0/contexts/0/schemes/0/{place}/0/type", "foo")
    kdamond.start()
    files.die()
    with pytest.raises(KernelError):
        kdamond.tried_regions()
