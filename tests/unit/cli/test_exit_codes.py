"""The exit code of commands that start a program.

It is the program's if the program ended by itself, and 0 if pydamon ended it: because the time was
over, or because a signal asked pydamon to stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.conftest import needs

pytestmark = [pytest.mark.live, needs("refs")]

COMMANDS = ["apply", *(pytest.param(name, marks=pytest.mark.long) for name in ("stat", "record"))]
SIGNALS = [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]


@contextmanager
def pydamon(command: str, tmp_path: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A process group of its own, as a shell starts it."""
    schemes = tmp_path / "s.toml"
    schemes.write_text('[[schemes]]\naction = "stat"\n')
    name = f"test-{os.getpid()}-{time.monotonic_ns()}"
    options = {
        "record": ("-o", str(tmp_path / "r.damon")),
        "apply": ("--name", name, str(schemes)),
        "stat": ("--name", name),
    }[command]
    argv = [sys.executable, "-m", "pydamon", command, "--engine", "sampling", *options, *words]
    with subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_program_that_the_time_ends_is_no_failure(command: str, tmp_path: Path) -> None:
    with pydamon(command, tmp_path, "-d", "1s", "--", "sleep", "60") as process:
        assert process.wait(60) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_program_that_fails_by_itself_is_a_failure(command: str, tmp_path: Path) -> None:
    fails = ("sh", "-c", "sleep 0.3; exit 7")
    with pydamon(command, tmp_path, "-d", "60s", "--", *fails) as process:
        assert process.wait(60) == 7


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_both_is_no_failure(
    command: str, number: signal.Signals, tmp_path: Path
) -> None:
    """Ctrl-C and `timeout` send a signal to the program, too, which may end before pydamon asks."""
    started = tmp_path / "started"
    program = ("sh", "-c", f"touch {started}; exec sleep 60")
    with pydamon(command, tmp_path, "-d", "60s", "--", *program) as process:
        deadline_s = time.monotonic() + 60
        while not started.exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        os.killpg(process.pid, number)
        assert process.wait(60) == 0
