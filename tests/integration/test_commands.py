"""Commands that pydamon starts, and the signals and files of its own commands."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pydamon
from pydamon._observe.targets.command import Child
from tests.integration.conftest import running, script
from tests.integration.test_record import PYDAMON, pydamon_says

pytestmark = pytest.mark.live


def lives(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def soon(happens: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        if happens():
            return True
        time.sleep(0.02)
    return False


def pids_in(path: Path, count: int) -> list[int]:
    """What a command wrote about the processes that it has started."""
    assert soon(lambda: path.exists() and len(path.read_text().split()) >= count)
    return [int(word) for word in path.read_text().split()]


BACKGROUND = {
    "in the background": "sleep 600 & echo $! >>{0}; sleep 600 & echo $! >>{0}; wait",
    "orphans": "(sleep 600 & echo $! >>{0}); (sleep 600 & echo $! >>{0}); sleep 600",
    "in sessions of their own": "setsid sleep 600 & echo $! >>{0}; setsid -f sh -c 'echo $$ >>{0}; "
    "exec sleep 600'; wait",
    "without an environment": "env -i sh -c 'sleep 600 & echo $! >>{0}'; sleep 600 & "
    "echo $! >>{0}; wait",
    "that leave it at once": "(sleep 600 & echo $! >>{0}); (sleep 600 & echo $! >>{0}); exit 3",
    "that are stopped": "sleep 600 & echo $! >>{0}; kill -STOP $!; sleep 600 & echo $! >>{0}; wait",
}


@pytest.mark.parametrize("kind", BACKGROUND)
def test_all_that_a_command_has_started_ends_with_it(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    with Child(["sh", "-c", BACKGROUND[kind].format(file)]) as child:
        child.go()
        pids = pids_in(file, 2)
        if kind != "that leave it at once":
            assert all(map(lives, pids))
        code = child.end()
    assert not any(map(lives, pids))
    assert code == (3 if kind == "that leave it at once" else 0)


def test_others_are_left_alone() -> None:
    with script("print(1, flush=True); input()") as other:
        with Child(["sleep", "600"]) as child:
            child.go()
        assert lives(other.pid)


def test_what_does_not_heed_sigterm_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    with Child(["sh", "-c", f"trap '' TERM; echo $$ >{file}; sleep 600; sleep 600"]) as child:
        child.go()
        (pid,) = pids_in(file, 1)
    assert pid == child.pid
    assert not lives(pid)


@pytest.mark.parametrize(
    ("text", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143), ("exit 0", 0)]
)
def test_the_exit_code_is_that_of_the_command(text: str, code: int, tmp_path: Path) -> None:
    command = ("sh", "-c", f"sleep 0.5; {text}")
    pydamon_says("record", "-o", tmp_path / "r.damon", "--", *command, code=code)


def test_a_recording_ends_what_its_command_has_started(tmp_path: Path) -> None:
    file, out = tmp_path / "pids", tmp_path / "r.damon"
    command = ("sh", "-c", BACKGROUND["in the background"].format(file))
    pydamon_says("record", "-d", "1s", "-o", out, "--", *command)
    assert not any(map(lives, pids_in(file, 2)))


def test_a_command_has_the_terminal(tmp_path: Path) -> None:
    """It reads what is typed, and Ctrl-C reaches it."""
    program = "import sys\nprint('name?', flush=True)\nprint('hello ' + input(), flush=True)\n"
    program += "try:\n    input()\nexcept KeyboardInterrupt:\n    print('bye', flush=True)\n"
    out = tmp_path / "r.damon"
    pid, terminal = pty.fork()
    if pid == 0:
        # Whoever runs the tests may ignore it, and what is ignored stays so.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        arguments = [*PYDAMON, "record", "-o", str(out), "--", sys.executable, "-c", program]
        os.execv(arguments[0], arguments)
    shown = b""

    def shows(text: bytes) -> bool:
        nonlocal shown
        while text not in shown:
            try:
                shown += os.read(terminal, 1 << 16)
            except OSError:
                return False
        return True

    try:
        assert shows(b"name?")
        os.write(terminal, b"you\n")
        assert shows(b"hello you")
        os.write(terminal, b"\x03")
        assert shows(b"bye")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


# Signals.


@pytest.mark.parametrize(
    ("command", "number"),
    [(command, signal.SIGHUP) for command in ("record", "export", "serve", "stat")]
    + [("record", signal.SIGINT)],
)
def test_a_signal_that_is_ignored_stays_so(
    command: str, number: signal.Signals, tmp_path: Path
) -> None:
    options = {
        "record": ["-o", str(tmp_path / "r.damon")],
        "export": ["--listen", "0"],
        "serve": ["--port", "0"],
        "stat": ["--name", f"test-{os.getpid()}-{time.monotonic_ns()}"],
    }[command]
    ignoring = (
        "import os, signal, sys\n"
        f"signal.signal({int(number)}, signal.SIG_IGN)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'pydamon', *sys.argv[1:]])\n"
    )
    with script("print(1, flush=True); input()") as target:
        arguments = (command, *options, "-d", "60s", str(target.pid))
        with subprocess.Popen(
            [sys.executable, "-c", ignoring, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()  # said when everything is set up
                time.sleep(0.5)
                process.send_signal(number)
                time.sleep(0.7)
                assert process.poll() is None
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
            finally:
                process.kill()


# Files.


def test_a_recording_is_for_its_owner_alone(tmp_path: Path) -> None:
    out, copy = tmp_path / "r.damon", tmp_path / "copy.parquet"
    with script("print(1, flush=True); input()") as target:
        os.umask(before := os.umask(0))
        try:
            os.umask(0)
            pydamon_says("record", "-d", "1s", "-o", out, str(target.pid))
            pydamon_says("convert", out, copy)
        finally:
            os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o600
    assert copy.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_recording_made_with_sudo_belongs_to_who_called_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SUDO_UID", "65534"), ("SUDO_GID", "65534"), ("SUDO_USER", "nobody")):
        monkeypatch.setenv(name, value)
    out = tmp_path / "r.damon"
    with running(*PYDAMON, "record", "-d", "1s", "-o", out, "--", "sleep", "9") as process:
        assert process.wait(30) == 0
    assert (out.stat().st_uid, out.stat().st_gid) == (65534, 65534)
    assert out.stat().st_mode & 0o777 == 0o600
    assert pydamon.read_recording(out).complete


def test_what_is_usual_is_no_alarm(tmp_path: Path) -> None:
    """Libraries that others map too cannot be observed, and another may have the kernel's DAMON."""
    arguments = [
        *PYDAMON,
        "record",
        "-d",
        "2s",
        "-o",
        str(tmp_path / "r.damon"),
        "--",
        "sleep",
        "9",
    ]
    done = subprocess.run(arguments, stderr=subprocess.PIPE, text=True, timeout=60, check=True)
    assert "watching" in done.stderr
    assert not re.search("observ|kdamond|DAMON", done.stderr), done.stderr
