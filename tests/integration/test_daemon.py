"""The daemon with two ordinary users: what they see of their own processes, and nothing else.

Private names: the daemon's protocol, of which `daemon_peer.py` knows more than clients do.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import stat
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

import pydamon
from pydamon._observe.linux.arch import system_call
from pydamon._workloads import QUARTER
from tests.integration.conftest import MIB, Program, needs, slowness
from tests.integration.daemon_peer import pages_of
from tests.integration.test_forked import SERVER, TOLD, unique_mib

pytestmark = [
    needs("ebpf"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start the daemon"),
]

_ROOT = Path(__file__).parents[2]
_PEER = Path(__file__).with_name("daemon_peer.py")
_ALICE, _BOB = 64_001, 64_002
_SITE = [
    path for path in sys.path if path.endswith("site-packages") or Path(path, "numpy").is_dir()
]
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_bpf = ctypes.CDLL(None, use_errno=True).syscall


@dataclass
class Daemon:
    """A running daemon and its users."""

    process: subprocess.Popen[bytes]
    directory: Path
    python: str
    stack: ExitStack = field(repr=False)

    @property
    def socket(self) -> str:
        return str(self.directory / "socket")

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ":".join([str(_ROOT), str(_ROOT / "src"), *_SITE]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYDAMON_SOCKET": self.socket,
            "OPENBLAS_NUM_THREADS": "1",
            "PROGRAM": str(self.directory / "setuid"),
        }

    def start(self, uid: int, *words: str) -> subprocess.Popen[bytes]:
        """Start a program as an ordinary user."""
        process = subprocess.Popen(
            [self.python, *words],
            stdout=subprocess.PIPE,
            user=uid,
            group=uid,
            extra_groups=[],
            env=self.environment,
            cwd="/",
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def ask(self, uid: int, what: str, number: int = 0) -> dict[str, Any]:
        """Run `daemon_peer.py` as a user: its answer."""
        output, _ = self.start(uid, str(_PEER), what, str(number)).communicate(timeout=300)
        answer: dict[str, Any] = json.loads(output.splitlines()[-1])
        return answer

    def quarter(self, uid: int, mib: int = 64) -> Program:
        """A user's program that touches a quarter of its memory all the time."""
        process = self.start(uid, str(QUARTER), str(mib))
        assert process.stdout is not None
        start, hot, size = (int(word, 16) for word in process.stdout.readline().split())
        return Program(process.pid, start, hot, size)

    def held(self) -> tuple[int, int]:
        """How many descriptors and threads the daemon has."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        threads = int(re.findall(r"Threads:\s+(\d+)", status)[0])
        return len(os.listdir(f"/proc/{self.process.pid}/fd")), threads  # noqa: PTH208

    def settles(self, held: tuple[int, int]) -> bool:
        """Whether it comes back to so many descriptors and threads."""
        return _in_time(lambda: self.held() == held)


def _in_time(condition: Callable[[], bool], seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _python_for_users() -> str:
    """A Python of this version that an ordinary user may run with what is installed here."""
    code = "import pydamon.analysis, numpy"
    env = {"PYTHONPATH": ":".join([str(_ROOT / "src"), *_SITE])}
    for python in (sys.executable, shutil.which(_VERSION, path="/usr/bin:/usr/local/bin")):
        if python is None:
            continue
        try:
            subprocess.run(
                [python, "-c", code], env=env, user=_ALICE, group=_ALICE, extra_groups=[],
                check=True, capture_output=True, cwd="/",
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip(f"ordinary users may run no {_VERSION} with NumPy here")


@pytest.fixture
def start_daemon() -> Iterator[Callable[..., Daemon]]:
    """Starts daemons; each ends with the test."""
    python = _python_for_users()
    with ExitStack() as stack:

        def start(*options: str) -> Daemon:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            directory.chmod(0o755)
            # To load programs takes a slow CPU so long that a user would wait for half a minute.
            cpu = f"{min(100, 5 * slowness())}%"
            words = ["-m", "pydamon", "daemon", "--socket", str(directory / "socket")]
            words += ["--user-cpu", cpu, *options]
            with (directory / "log").open("wb") as log:
                process = subprocess.Popen([sys.executable, *words], stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            daemon = Daemon(process, directory, python, stack)
            assert _in_time(lambda: "ready" in daemon.log, 60 * slowness()), daemon.log
            return daemon

        yield start


@pytest.fixture
def daemon(start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon()


def test_a_user_sees_to_the_page_what_root_sees(daemon: Daemon) -> None:
    program = daemon.quarter(_ALICE, 256)
    root = next(probe for probe in pydamon.PROBES if probe.name == "ebpf").open()
    # Nobody clears between the looks, and all of the hot quarter has been touched.
    seen = [bits.hex() for bits in pages_of(root, program.pid)]
    assert daemon.ask(_ALICE, "scan", program.pid)["pages"] == seen
    answer = daemon.ask(_ALICE, "monitor", program.pid)
    assert answer["probe"] == "daemon", answer
    assert "ebpf" in answer["reasons"]
    assert answer["bytes"] == pytest.approx(program.hot, rel=0.05)


@pytest.mark.long
def test_root_can_name_the_probe_as_well(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYDAMON_SOCKET", daemon.socket)
    program = daemon.quarter(_ALICE, 256)
    with pydamon.monitor(program.pid, engine="sampling", probe="daemon") as mon:
        *_, last = mon.run("3s")
    assert last.working_set() == pytest.approx(program.hot, rel=0.1)


def test_nobody_sees_the_process_of_another_user(daemon: Daemon) -> None:
    program = daemon.quarter(_ALICE)
    answer = daemon.ask(_BOB, "monitor", program.pid)
    assert answer.get("error", "").startswith(f"cannot watch pid {program.pid}"), answer
    tried = daemon.ask(_BOB, "others", program.pid)
    assert not tried["opened"]
    assert tried["answers"].pop("own")[0] == 0
    for what, (status, _, text) in tried["answers"].items():
        assert (what, status) == (what, -1)
        assert text.startswith(("the first descriptor is no", "the second descriptor is no")), text
    assert f"refused uid={_BOB}" in daemon.log


def test_a_setuid_program_ends_the_watch(daemon: Daemon) -> None:
    program = daemon.directory / "setuid"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    program.chmod(0o4755)
    if os.statvfs(program).f_flag & os.ST_NOSUID or not program.stat().st_mode & stat.S_ISUID:
        pytest.skip("setuid programs do not work where temporary files are")
    answer = daemon.ask(_ALICE, "setuid")
    assert answer["first"][0] == 0
    assert answer["before"] not in (0, 0xFFFF)
    assert answer["euid"] == 0
    assert answer["after"] == 0xFFFF  # the programs saw that it has another memory
    assert answer["again"][0] == -1
    assert answer["later"][0] == -1


def test_what_may_not_be_dumped_may_not_be_watched(daemon: Daemon) -> None:
    answer = daemon.ask(_ALICE, "undumpable")
    assert answer["first"][0] == 0
    assert answer["after"][2] == "there is no such target"
    assert "may not be dumped" in answer["again"][2]
    assert answer["dead"][0] == -1


def test_a_user_namespace_of_ones_own_gives_no_rights(daemon: Daemon) -> None:
    program = daemon.quarter(_ALICE)
    answer = daemon.ask(_ALICE, "namespace", program.pid)
    if "skip" in answer:
        pytest.skip(f"no user namespaces here: {answer['skip']}")
    assert answer["monitor"].get("error", "").startswith("cannot watch"), answer
    assert answer["raw"][0] == -1


def test_forged_blocks_and_kernel_addresses_show_nothing_of_the_kernel(daemon: Daemon) -> None:
    answer = daemon.ask(_ALICE, "forged", 1)
    assert set(answer["statuses"]) <= {0, -1}
    # An address of the kernel means the user's own that has the same low bits.
    assert all(answer["same"].values())
    assert not answer["upper"]
    assert daemon.process.poll() is None


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.long)])
def test_messages_without_sense_cost_their_sender_only(
    start_daemon: Callable[..., Daemon], count: int
) -> None:
    daemon = start_daemon("--user-cpu", "100%", "--all-cpu", "100%")
    held = daemon.held()
    answer = daemon.ask(_BOB, "fuzz", count)
    assert answer["ended"] > count / 10
    assert answer["hello"] == 0
    assert daemon.settles(held), (held, daemon.held())
    assert "Traceback" not in daemon.log


@pytest.mark.long
def test_a_user_has_so_many_sessions_and_no_more(daemon: Daemon) -> None:
    held = daemon.held()
    answer = daemon.ask(_ALICE, "connections", 10)
    assert answer["refused"] == ["a user has at most 8 connections"] * 2, answer
    assert daemon.settles(held)


@pytest.mark.long
def test_fifty_users_at_once_stay_within_the_budget(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon("--all-cpu", "15%")
    answer = daemon.ask(0, "crowd", daemon.process.pid)
    users = answer["users"]
    assert not [user["error"] for user in users if "error" in user]
    assert answer["begun"] == 50
    print(f"the daemon took {answer['cpu']:.2f} of a CPU: {users}")
    assert answer["cpu"] < 0.15 + 0.05
    assert min(user["snapshots"] for user in users) > 2
    # On a busy machine a window may be too long for its samples; nobody sees nothing, though.
    assert all(7 * MIB < user["bytes"] < 20 * MIB for user in users)
    assert statistics.median(user["bytes"] for user in users) == pytest.approx(8 * MIB, rel=0.25)


@pytest.mark.parametrize("times", [3, pytest.param(100, marks=pytest.mark.long)])
def test_a_killed_user_leaves_nothing_behind(daemon: Daemon, times: int) -> None:
    held = daemon.held()
    for _ in range(times):
        user = daemon.start(_ALICE, str(_PEER), "hold", "60")
        assert user.stdout is not None
        answer = json.loads(user.stdout.readline())
        user.kill()
        user.wait()
        os.kill(answer["child"], 0)  # the target lives
        os.kill(answer["child"], signal.SIGKILL)
        assert daemon.settles(held), (held, daemon.held())


@pytest.mark.parametrize("times", [2, pytest.param(100, marks=pytest.mark.long)])
def test_a_killed_daemon_leaves_nothing_behind(
    start_daemon: Callable[..., Daemon], times: int
) -> None:
    for _ in range(times):
        daemon = start_daemon()
        user = daemon.start(_ALICE, str(_PEER), "hold", "60")
        assert user.stdout is not None
        child = json.loads(user.stdout.readline())["child"]
        programs = _programs(daemon.process.pid)
        assert programs
        daemon.process.kill()
        daemon.process.wait()
        assert _in_time(lambda ids=programs: not any(map(_is_loaded, ids)))  # type: ignore[misc]
        os.kill(child, signal.SIGKILL)
        user.kill()


def _programs(pid: int) -> set[int]:
    """The ids of the BPF programs that a process holds."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
    return {int(number) for text in texts for number in re.findall(r"prog_id:\s+(\d+)", text)}


def _is_loaded(program: int) -> bool:
    buffer = ctypes.create_string_buffer(struct.pack("=3I", program, 0, 0), 128)
    fd = _bpf(system_call("bpf"), 13, ctypes.byref(buffer), 128)  # BPF_PROG_GET_FD_BY_ID
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


@pytest.mark.long
def test_it_costs_about_what_root_pays(daemon: Daemon) -> None:
    program = daemon.quarter(_ALICE, 256)
    user = daemon.ask(_ALICE, "monitor", program.pid)
    root = daemon.ask(0, "monitor", program.pid)
    assert root["probe"] == "ebpf"
    ratio = (user["own_s"] + user["daemon_s"]) / root["own_s"]
    print(f"{ratio:.2f} of root's CPU time: {user}, {root}")
    assert ratio < 1.5


def test_the_daemon_keeps_four_capabilities_only(daemon: Daemon) -> None:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    fields = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
    assert fields["Uid"].split() == ["65534"] * 4
    wanted = sum(1 << number for number in (19, 23, 38, 39))
    assert {int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {wanted}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    modules = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert "numpy" not in modules


def test_it_takes_the_socket_that_systemd_passes(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    words = f"exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec {sys.executable} -m"
    process = subprocess.Popen(
        ["bash", "-c", f"{words} pydamon daemon"],
        pass_fds=[listener.fileno()],
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"ready")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
            peer.settimeout(10)
            peer.connect(str(tmp_path / "socket"))
            peer.send(b"nonsense")
            assert peer.recv(1000).endswith(b"another version of pydamon?")
    finally:
        process.kill()
        process.wait()
        listener.close()


def test_a_second_daemon_refuses_to_start(daemon: Daemon) -> None:
    words = [sys.executable, "-m", "pydamon", "daemon", "--socket", daemon.socket]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("pydamon: cannot listen at")
    assert "another daemon listens there" in done.stderr


@pytest.mark.long
def test_what_a_users_processes_share_since_a_fork_counts_once(daemon: Daemon) -> None:
    """The daemon tells no frames, but pagemap tells its user which pages are shared."""
    server = daemon.start(_ALICE, "-c", SERVER, "15")
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    tree = psutil.Process(server.pid)
    assert _in_time(lambda: len(tree.children(recursive=True)) == 4)
    output, _ = daemon.start(_ALICE, "-c", TOLD, str(server.pid)).communicate(timeout=60)
    # What a fork and its fork share looks like what they share with their parent.
    assert float(output) == pytest.approx(unique_mib(tree) - 8, rel=0.05)
