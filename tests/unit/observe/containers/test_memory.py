"""The kernel's figures of a cgroup, from files as versions 1 and 2 have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydamon._observe.linux import cgroup_memory, cgroups
from pydamon.containers import CgroupMemory

VERSION_2 = "anon 100\nfile 350\nshmem 50\nfile_mapped 60\ninactive_file 200\nactive_file 100\n"
VERSION_1 = "cache 1\n" + "".join(
    f"total_{name} {value}\n"
    for name, value in (
        ("cache", 350),
        ("rss", 100),
        ("shmem", 50),
        ("mapped_file", 60),
        ("inactive_file", 200),
        ("active_file", 100),
        ("swap", 5),
    )
)


def put(place: Path, **files: str) -> None:
    place.mkdir(parents=True)
    (place / "cgroup.procs").touch()
    for name, text in files.items():
        (place / f"memory.{name}").write_text(text)


@pytest.fixture(autouse=True)
def no_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup_memory, "_has_swap", lambda: False)


def test_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path)
    (tmp_path / "cgroup.controllers").touch()
    put(tmp_path / "web", stat=VERSION_2 + "slab 20\nsock 3\n", current="500\n", max="max\n")
    memory = cgroup_memory.cgroup_memory("/web")
    assert memory == CgroupMemory(
        usage_bytes=500,
        anonymous_bytes=100,
        shared_bytes=50,
        cache_bytes=300,
        mapped_bytes=60,
        inactive_file_bytes=200,
        active_file_bytes=100,
        kernel_bytes=20,
    )
    assert memory.kubelet_bytes == 300
    assert memory.unreclaimable_bytes == 170
    assert cgroup_memory.cgroup_memory("/gone") is None


@pytest.mark.parametrize(
    ("limits", "can_swap"),
    [({"web": "max", "web/app": "max"}, True), ({"web": "0", "web/app": "max"}, False), ({}, True)],
)
def test_a_cgroup_above_may_forbid_swap(
    limits: dict[str, str], can_swap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path)
    monkeypatch.setattr(cgroup_memory, "_has_swap", lambda: True)
    (tmp_path / "cgroup.controllers").touch()
    put(tmp_path / "web/app", stat=VERSION_2)
    for path, limit in limits.items():
        (tmp_path / path / "memory.swap.max").write_text(f"{limit}\n")
    memory = cgroup_memory.cgroup_memory("/web/app")
    assert memory is not None
    assert memory.can_swap == can_swap


def test_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path)
    put(
        tmp_path / "memory/web",
        stat=VERSION_1,
        usage_in_bytes="500\n",
        limit_in_bytes="9223372036854771712\n",
    )
    memory = cgroup_memory.cgroup_memory("/web")
    assert memory is not None
    assert (memory.usage_bytes, memory.cache_bytes, memory.anonymous_bytes) == (500, 300, 100)
    assert (memory.kubelet_bytes, memory.limit_bytes, memory.swap_bytes) == (300, None, 5)
