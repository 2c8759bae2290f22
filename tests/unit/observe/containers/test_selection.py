"""Which processes a selection means: by name, cgroup, unit, container and pod.

Private parts are tested, with trees of files in place of those of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pydamon
from pydamon import TargetError, TargetSelection, UsageError
from pydamon._observe.linux import cgroups, procfs
from pydamon._observe.linux.containers import Container
from pydamon._observe.monitor import Processes
from pydamon._observe.targets import containers, members
from pydamon._observe.targets.container_table import ContainerTable
from pydamon._observe.targets.remembered import Remembered
from tests.integration.conftest import script

ROWS = {
    10: Container(cgroup="/a", id="a1" * 32, name="web", runtime="docker"),
    11: Container(cgroup="/a", id="a1" * 32, name="web", runtime="docker"),
    12: Container(cgroup="/b", id="a2" * 32, name="web-cache", runtime="docker"),
    13: Container(
        cgroup="/c", id="c3" * 32, name="nginx", namespace="shop", pod="web-0", runtime="cri-o"
    ),
    14: Container(
        cgroup="/d", id="d4" * 32, name="nginx", namespace="blog", pod="web-0", runtime="cri-o"
    ),
    15: Container(
        cgroup="/e", id="e5" * 32, name="log", namespace="blog", pod="web-0", runtime="cri-o"
    ),
    16: Container(cgroup="/system.slice/x.service", name="x.service", runtime="systemd"),
}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[int, Container]:
    rows = dict(ROWS)
    monkeypatch.setattr(ContainerTable, "of_all", lambda _: rows)
    return rows


@pytest.mark.parametrize(
    ("selector", "value", "pids"),
    [
        ("container", "web", [10, 11]),
        ("container", "a1" * 32, [10, 11]),
        ("container", "a1", [10, 11]),
        ("container", "web-c", [12]),
        ("container", "shop/web-0/nginx", [13]),
        ("container", "shop/", [13]),
        ("container", "log", [15]),
        ("pod", "blog/web-0", [14, 15]),
        ("pod", "shop/web-0", [13]),
        ("all_containers", True, [10, 11, 12, 13, 14, 15]),
    ],
)
@pytest.mark.usefixtures("table")
def test_containers_and_pods(selector: str, value: Any, pids: list[int]) -> None:
    selection = TargetSelection(**{selector: value})
    assert selection.is_group
    assert sorted(selection.members()()) == pids


@pytest.mark.parametrize(
    ("selector", "value", "message", "hint"),
    [
        ("container", "nginx", "2 containers match 'nginx'", "blog/web-0/nginx (d4d4d4d4d4d4)"),
        ("container", "a", "2 containers match 'a'", "web (a1a1a1a1a1a1), web-cache"),
        ("container", "x.service", "there is no container", "shop/web-0/nginx"),
        ("pod", "web-0", "2 pods match 'web-0'", "blog/web-0, shop/web-0"),
        ("pod", "shop/web", "there is no pod 'shop/web'", "shop/web-0"),
    ],
)
@pytest.mark.usefixtures("table")
def test_errors_list_the_candidates(selector: str, value: Any, message: str, hint: str) -> None:
    with pytest.raises(TargetError, match=message.replace("'", ".")) as caught:
        TargetSelection(**{selector: value}).members()
    assert hint in caught.value.hint


def test_a_container_that_starts_again_is_followed(table: dict[int, Container]) -> None:
    find = TargetSelection(container="web").members()
    del table[10], table[11]
    assert not list(find())
    table[20] = Container(cgroup="/z", id="f6" * 32, name="web", runtime="docker")
    table[21] = Container(cgroup="/y", id="f7" * 32, name="web", runtime="podman")
    assert list(find()) == [20]


def test_units(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {
        10: "/system.slice/db.service/child",
        11: "/system.slice/web.service",
        12: "/user.slice/user-1.slice/user@1.service/app.slice/web.service",
        13: "/user.slice/user-2.slice/user@2.service/app.slice/job.service",
        14: "/user.slice/user-1.slice/user@1.service/app.slice/job.service",
    }
    monkeypatch.setattr(containers, "every_process", lambda: list(paths))
    monkeypatch.setattr(containers, "cgroup_of", paths.__getitem__)
    for unit, pids in {
        "db": [10],
        "web.service": [11],
        "system.slice": [10, 11],
        "user.slice/user-1.slice": [12, 14],
    }.items():
        assert TargetSelection(unit=unit).members()() == pids
    with pytest.raises(TargetError, match="2 systemd units match") as caught:
        TargetSelection(unit="job").members()
    assert "user-2.slice" in caught.value.hint
    with pytest.raises(TargetError, match="no systemd unit 'nothing'"):
        TargetSelection(unit="nothing").members()


def test_names_match_a_part_of_the_command_or_program() -> None:
    with script("print(1, flush=True); input()") as process:
        comm = Path(f"/proc/{process.pid}/comm").read_text().strip()
        assert process.pid in list(TargetSelection(name=f"^{comm[:4]}").members()())
        assert process.pid not in list(TargetSelection(name="^ython").members()())
    with pytest.raises(UsageError, match="not a regular expression"):
        TargetSelection(name="(").members()
    with pytest.raises(TargetError, match="no process is selected by name"):
        pydamon.monitor(TargetSelection(name="no-program-has-this-name"))


def test_a_selection_of_pids_is_as_good_as_pids() -> None:
    selection = Processes.of(TargetSelection(pids=[7, 8], children=False))
    assert selection == Processes((7, 8), children=False)
    with pytest.raises(UsageError, match="a command is no running process"):
        Processes.of(TargetSelection(command=["true"]))


def test_what_is_remembered_is_read_again_ever_less_often() -> None:
    now, reads = 0.0, list[float]()

    def read(_: int) -> float:
        reads.append(now)
        return now

    known = Remembered(read, most_s=8, clock=lambda: now)
    for _ in range(40):
        known.of([1])
        now += 1
    assert reads == [0, 1, 2, 4, 8, 16, 24, 32]
    known.of([])
    known.of([1])
    assert len(reads) == 9


@contextmanager
def tree(root: Path, monkeypatch: pytest.MonkeyPatch, *paths: str) -> Iterator[None]:
    for path in paths:
        place = root / path
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.procs").write_text("")
    monkeypatch.setattr(cgroups, "CGROUPS", root)
    cgroups._namespace.cache_clear()
    yield
    cgroups._namespace.cache_clear()


def test_a_cgroup_is_looked_for_in_all_hierarchies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tree(
        tmp_path, monkeypatch, "memory/db", "unified/db", "systemd/x.slice", "unified/db/sub"
    ):
        (tmp_path / "memory/db/cgroup.procs").write_text("5\n0\n")
        (tmp_path / "unified/db/sub/cgroup.procs").write_text("6\n5\n")
        assert cgroups.cgroup_directory("db") == tmp_path / "memory/db"
        assert sorted(members.members_of_cgroup("/db/")()) == [5, 6]
        (tmp_path / "unified/db/memory.pressure").touch()
        assert cgroups.cgroup_file("/db", "memory.pressure") == (
            tmp_path / "unified/db/memory.pressure"
        )
        assert cgroups.cgroup_file("/db", "memory.swap.max") is None
        assert cgroups.cgroup_directory("x.slice") == tmp_path / "systemd/x.slice"
        for name in ("../memory", "nothing"):
            with pytest.raises(TargetError, match="there is no cgroup"):
                cgroups.cgroup_directory(name)


def test_a_process_has_a_cgroup_in_each_hierarchy_of_version_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {"/proc/7/cgroup": b"4:memory:/docker/web\n1:name=systemd:/x\n0::/init.scope\n"}
    monkeypatch.setattr(cgroups, "read", lambda path: seen.get(path) or procfs.read(path))
    with tree(tmp_path, monkeypatch, "memory/docker/web", "unified/init.scope", "unified/docker"):
        for place in ("unified/init.scope", "unified/docker"):
            (tmp_path / place / "memory.pressure").touch()
        (tmp_path / "memory/docker/web/memory.stat").touch()
        for place in ("unified/init.scope/memory.pressure", "memory/docker/web/memory.stat"):
            file = tmp_path / place
            assert cgroups.cgroup_file_of(7, file.name) == file
        assert cgroups.cgroup_file_of(7, "memory.swap.max") is None


def test_paths_from_another_cgroup_namespace_are_those_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc says /../web of a sibling, and / of ourselves; the host's tree has us in /pods/own."""
    seen = {"/proc/self/cgroup": b"0::/\n", "/proc/7/cgroup": b"0::/../web/init.scope\n"}
    monkeypatch.setattr(cgroups, "read", lambda path: seen.get(path) or procfs.read(path))
    with tree(tmp_path, monkeypatch, "pods/own", "pods/web"):
        (tmp_path / "cgroup.controllers").touch()
        (tmp_path / "pods/own/cgroup.procs").write_text(f"{os.getpid()}\n")
        assert cgroups.cgroup_of(7) == "/pods/web/init.scope"
