"""Names of containers, from trees of files as each runtime leaves them.

Private parts are tested: the public `containers()` asks the files of this machine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._observe.linux.containers import RUNTIMES, Container, Runtime, container_of
from pydamon._observe.linux.host import HostFiles

A, B = "a1" * 32, "b2" * 32
UID = "0f3c9f1e-1111-2222-3333-444455556666"
POD = (
    f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"
)


def put(root: Path, path: str, content: Any) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def named(root: Path, cgroup: str) -> Container:
    return container_of(cgroup, HostFiles(root))


CRI = {
    "io.kubernetes.cri.container-name": "nginx",
    "io.kubernetes.cri.sandbox-name": "web-0",
    "io.kubernetes.cri.sandbox-namespace": "shop",
    "io.kubernetes.cri.container-type": "container",
}


@pytest.mark.parametrize(
    "cgroup", [f"/system.slice/docker-{A}.scope", f"/docker/{A}", f"/ecs/task/{A}"]
)
def test_docker(tmp_path: Path, cgroup: str) -> None:
    put(tmp_path, f"var/lib/docker/containers/{A}/config.v2.json", {"Name": "/web1"})
    for path in (cgroup, f"{cgroup}/init.scope"):
        row = named(tmp_path, path)
        assert (row.runtime, row.name, row.id, row.cgroup) == ("docker", "web1", A, cgroup)
        assert row.label == "web1"


def test_each_runtime_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def no_names(runtime: Runtime, *_: object) -> dict[str, str]:
        asked.append(runtime.name)
        return {}

    for runtime in RUNTIMES:
        monkeypatch.setattr(type(runtime), "names", no_names)
    named(tmp_path, f"/docker/{A}")
    assert asked == ["docker", "kubernetes"]
    asked.clear()
    named(tmp_path, f"/somewhere/{A}")
    assert sorted(asked) == sorted(runtime.name for runtime in RUNTIMES)


def test_docker_for_kubernetes(tmp_path: Path) -> None:
    labels = {
        "io.kubernetes.container.name": "nginx",
        "io.kubernetes.pod.name": "web-0",
        "io.kubernetes.pod.namespace": "shop",
    }
    config = {"Name": "/k8s_nginx_web-0_shop_x_0", "Config": {"Labels": labels}}
    put(tmp_path, f"var/lib/docker/containers/{A}/config.v2.json", config)
    row = named(tmp_path, f"{POD}/docker-{A}.scope")
    assert row.label == "shop/web-0/nginx"
    assert row.pod_uid == UID


@pytest.mark.parametrize(
    "cgroup", [f"{POD}/cri-containerd-{A}.scope", f"/kubepods/burstable/pod{UID}/{A}"]
)
def test_containerd(tmp_path: Path, cgroup: str) -> None:
    bundle = f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{A}/config.json"
    put(tmp_path, bundle, {"annotations": CRI})
    row = named(tmp_path, cgroup)
    assert (row.runtime, row.namespace, row.pod, row.name) == (
        "containerd",
        "shop",
        "web-0",
        "nginx",
    )
    put(tmp_path, bundle, {"annotations": {**CRI, "io.kubernetes.cri.container-type": "sandbox"}})
    assert named(tmp_path, cgroup).label in ("shop/web-0/pause", "shop/web-0/nginx")


def test_a_container_of_ctr_has_any_name(tmp_path: Path) -> None:
    assert not named(tmp_path, "/default/redis").is_container
    put(
        tmp_path, "run/containerd/io.containerd.runtime.v2.task/default/redis/config.json", {"x": 1}
    )
    row = named(tmp_path, "/default/redis")
    assert (row.runtime, row.id, row.label) == ("containerd", "redis", "redis")


def test_nerdctl(tmp_path: Path) -> None:
    bundle = f"run/containerd/io.containerd.runtime.v2.task/default/{A}/config.json"
    put(tmp_path, bundle, {"annotations": {"nerdctl/name": "cache"}})
    assert named(tmp_path, f"/system.slice/nerdctl-{A}.scope").label == "cache"


def test_crio(tmp_path: Path) -> None:
    bundle = f"run/containers/storage/overlay-containers/{A}/userdata/config.json"
    annotations = {
        "io.kubernetes.container.name": "api",
        "io.kubernetes.pod.name": "api-7",
        "io.kubernetes.pod.namespace": "shop",
    }
    put(tmp_path, bundle, {"annotations": annotations})
    row = named(tmp_path, f"{POD}/crio-{A}.scope/container")
    assert (row.runtime, row.label) == ("cri-o", "shop/api-7/api")
    assert not named(tmp_path, f"{POD}/crio-conmon-{A}.scope").is_container


def test_podman_as_root_and_as_a_user(tmp_path: Path) -> None:
    rows = [{"id": B, "names": ["other"]}, {"id": A, "names": ["db"]}]
    storage = "var/lib/containers/storage/overlay-containers/containers.json"
    put(tmp_path, storage, rows)
    put(tmp_path, "etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n")
    own = "home/ann/.local/share/containers/storage/overlay-containers/containers.json"
    put(tmp_path, own, [{"id": A, "names": ["mine"]}, {"id": B, "names": ["theirs"]}])
    assert named(tmp_path, f"/machine.slice/libpod-{A}.scope/container").label == "db"
    of_user = f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope"
    assert named(tmp_path, of_user).label == "mine"
    # A user's files cannot name the containers of others.
    assert named(tmp_path, f"/machine.slice/libpod-{B}.scope").label == "other"


def test_kubernetes_by_the_names_of_logs(tmp_path: Path) -> None:
    (tmp_path / f"var/log/pods/shop_web-0_{UID}/nginx").mkdir(parents=True)
    row = named(tmp_path, f"{POD}/cri-containerd-{A}.scope")
    assert (row.namespace, row.pod, row.name) == ("shop", "web-0", "")
    assert row.label == f"shop/web-0/{A[:12]}"
    logs = tmp_path / "var/log/containers"
    logs.mkdir()
    (logs / f"web-0_shop_nginx-{A}.log").symlink_to("/nowhere")
    assert named(tmp_path, f"{POD}/cri-containerd-{A}.scope").label == "shop/web-0/nginx"


@pytest.mark.parametrize(
    ("cgroup", "runtime", "label"),
    [
        ("/lxc.payload.box/init.scope", "lxc", "box"),
        ("/lxc/box", "lxc", "box"),
        (r"/machine.slice/machine-my\x2dbox.scope/payload", "machine", "my-box"),
        ("/machine.slice/systemd-nspawn@box.service", "machine", "box"),
        ("/system.slice/postgresql.service", "systemd", "postgresql.service"),
        ("/user.slice/user-0.slice/session-1.scope", "systemd", "session-1.scope"),
        ("/mine/deep", "", "/mine/deep"),
        ("/", "", "/"),
        (f"/somewhere/{A}", "unknown", A[:12]),
        (f"/system.slice:docker:{A}", "unknown", A[:12]),
    ],
)
def test_names_that_the_cgroup_has(tmp_path: Path, cgroup: str, runtime: str, label: str) -> None:
    row = named(tmp_path, cgroup)
    assert (row.runtime, row.label) == (runtime, label)
    assert row.is_container == (runtime not in ("systemd", ""))


def test_runc_and_crun(tmp_path: Path) -> None:
    paths = {"": "/sys/fs/cgroup/test/web", "memory": "/sys/fs/cgroup/memory/test/web"}
    put(tmp_path, "run/runc/web/state.json", {"id": "web", "cgroup_paths": paths})
    put(tmp_path, "run/crun/job/status", {"cgroup-path": "/batch/job"})
    assert named(tmp_path, "/test/web").runtime == "runc"
    assert named(tmp_path, "/batch/job/sub").label == "job"
    assert not named(tmp_path, "/other/web").is_container, "another cgroup of that name"


def test_the_innermost_container_counts(tmp_path: Path) -> None:
    row = named(tmp_path, f"/docker/{A}/kubelet{POD}/cri-containerd-{B}.scope")
    assert (row.id, row.runtime) == (B, "containerd")


HOSTILE: list[Any] = [
    "",
    "{",
    "[" * 100_000,
    "null",
    "7",
    '"text"',
    {"Name": 7},
    {"Name": "x\x1b[2J"},
    {"Name": "x" * 10_000},
    {"Name": {"a": 1}, "Config": 3},
    {"Name": "/web", "Config": {"Labels": ["a"]}},
    {"annotations": [1]},
    {"annotations": {key: ["x"] for key in CRI}},
    [{"id": A, "names": [7], "metadata": "{"}],
    [{"id": A, "names": "text", "metadata": 7}],
    [[], 7, None],
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_files_with_anything_in_them_name_nothing(tmp_path: Path, content: Any) -> None:
    for path in (
        f"var/lib/docker/containers/{A}/config.v2.json",
        f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{A}/config.json",
        f"run/containers/storage/overlay-containers/{A}/userdata/config.json",
        "var/lib/containers/storage/overlay-containers/containers.json",
        f"run/runc/{A}/state.json",
        f"run/crun/{A}/status",
    ):
        put(tmp_path, path, content)
    for cgroup in (f"/docker/{A}", f"{POD}/crio-{A}.scope", f"/m/libpod-{A}.scope", f"/k/{A}"):
        row = named(tmp_path, cgroup)
        assert row.id == A
        assert row.name in ("", "web")
        assert row.label.isprintable()


def test_files_that_are_none_do_not_block(tmp_path: Path) -> None:
    place = tmp_path / f"var/lib/docker/containers/{A}"
    place.mkdir(parents=True)
    os.mkfifo(place / "config.v2.json")
    assert named(tmp_path, f"/docker/{A}").label == A[:12]
    (place / "config.v2.json").unlink()
    (place / "config.v2.json").symlink_to("/dev/zero")
    assert named(tmp_path, f"/docker/{A}").label == A[:12]
    (place / "config.v2.json").unlink()
    (place / "config.v2.json").symlink_to("config.v2.json")
    assert named(tmp_path, f"/docker/{A}").label == A[:12]


@pytest.mark.parametrize(
    ("link", "is_read"),
    [
        ("/real/containers", True),
        ("../../../real/containers", True),
        ("../../../../../../../real/containers", True),
        ("/../real/./containers//", True),
        ("/via/containers", True),
        ("{outside}/containers", False),
        ("../../../../outside/containers", False),
        ("/loop", False),
        ("containers", False),
        ("/loop/" * 500, False),
    ],
)
def test_links_lead_to_places_below_the_hosts_root(
    tmp_path: Path, link: str, is_read: bool
) -> None:
    host, outside = tmp_path / "host", tmp_path / "outside"
    put(host, f"real/containers/{A}/config.v2.json", {"Name": "/inside"})
    put(outside, f"containers/{A}/config.v2.json", {"Name": "/outside"})
    (host / "via").symlink_to("/real")
    (host / "loop").symlink_to("/pool")
    (host / "pool").symlink_to("/loop")
    docker = host / "var/lib/docker"
    docker.mkdir(parents=True)
    (docker / "containers").symlink_to(link.format(outside=outside))
    assert named(host, f"/docker/{A}").label == ("inside" if is_read else A[:12])
    assert HostFiles(host).names("/var/lib/docker/containers") == ([A] if is_read else [])


@given(st.text(st.characters(exclude_categories=())))
def test_any_path_has_a_name(path: str) -> None:
    assert container_of(path, HostFiles(Path("/nowhere"))).label


def test_runtimes_have_different_names() -> None:
    assert len({runtime.name for runtime in RUNTIMES}) == len(RUNTIMES)
