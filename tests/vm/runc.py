"""Containers by runc, whose root directory is the machine's."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.vm.packages import UnavailableError, package

__all__ = ["container", "needs_runc", "new_cgroup", "runc"]

CAPABILITIES = ("CAP_KILL", "CAP_SETUID", "CAP_SETGID")


def program() -> Path | None:
    """runc, as Debian's package has it."""
    try:
        return next(iter(package("runc").glob("usr/*bin/runc")), None)
    except UnavailableError:
        return None


needs_runc = pytest.mark.skipif(
    not os.environ.get("PYDAMON_VM") or program() is None,
    reason="needs the virtual machine, and Debian's package runc",
)


def runc(*words: str) -> None:
    """Run a command of runc; its output goes to the console, because containers keep it open."""
    path = program()
    assert path is not None
    libraries = path.parents[1] / "lib/x86_64-linux-gnu"
    done = subprocess.run(
        [path, *words],
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
    )
    assert done.returncode == 0, words


@contextmanager
def container(
    name: str,
    argv: Sequence[str],
    directory: Path,
    *,
    capabilities: Sequence[str] = CAPABILITIES,
    host_pids: bool = False,
    host_root: bool = False,
) -> Iterator[None]:
    """Run a program in a container.

    With *host_pids* it has the host's pid namespace, and with *host_root* the host's file system
    at /host, read-only.
    """
    root = directory / f"{name}-root"
    root.mkdir()
    subprocess.run(["mount", "--bind", "/", root], check=True)
    bundle = directory / f"{name}-bundle"
    bundle.mkdir()
    kinds = ["mount", "ipc", "uts", "cgroup"] + ([] if host_pids else ["pid"])
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        {"destination": "/tmp", "type": "bind", "source": "/tmp", "options": ["rbind"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        {
            "destination": "/run/checkout",
            "type": "bind",
            "source": "/run/checkout",
            "options": ["rbind", "ro"],
        },
    ]
    if host_root:
        (root / "host").mkdir(exist_ok=True)
        options = ["rbind", "ro", "rslave"]
        mounts.append({"destination": "/host", "type": "bind", "source": "/", "options": options})
    sets = ("bounding", "effective", "permitted")
    environment = [f"{key}={value}" for key, value in os.environ.items()]
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {
            "args": list(argv),
            "env": environment,
            "cwd": "/tmp",
            "user": {"uid": 0, "gid": 0},
            "capabilities": {which: list(capabilities) for which in sets},
            "noNewPrivileges": True,
        },
        "root": {"path": str(root), "readonly": False},
        "hostname": name,
        "mounts": mounts,
        "linux": {
            "cgroupsPath": f"/test/{name}",
            "namespaces": [{"type": kind} for kind in kinds],
        },
    }
    (bundle / "config.json").write_text(json.dumps(config))
    runc("run", "--detach", "--bundle", str(bundle), name)
    try:
        yield
    finally:
        runc("delete", "--force", name)
        subprocess.run(["umount", "--lazy", root], check=True)


@contextmanager
def new_cgroup(path: Path) -> Iterator[Path]:
    """A cgroup of our own, whose memory counts; its processes must have ended before it goes."""
    path.mkdir(parents=True)
    for parent in reversed(path.parents):
        if parent.is_relative_to("/sys/fs/cgroup"):
            (parent / "cgroup.subtree_control").write_text("+memory")
    try:
        yield path
    finally:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError):
                path.rmdir()
                break
            time.sleep(0.05)
