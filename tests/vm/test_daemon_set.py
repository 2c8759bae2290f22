"""The DaemonSet's container, by runc: what stands in the manifest is enough, and needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import MIB
from tests.vm.runc import needs_runc, new_cgroup, program, runc

yaml = pytest.importorskip("yaml", reason="needs the package pyyaml")

pytestmark = [pytest.mark.live, needs_runc]

MANIFEST = Path(__file__).parents[2] / "packaging/kubernetes/base/daemon-set.yaml"
PYTHON = "/run/checkout/.venv/bin/python"
"""The checkout may lie in /tmp, where the container has a directory of its own."""
UID = "0f2ef1b7-63c5-4b1c-8a46-2ad0c3b0a2c1"
ID = "ab" * 32
POD = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"
SERVER = """
import mmap, os, sys, time
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write("0")
os.setgid(1000)
os.setuid(1000)
memory = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE)
memory[:: mmap.PAGESIZE] = b"1" * ((64 << 20) // mmap.PAGESIZE)
print("ready", flush=True)
while True:
    memory[: 16 << 20 : mmap.PAGESIZE] = b"2" * ((16 << 20) // mmap.PAGESIZE)
    time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A program of another user, in a cgroup and with logs such as a kubelet makes; its pid."""
    logs = Path("/var/log/pods", f"default_web_{UID}", "app")
    logs.mkdir(parents=True)
    link = Path("/var/log/containers", f"web_default_app-{ID}.log")
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(logs / "0.log")
    with new_cgroup(Path("/sys/fs/cgroup", POD, f"cri-containerd-{ID}.scope")) as cgroup:
        argv = [sys.executable, "-c", SERVER, str(cgroup)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                yield process.pid
            finally:
                process.kill()


def config(argv: Sequence[str], root: Path, without: str = "") -> dict[str, Any]:
    """A bundle's configuration, as a runtime makes it from the manifest's pod.

    The pod's network is the machine's here, so that the test can reach it. Without one capability
    where that is named.
    """
    pod = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    context = container["securityContext"]
    sources = {
        volume["name"]: volume["hostPath"]["path"]
        for volume in pod["volumes"]
        if "hostPath" in volume
    }
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        # The program, which an image would bring along.
        *(bind(place, place, "ro") for place in ("/run/checkout",)),
    ]
    for mount in container["volumeMounts"]:
        if source := sources.get(mount["name"]):
            mounts.append(bind(source, mount["mountPath"], "ro" if mount["readOnly"] else "rw"))
        else:
            mounts.append({"destination": mount["mountPath"], "type": "tmpfs", "source": "tmpfs"})
    names = [f"CAP_{name}" for name in context["capabilities"]["add"] if name != without]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": "/run/checkout/src"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
    kinds = ["mount", "ipc", "uts", "cgroup", *([] if pod["hostPID"] else ["pid"])]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": [PYTHON, *argv],
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": "/",
            "user": {"uid": context["runAsUser"], "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), names),
            "noNewPrivileges": not context["allowPrivilegeEscalation"],
        },
        "root": {"path": str(root), "readonly": context["readOnlyRootFilesystem"]},
        "mounts": mounts,
        "linux": {
            "cgroupsPath": "/pydamon-daemon-set",
            "namespaces": [{"type": kind} for kind in kinds],
        },
    }


def bind(source: str, destination: str, mode: str) -> dict[str, Any]:
    options = ["rbind", mode]
    return {"destination": destination, "type": "bind", "source": source, "options": options}


@contextmanager
def bundle(argv: Sequence[str], directory: Path, without: str = "") -> Iterator[Path]:
    root = directory / "root"
    root.mkdir()
    subprocess.run(["mount", "--bind", "/", root], check=True)
    try:
        document = config(argv, root, without)
        for mount in document["mounts"]:
            (root / mount["destination"].lstrip("/")).mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps(document))
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)


def output_of(words: Sequence[str], directory: Path, without: str = "") -> tuple[int, str]:
    """Run Python in the DaemonSet's container; its exit code, and all that it printed."""
    with bundle(words, directory, without) as place:
        process = start("run", place)
        text, _ = process.communicate(timeout=240)
    print(words, without, text)
    return process.returncode, text


def start(word: str, place: Path) -> subprocess.Popen[str]:
    """Start runc with its output to a pipe."""
    path = program()
    assert path is not None
    environment = {**os.environ, "LD_LIBRARY_PATH": str(path.parents[1] / "lib/x86_64-linux-gnu")}
    return subprocess.Popen(
        [path, word, "--bundle", place, "daemon-set"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


@pytest.mark.usefixtures("server")
def test_it_exports_containers_by_name(tmp_path: Path) -> None:
    pod = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]
    words = ["-m", "pydamon", *pod["containers"][0]["args"], "--cpu-budget", "20"]
    labels = 'container="app",namespace="default",pod="web"'
    with bundle(words, tmp_path) as place:
        process = start("run", place)
        try:
            used = list(working_sets(labels, 60))
            runc("kill", "daemon-set", "TERM")
        finally:
            process.terminate()
            print(process.communicate(timeout=60)[0])
    assert 16 * MIB <= used[-1] < 24 * MIB


def working_sets(labels: str, seconds: float) -> Iterator[float]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(3)
        try:
            with urllib.request.urlopen("http://127.0.0.1:9871/metrics", timeout=10) as page:
                text = page.read().decode()
        except OSError:
            continue
        name = "pydamon_container_working_set_bytes"
        if match := re.search(rf"^{name}{{{re.escape(labels)}}} (\S+)$", text, re.MULTILINE):
            yield float(match[1])


def test_it_traces_reads_from_the_page_cache(tmp_path: Path) -> None:
    words = ["-m", "pydamon", "cache", "--source", "reads", "-i", "1s", "-d", "1s", "--json"]
    code, text = output_of(words, tmp_path)
    assert code == 0
    document = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    assert document["source"] == "reads"
    assert any(row["cgroup"] == "/" for row in document["cgroups"])


@pytest.mark.usefixtures("server")
def test_it_recommends_a_request_and_a_limit(tmp_path: Path) -> None:
    words = ("--pod", "default/web", "--duration", "40s", "--cpu-budget", "20", "--json")
    code, text = output_of(["-m", "pydamon", "containers", *words], tmp_path)
    assert code == 0
    (row,) = json.loads(next(line for line in text.splitlines() if line.startswith("{")))[
        "containers"
    ]
    assert (row["namespace"], row["pod"], row["name"]) == ("default", "web", "app")
    advice = row["recommendation"]
    assert 16 * MIB <= advice["need_bytes"] < 40 * MIB
    assert 64 * MIB <= advice["request_bytes"] <= advice["limit_bytes"] < 128 * MIB


RECORD = ("record", "--engine", "sampling", "--probe", "ebpf", "-d", "2s", "-o", "/tmp/x.damon")


def test_it_records_a_program_of_another_user(server: int, tmp_path: Path) -> None:
    code, _ = output_of(["-m", "pydamon", *RECORD, str(server)], tmp_path)
    assert code == 0


@pytest.mark.parametrize("name", ["BPF", "PERFMON", "SYS_NICE"])
def test_capabilities_are_needed(server: int, tmp_path: Path, name: str) -> None:
    """Linux 6.18 takes PERFMON for SYS_PTRACE; what older kernels do was not tried."""
    code, text = output_of(["-m", "pydamon", *RECORD, str(server)], tmp_path, without=name)
    assert code == 1
    assert "Operation not permitted" in text or "Permission denied" in text or "CAP_" in text


def test_it_cannot_write_to_the_host(tmp_path: Path) -> None:
    line = "open('/host/sys/fs/cgroup/cgroup.procs', 'w')"
    assert output_of(["-c", line], tmp_path)[0] == 1
