"""KdamondSettings of a kdamond are in its files afterwards; errors name what a kernel lacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pydamon import (
    AccessPattern,
    Attrs,
    Destination,
    Filter,
    Goal,
    IntervalGoal,
    KernelError,
    ProbeUnavailable,
    PydamonError,
    Quota,
    Scheme,
    UsageError,
    Watermarks,
    Weights,
)
from pydamon._model.schemes.limits import METRICS
from pydamon._model.schemes.matching import FILTERS
from pydamon._observe.kernel import Kdamond, KdamondSettings, KernelTarget
from pydamon._observe.kernel.files import missing_word
from pydamon._observe.kernel.scheme import KERNEL_ACTIONS
from tests.unit.observe.kernel.fake import NEW, OLD, FakeFiles

SCHEME = "contexts/0/schemes/0"


def configured(
    tmp_path: Path,
    release: str,
    *schemes: Scheme,
    goal: IntervalGoal | None = None,
    attrs: Attrs | None = None,
    operations: str = "fvaddr",
) -> dict[str, str]:
    """The files of a kdamond that was given some settings."""
    files = FakeFiles(tmp_path / "kdamonds", release)
    files.write("nr_kdamonds", 1)
    kdamond = Kdamond(files)
    target = KernelTarget(os.getpid(), ((0x1000, 0x5000), (0x8000, 0x9000)))
    kdamond.configure(
        KdamondSettings(operations, (target,), attrs or Attrs(), goal, tuple(schemes))
    )
    kdamond.start()
    assert kdamond.running
    return kdamond.written()


def test_a_kernel_that_looks_at_its_files_itself_is_waited_for(tmp_path: Path) -> None:
    files = FakeFiles(tmp_path / "kdamonds")
    files.write("nr_kdamonds", 1)
    kdamond = Kdamond(files)
    kdamond.configure(KdamondSettings("vaddr", (KernelTarget(os.getpid()),), Attrs()))
    for act in (kdamond.start, kdamond.commit, kdamond.stats, kdamond.stop):
        files.busy = 3
        act()
        assert files.busy == 0
    files.write("0/state", "on")
    with pytest.raises(KernelError, match="busy"):
        files.write("nr_kdamonds", 0)


@pytest.mark.parametrize("release", [OLD, NEW])
def test_attributes_and_targets(tmp_path: Path, release: str) -> None:
    attrs = Attrs(2_000_000, 40_000_000, 3_000_000_000, 20, 500)
    says = configured(tmp_path, release, attrs=attrs)
    assert says["contexts/0/operations"] == "fvaddr"
    intervals = "contexts/0/monitoring_attrs/intervals"
    assert says[f"{intervals}/sample_us"] == "2000"
    assert says[f"{intervals}/aggr_us"] == "40000"
    assert says[f"{intervals}/update_us"] == "3000000"
    assert says["contexts/0/monitoring_attrs/nr_regions/min"] == "20"
    assert says["contexts/0/monitoring_attrs/nr_regions/max"] == "500"
    assert says["contexts/0/targets/0/pid_target"] == str(os.getpid())
    assert says["contexts/0/targets/0/regions/0/start"] == str(0x1000)
    assert says["contexts/0/targets/0/regions/1/end"] == str(0x9000)
    assert says["state"] == "on"


def test_an_interval_goal(tmp_path: Path) -> None:
    says = configured(tmp_path, NEW, goal=IntervalGoal(300, 4, 6_000_000, 9_000_000_000))
    goal = "contexts/0/monitoring_attrs/intervals/intervals_goal"
    values = [says[f"{goal}/{n}"] for n in ("access_bp", "aggrs", "min_sample_us", "max_sample_us")]
    assert values == ["300", "4", "6000", "9000000"]


def test_a_scheme_with_everything(tmp_path: Path) -> None:
    scheme = Scheme(
        "pageout",
        AccessPattern(
            min_size="8K", max_size="1G", min_rate=1, max_rate="50%", min_age="1s", max_age="10s"
        ),
        quota=Quota(
            time="15ms",
            bytes="64M",
            reset="2s",
            weights=Weights(size=1, rate=2, age=3),
            goals=[
                Goal(metric="user_input", target=100, value=lambda: 42.4),
                Goal(metric="node_memcg_used_bp", target=9000, node=1, memcg_path="/jobs"),
            ],
            tuner="temporal",
            fail_charge=0.25,
        ),
        watermarks=Watermarks(metric="free_mem_rate", interval="2s", high=500, mid=400, low=50),
        filters=[
            Filter("anon", matching=False),
            Filter("memcg", memcg_path="/jobs", allow=True),
            Filter("hugepage_size", min_size="2M", max_size="1G"),
            Filter("addr", start=0x1000, end=0x9000),
            Filter("target", target=0),
        ],
        apply_interval="500ms",
        max_snapshots=7,
    )
    says = configured(tmp_path, NEW, scheme, operations="paddr")
    wanted = {
        "action": "pageout",
        "access_pattern/sz/min": str(8192),
        "access_pattern/sz/max": str(1 << 30),
        "access_pattern/nr_accesses/min": "1",
        "access_pattern/nr_accesses/max": "10",
        "access_pattern/age/min": "10",
        "access_pattern/age/max": "100",
        "apply_interval_us": "500000",
        "quotas/ms": "15",
        "quotas/bytes": str(64 << 20),
        "quotas/reset_interval_ms": "2000",
        "quotas/weights/sz_permil": "1",
        "quotas/weights/nr_accesses_permil": "2",
        "quotas/weights/age_permil": "3",
        "quotas/goal_tuner": "temporal",
        "quotas/fail_charge_num": "250",
        "quotas/fail_charge_denom": "1000",
        "quotas/goals/0/target_metric": "user_input",
        "quotas/goals/0/target_value": "100",
        "quotas/goals/0/current_value": "42",
        "quotas/goals/1/target_metric": "node_memcg_used_bp",
        "quotas/goals/1/nid": "1",
        "quotas/goals/1/path": "/jobs",
        "watermarks/metric": "free_mem_rate",
        "watermarks/interval_us": "2000000",
        "watermarks/high": "500",
        "watermarks/mid": "400",
        "watermarks/low": "50",
        "core_filters/nr_filters": "2",
        "core_filters/0/type": "addr",
        "core_filters/0/addr_start": str(0x1000),
        "core_filters/0/addr_end": str(0x9000),
        "core_filters/1/type": "target",
        "core_filters/1/damon_target_idx": "0",
        "ops_filters/nr_filters": "3",
        "ops_filters/0/type": "anon",
        "ops_filters/0/matching": "N",
        "ops_filters/0/allow": "N",
        "ops_filters/1/memcg_path": "/jobs",
        "ops_filters/1/matching": "Y",
        "ops_filters/1/allow": "Y",
        "ops_filters/2/min": str(2 << 20),
        "ops_filters/2/max": str(1 << 30),
        "stats/max_nr_snapshots": "7",
    }
    assert {path: says[f"{SCHEME}/{path}"] for path in wanted} == wanted


def test_several_destinations(tmp_path: Path) -> None:
    to = [Destination(node=0, weight=3), Destination(node=1)]
    says = configured(tmp_path, NEW, Scheme("migrate_hot", destinations=to))
    assert [says[f"{SCHEME}/dests/{n}"] for n in ("0/id", "0/weight", "1/id", "1/weight")] == [
        "0",
        "3",
        "1",
        "1",
    ]
    scheme = Scheme("migrate_cold", target_node=1)
    says = configured(tmp_path / "other", OLD, scheme, operations="paddr")
    assert says[f"{SCHEME}/target_nid"] == "1"


LACKING = [
    (Scheme("collapse"), r"collapse.*7\.2"),
    (Scheme("migrate_hot", target_node=0), "6.17"),
    (Scheme("stat", filters=[Filter("young")]), "6.18"),
    (Scheme("stat", filters=[Filter("active")]), "6.15"),
    (Scheme("stat", filters=[Filter("hugepage_size")]), "6.15"),
    (Scheme("stat", filters=[Filter("unmapped")]), "6.15"),
    (Scheme("stat", filters=[Filter("anon", allow=True)]), "6.14"),
    (Scheme("stat", max_snapshots=1), "7.0"),
    (Scheme("migrate_hot", destinations=[Destination(node=0)]), "6.17"),
    (Scheme("stat", quota=Quota(tuner="temporal")), "7.1"),
    (Scheme("stat", quota=Quota(fail_charge=0.5)), "7.2"),
    *(
        (Scheme("stat", quota=Quota(goals=[Goal(metric=metric, target=1, **more)])), release)
        for metric, release, more in (
            ("node_mem_used_bp", "6.16", {"node": 0}),
            ("node_mem_free_bp", "6.16", {"node": 0}),
            ("node_memcg_used_bp", "6.19", {"node": 0, "memcg_path": "/"}),
            ("node_memcg_free_bp", "6.19", {"node": 0, "memcg_path": "/"}),
            ("active_mem_bp", "7.0", {}),
            ("inactive_mem_bp", "7.0", {}),
            ("node_eligible_mem_bp", "7.2", {"node": 0}),
        )
    ),
]


@pytest.mark.parametrize(("scheme", "release"), LACKING)
def test_what_a_kernel_lacks_is_named_with_its_release(
    tmp_path: Path, scheme: Scheme, release: str
) -> None:
    with pytest.raises(PydamonError, match=release):
        configured(tmp_path, OLD, scheme)
    operations = "paddr" if scheme.quota.goals else "fvaddr"
    configured(tmp_path / "new", NEW, scheme, operations=operations)


NOT_DONE = [
    ("paddr", Scheme("hugepage"), "processes only"),
    ("paddr", Scheme("cold"), "processes only"),
    ("vaddr", Scheme("lru_prio"), "physical memory only"),
    ("fvaddr", Scheme("lru_deprio"), "physical memory only"),
    ("vaddr", Scheme("pageout", filters=[Filter("anon"), Filter("young")]), "by anon, young"),
    (
        "vaddr",
        Scheme("stat", quota=Quota(goals=[Goal(metric="node_eligible_mem_bp", target=1, node=0)])),
        "physical memory only",
    ),
]


@pytest.mark.parametrize(("operations", "scheme", "why"), NOT_DONE)
def test_what_a_kernel_would_take_and_not_do_is_refused(
    tmp_path: Path, operations: str, scheme: Scheme, why: str
) -> None:
    with pytest.raises(ProbeUnavailable, match=why):
        configured(tmp_path, NEW, scheme, operations=operations)


def test_every_word_that_a_scheme_can_have_is_known_with_its_release() -> None:
    first = {"stat", "willneed", "cold", "pageout", "hugepage", "nohugepage"}  # as DAMON's files
    for word in {*KERNEL_ACTIONS, *FILTERS, *METRICS} - first:
        assert "came with Linux" in missing_word(word), word


def test_an_old_kernel_has_no_interval_goals(tmp_path: Path) -> None:
    with pytest.raises(ProbeUnavailable, match=r"auto-tuned intervals.*6\.15"):
        configured(tmp_path, OLD, goal=IntervalGoal())


def test_an_action_of_pydamon_alone_is_refused(tmp_path: Path) -> None:
    scheme = Scheme("stat")
    object.__setattr__(scheme, "action", "log")  # as an action that was added to pydamon
    with pytest.raises(UsageError, match="has no action log"):
        configured(tmp_path, NEW, scheme)


def test_the_kernel_calls_no_functions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot call"):
        configured(tmp_path, NEW, Scheme(lambda region: region.size))


def test_bounds_of_regions_never_cross_on_the_way(tmp_path: Path) -> None:
    files = FakeFiles(tmp_path)
    files.write("nr_kdamonds", 1)
    kdamond = Kdamond(files)
    path = "0/contexts/0/monitoring_attrs/nr_regions"
    for low, high in ((10, 1000), (2000, 3000), (5, 50), (100, 100)):
        kdamond.configure(KdamondSettings("paddr", (), Attrs(min_regions=low, max_regions=high)))
        now = {"min": 0, "max": 0}
        for name, text in files.written:
            if name.startswith(path):
                now[name.rpartition("/")[2]] = int(text)
                assert now["min"] <= now["max"]
        assert (files.number(f"{path}/min"), files.number(f"{path}/max")) == (low, high)


def test_what_the_kernel_refuses_is_said(tmp_path: Path) -> None:
    files = FakeFiles(tmp_path)
    files.write("nr_kdamonds", 1)
    with pytest.raises(KernelError, match="cannot write 'on'"):
        Kdamond(files).start()
    Kdamond(files).stop()  # it was never on
