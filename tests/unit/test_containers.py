"""What containers use and need, from snapshots whose pages have known ages.

A private part is replaced: which container each process belongs to.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pydamon import Mapping, MappingTable, Recording, Snapshot, Target, UsageError, analysis
from pydamon._cli.main import main
from pydamon._containers import use
from pydamon._containers.advice import recommend
from pydamon._data.analysis import NeedsPoint
from pydamon._data.formats.reader import merge_recordings
from pydamon._data.recording import Recorder
from pydamon._model.target_groups import split_by_groups
from pydamon.containers import CacheUse, CgroupMemory, Container, ContainerWatch
from tests.ages import comb
from tests.recordings import MIB, info, record
from tests.recordings import snapshot as snapshot_of

S = 10**9
WEB = Container(cgroup="/web", id="a1" * 32, name="web", runtime="docker")


class Table:
    """The container of each process, without asking /proc."""

    def of(self, pids: list[int]) -> dict[int, Container]:
        return {pid: WEB for pid in pids if pid != 99}


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use, "ContainerTable", Table)
    memory = CgroupMemory(usage_bytes=400 * MIB, inactive_file_bytes=100 * MIB)
    monkeypatch.setattr(use, "cgroup_memory", lambda _: memory)


def test_what_was_used_and_is_needed_of_a_comb() -> None:
    """16 MiB are always in use, 16 MiB every 8 s, and 224 MiB never."""
    watch = ContainerWatch()
    for snapshot in comb(120):
        watch.add(snapshot)
    (row,) = watch.result(within_ns=20 * S)
    assert row.container == WEB
    assert (row.processes, row.from_pages, row.within_ns) == (1, True, 20 * S)
    assert row.mapped_bytes == 256 * MIB
    assert row.used_bytes == pytest.approx(32 * MIB, rel=0.01)
    assert row.working_set_bytes == row.used_bytes == sum(row.used_by_kind.values())
    assert row.recommendation is not None
    assert row.recommendation.request_bytes == pytest.approx(32 * MIB, rel=0.1)
    assert row.memory is not None
    assert row.memory.kubelet_bytes == 300 * MIB


def test_used_cache_that_nobody_maps_is_part_of_the_working_set() -> None:
    class Cache:
        def used_within(self, container: Container, within_ns: int) -> CacheUse | None:
            assert container == WEB
            return CacheUse(50 * MIB, "a test")

    watch = ContainerWatch(cache=Cache())
    for snapshot in comb(120):
        watch.add(snapshot)
    (row,) = watch.result(within_ns=20 * S)
    assert row.working_set_bytes == row.used_bytes + 50 * MIB
    assert row.recommendation is not None
    assert row.recommendation.cache_source == "a test"
    assert row.recommendation.need_bytes >= 82 * MIB


def test_without_ages_of_pages_there_is_one_window() -> None:
    watch = ContainerWatch()
    watch.add(replace(comb(1)[0], page_ages=None))
    (row,) = watch.result()
    assert not row.from_pages
    assert row.recommendation is None
    assert row.needs is None
    watch = ContainerWatch()
    watch.add(replace(comb(1)[0], page_ages=None, targets=(Target(99),)))
    assert watch.result() == []


def test_a_container_that_has_ended_is_kept_for_an_hour() -> None:
    watch = ContainerWatch()
    snapshots = comb(60)
    for snapshot in snapshots:
        watch.add(snapshot)
    gone = replace(snapshots[-1], targets=(Target(99),))
    watch.add(gone)
    (row,) = watch.result()
    assert row.processes == 0
    assert row.used_bytes > 0
    assert gone.page_ages is not None
    watch.add(replace(gone, end_ns=gone.end_ns + 3601 * S))
    assert watch.result() == []


def test_shared_memory_counts_once_in_each_group() -> None:
    """Three processes map one file; the first is in another group."""
    table = MappingTable((Mapping(0, 8 * MIB, "r--s", "/x", "8:1 7"),))
    targets = tuple(Target(pid, "x", table, pid) for pid in (1, 2, 3))
    n = len(targets)
    whole = np.full(n, 8 * MIB, np.int64)
    snapshot = Snapshot(
        0,
        S,
        5_000_000,
        20,
        targets,
        np.arange(n, dtype=np.int32),
        np.zeros(n, np.int64),
        whole,
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        whole,
        np.zeros(n, np.int64),
        resident_bytes=whole,
        repeated_bytes=np.array([0, 8 * MIB, 8 * MIB]),
        page_maps=(None, None, None),
    )
    first, rest = split_by_groups(snapshot, [[0], [1, 2]])
    assert first.repeated_bytes.tolist() == [0]
    assert rest.repeated_bytes.tolist() == [0, 8 * MIB]
    assert [target.pid for target in rest.targets] == [2, 3]
    assert rest.target.tolist() == [0, 1]
    assert rest.page_maps == (None, None)
    assert rest.footprints == ()


def test_what_a_group_shares_counts_where_it_was_used_last() -> None:
    """Of a file that no other group maps, the first target does not use 6 of 8 MiB any more."""
    files = [("/x", "8:1 7"), ("/y", "8:1 8")]
    own, other = (MappingTable((Mapping(0, 8 * MIB, "rw-s", name, file),)) for name, file in files)
    regions = [(target, 0, 8 * MIB, 0, 0) for target in range(3)]
    targets = tuple(Target(pid, "x", t, pid) for pid, t in ((1, own), (2, own), (3, other)))
    taken = replace(snapshot_of(targets, regions), repeated_bytes=np.array([6 * MIB, 2 * MIB, 0]))
    first, rest = split_by_groups(taken, [[0, 1], [2]])
    assert first.repeated_bytes.tolist() == [6 * MIB, 2 * MIB]
    assert rest.repeated_bytes.tolist() == [0]


def test_what_was_forked_counts_once_in_each_group() -> None:
    """Two workers are in a group with their parent; a third of the same program has its own."""
    table = MappingTable(
        (Mapping(0, 8 * MIB, "rw-p", "[heap]"), Mapping(9 * MIB, 10 * MIB, "rw-p", "[stack]"))
    )
    targets = tuple(Target(pid, "x", table, pid) for pid in range(1, 5))
    regions = [(target, 0, 8 * MIB, 0, 0) for target in range(4)]
    taken = replace(
        snapshot_of(targets, regions), repeated_bytes=np.array([2, 5, 8, 6], np.int64) * MIB
    )
    together = split_by_groups(replace(taken, targets=targets), [[0, 1, 2, 3]])[0]
    assert together.repeated_bytes.tolist() == taken.repeated_bytes.tolist()
    most, alone = split_by_groups(taken, [[0, 1, 2], [3]])
    assert most.repeated_bytes.tolist() == [0, 5 * MIB, 8 * MIB]
    assert alone.repeated_bytes.tolist() == [0]


def test_use_by_kind_of_mapping() -> None:
    kinds = {
        "anonymous": [Mapping(0, MIB, "rw-p", "[heap]"), Mapping(MIB, 2 * MIB, "rw-p", "[anon]")],
        "file": [Mapping(4 * MIB, 5 * MIB, "r--p", "/usr/lib/x.so", "8:1 7")],
        "shared": [
            Mapping(8 * MIB, 9 * MIB, "rw-s", "/dev/shm/x", "0:2 8"),
            Mapping(9 * MIB, 10 * MIB, "rw-s", "[anon_shmem:x]", "0:1 9"),
            Mapping(10 * MIB, 12 * MIB, "rw-s", "/memfd:x (deleted)", "0:1 10"),
        ],
    }
    mappings = tuple(mapping for of_kind in kinds.values() for mapping in of_kind)
    n, sizes = len(mappings), np.array([mapping.end - mapping.start for mapping in mappings])
    start = np.array([mapping.start for mapping in mappings])
    zeros, most = np.zeros(n, np.int64), np.full(n, 20, np.int64)
    snapshot = Snapshot(
        *(0, S, 5_000_000, 20),
        (Target(1, "x", MappingTable(mappings)),),
        np.zeros(n, np.int32),
        *(start, start + sizes, most, zeros, sizes, zeros),
        resident_bytes=sizes,
    )
    watch = ContainerWatch()
    watch.add(snapshot)
    (row,) = watch.result()
    assert row.used_by_kind == {"anonymous": 2 * MIB, "file": MIB, "shared": 4 * MIB}


def test_without_swap_idle_anonymous_memory_is_requested() -> None:
    point = NeedsPoint(60 * S, 50 * MIB, 1.5)
    memory = CgroupMemory(
        anonymous_bytes=200 * MIB,
        kernel_bytes=10 * MIB,
        active_file_bytes=30 * MIB,
        mapped_bytes=10 * MIB,
    )
    advice = recommend(point, 60 * MIB, memory, None)
    assert advice.need_bytes == (50 + 20 + 10) * MIB
    assert advice.request_bytes == 210 * MIB
    assert advice.limit_bytes >= 231 * MIB
    advice = recommend(point, 60 * MIB, replace(memory, can_swap=True), None)
    assert advice.request_bytes == 80 * MIB
    assert advice.limit_bytes == pytest.approx(99 * MIB, abs=MIB)


def test_needs_of_a_recording_by_container(tmp_path: Path) -> None:
    targets = [
        Target(7, "a", started_ns=1, container="web"),
        Target(8, "b", started_ns=2, container="web"),
        Target(9, "c", started_ns=3),
    ]
    snapshots = [snapshot for target in targets for snapshot in comb(60, target=target)]
    recording = record(tmp_path / "x.damon", sorted(snapshots, key=lambda s: s.end_ns))
    assert [target.container for target in recording.targets] == ["web", "web", ""]
    each = analysis.needs(recording)
    needs = analysis.needs(recording, per="container")
    web, rest = needs.targets
    assert (web.target, rest.target) == (Target(0, "web"), Target(0, "/"))
    assert web.resident_bytes == pytest.approx(512 * MIB, rel=0.01)
    for idle_s in (4, 10, 30):
        point, own = web.at(idle_s * S), each.targets[0].at(idle_s * S)
        assert point is not None
        assert own is not None
        assert point.kept_bytes == pytest.approx(2 * own.kept_bytes, rel=0.01)
        assert point.refaults_per_s == pytest.approx(2 * own.refaults_per_s, rel=0.01)
    with pytest.raises(UsageError, match="not per 'pod'"):
        analysis.needs(recording, per="pod")
    words = ["report", "needs", str(tmp_path / "x.damon"), "--per", "container", "--json"]
    assert main(words) == 0


def test_containers_of_two_hosts_may_have_one_name(tmp_path: Path) -> None:
    paths = [tmp_path / f"{host}.damon" for host in ("x", "y")]
    for path in paths:
        with Recorder(path, replace(info(), hostname=path.stem)) as recorder:
            for snapshot in comb(60, target=Target(7, "a", started_ns=1, container="web")):
                recorder.write(snapshot)
    needs = analysis.needs(merge_recordings(paths).read(), per="container")
    assert [curve.target for curve in needs.targets] == [
        Target(0, "web", host="x"),
        Target(0, "web", host="y"),
    ]


def test_a_filter_keeps_the_processes_of_a_container(tmp_path: Path) -> None:
    targets = [Target(7, "a", started_ns=1, container="web"), Target(8, "b", started_ns=2)]
    snapshots = [s for target in targets for s in comb(3, target=target)]
    recording = record(tmp_path / "x.damon", sorted(snapshots, key=lambda s: s.end_ns))
    kept = analysis.where(recording, "container = web")
    assert isinstance(kept, Recording)
    assert 0 < len(kept.table) < len(recording.table)
