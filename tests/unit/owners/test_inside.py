"""Tests of pids in other namespaces; private names, because providers are private."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pydamon._owners.inside import pid_inside, pids_outside


def test_a_process_of_this_namespace_has_its_own_pid() -> None:
    assert pid_inside(f"/proc/{os.getpid()}") == os.getpid()
    assert pids_outside(os.getpid(), [])(4711) == 4711


def test_pids_of_a_container_are_those_of_its_processes() -> None:
    inside = {"/proc/500": 1, "/proc/501": 27}

    def tell(folder: str) -> int:
        if folder not in inside:
            raise FileNotFoundError(folder)
        return inside[folder]

    outside = pids_outside(500, [500, 501, 502], tell)
    assert [outside(pid) for pid in (1, 27, 28, 500)] == [500, 501, None, None]


def test_the_first_process_of_a_namespace_is_1_inside() -> None:
    if os.geteuid() != 0:
        pytest.skip("a new pid namespace needs root")
    words = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo ready; read line"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        if program.stdout.readline() != b"ready\n":
            pytest.skip("this machine allows no new pid namespace")
        child = int(Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text())
        assert pid_inside(f"/proc/{child}") == 1
        program.communicate(b"\n")
