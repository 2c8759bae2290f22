"""What a target is, what is alive, and what strangers' programs do to who watches them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pydamon
from pydamon import TargetError
from pydamon._observe.linux.process import Process
from pydamon._observe.targets import VaddrSpace
from tests.integration.conftest import MIB, needs, open_files, running, script, slowness
from tests.integration.programs import built
from tests.integration.test_record import PYDAMON, pydamon_says

pytestmark = pytest.mark.live


@contextmanager
def program(name: str, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """One of the programs in C; what it prints first is read by whoever wants it."""
    with running(built(name), *argv) as process:
        yield process


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def median_working_set(path: Path) -> float:
    sizes = sorted(one.working_set() for one in pydamon.read_recording(path).snapshots())
    return sizes[len(sizes) // 2]


# Alive.


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param("ebpf", marks=needs("ebpf")),
        pytest.param("refs", marks=needs("refs")),
        pytest.param("writes", marks=needs("writes")),
    ],
)
def test_a_process_lives_while_any_of_its_threads_does(probe: str, tmp_path: Path) -> None:
    out = tmp_path / "r.damon"
    command = (built("headless"), "5000")
    budget = ("--cpu-budget", "20")  # for many snapshots
    pydamon_says("record", "--probe", probe, *budget, "-o", out, "--", *command, code=7)
    recording = pydamon.read_recording(out)
    snapshots = list(recording.snapshots())
    assert snapshots[-1].end_ns - snapshots[0].start_ns > 3e9
    assert max(one.footprints[0].rss_bytes for one in snapshots) > 16 * MIB
    right = [one for one in snapshots if 14 * MIB < one.working_set() < 24 * MIB]
    assert len(right) >= 3


def test_a_process_without_its_first_thread_can_be_named(tmp_path: Path) -> None:
    out = tmp_path / "r.damon"
    # As long as it takes to start a monitor, and some seconds more.
    with program("headless", str(2000 + 1000 * slowness())) as process:
        assert first_line(process) == "ready"
        time.sleep(0.3)
        assert Path(f"/proc/{process.pid}/maps").read_bytes() == b""
        pydamon_says("record", "-o", out, str(process.pid))
    assert 14 * MIB < median_working_set(out) < 24 * MIB


def test_what_is_read_of_a_process_is_never_another_ones() -> None:
    with script("print(1, flush=True); input()") as running_one:
        process = Process(running_one.pid)
        assert process.alive
        assert abs(process.started_ns - time.time_ns()) < 60e9
        assert process.read("maps")
        running_one.kill()
        running_one.wait()
        # Whoever has this pid next: nothing more is read.
        for ask in (lambda: process.read("maps"), lambda: process.open("pagemap")):
            with pytest.raises(ProcessLookupError):
                ask()
        assert not process.alive
        process.close()


# Whose memory.


def test_one_memory_in_two_pids_counts_once() -> None:
    before = open_files()
    with program("twin", "sleep", "60") as process:
        twin = int(first_line(process))
        for pids in ([process.pid], [process.pid, twin], [twin, process.pid]):
            space = VaddrSpace(pids)
            assert [one.pid for one in space.update(100).targets] == [pids[0]]
            assert space.update(100) is space.update(100)
            space.close()
        space = VaddrSpace([process.pid])
        assert len(space.update(100).targets) == 1
        os.kill(twin, signal.SIGUSR1)
        deadline_s = time.monotonic() + 10
        while len(layout := space.update(100).targets) < 2:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert [one.name for one in layout] == ["twin", "sleep"]
        space.close()
    assert open_files() == before


def test_a_twin_remains_when_the_first_one_ends() -> None:
    with program("twin", "sleep", "60") as process:
        twin = int(first_line(process))
        with script("print(1, flush=True); input()") as other:
            # The pid named first is the one that counts; it leaves the group.
            wanted = [twin, process.pid, other.pid]
            space = VaddrSpace(lambda: wanted)
            counted = {one.pid for one in space.update(100).targets}
            assert len(counted) == 2
            (owner,) = counted - {other.pid}
            wanted.remove(owner)
            left = {one.pid for one in space.update(100).targets}
            assert left == {*wanted}
            space.close()


def test_pydamon_does_not_watch_itself(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="pydamon itself"):
        pydamon.monitor(os.getpid())
    out = tmp_path / "r.damon"
    command = f'"$@" record -d 1.5s -o {out} $$ & p=$!; wait $p; echo $p $$; sleep 0'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *PYDAMON], capture_output=True, text=True, check=False
    )
    itself, shell = map(int, done.stdout.split())
    pids = {one.pid for s in pydamon.read_recording(out).snapshots() for one in s.targets}
    assert shell in pids
    assert itself not in pids


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a pid namespace")
def test_the_proc_of_another_namespace_is_refused(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare(1)")
    command = [
        "unshare",
        "-pf",
        *PYDAMON,
        "record",
        "-d",
        "1s",
        "-o",
        str(tmp_path / "r.damon"),
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2].startswith("pydamon: /proc is that of another pid name")


# Names.

MAPS = """
import mmap, os, sys
maps = []
for name in {names!r}:
    fd = os.open(os.path.join({where!r}, name), os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 1 << 20)
    maps.append(mmap.mmap(fd, 1 << 20, mmap.MAP_PRIVATE))
    maps[-1].write(b"x" * (1 << 20))
print("ready", flush=True)
while True:
    for m in maps:
        for i in range(0, 1 << 20, mmap.PAGESIZE): m[i] = 1
"""
HOSTILE: list[str | bytes] = [
    *(b"a" + bytes([code]) + b"b" for code in range(1, 32)),
    *("a\x7fb", "a\x85b", "a\u2028b", "a\u202eb", "\U0001f600", "  lead ", "x (deleted)"),
    *(b"a\xff\xfeb", b"[bold red]x", b"x[bold]", b"a\\012b", b"a\"'b", b"[heap]", b"<script>"),
]


def test_files_may_be_called_anything(tmp_path: Path) -> None:
    names = [os.fsencode(name) for name in HOSTILE]
    out = tmp_path / "r.damon"
    (tmp_path / "files").mkdir()
    with script(MAPS.format(names=names, where=os.fsencode(tmp_path / "files"))) as process:
        pydamon_says("record", "-d", "2s", "-o", out, str(process.pid))
        space = VaddrSpace([process.pid])
        (mappings,) = space.update(1000).mappings
        space.close()
    read = {os.fsencode(one.name) for one in mappings.mappings}
    where = os.fsencode(tmp_path / "files") + b"/"
    # The kernel itself writes a newline as an escape.
    assert {where + name.replace(b"\n", b"\\012") for name in names} <= read
    for report in ("summary", "mappings", "regions", "wss", "heatmap", "idle", "access"):
        for options in ((), ("--json",)):
            shown = pydamon_says("report", report, out, *options)
            shown.encode()
            assert not set(shown) & {chr(code) for code in range(32) if code != 10}
            assert "\u202e" not in shown


@pytest.mark.parametrize(
    "comm", [b"\x1b[2Jx", b"a) (b", b"x\ny", b"\xff\xfe", b") R 1 1 (", b"[red]"]
)
def test_processes_may_be_called_anything(comm: bytes, tmp_path: Path) -> None:
    text = f"""
    import ctypes, time
    ctypes.CDLL(None).prctl(15, {comm!r}, 0, 0, 0)
    print("ready", flush=True)
    time.sleep(60)
    """
    out = tmp_path / "r.damon"
    with script(textwrap.dedent(text)) as process:
        done = subprocess.run(
            [*PYDAMON, "record", "-d", "1s", "-o", out, str(process.pid)],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0
        assert b"\x1b" not in done.stderr
        assert f"watching {process.pid}".encode() in done.stderr
    assert "\x1b" not in pydamon_says("report", "summary", out)


# Many targets, of which one goes wrong.


def test_one_bad_target_ends_at_most_its_own_watching(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "pydamon")
    text = "print(1, flush=True); b = bytearray(8 << 20); import time; time.sleep(60)"
    with script(text) as first, script(text) as second:
        mon = pydamon.monitor([first.pid, second.pid], engine="sampling", aggr="100ms")
        with mon:
            snapshots = mon.run(f"{3 * slowness()}s")
            next(snapshots)
            mon.layout.processes[0].give_up(TargetError("it is somebody else's now \x1b[2J"))
            assert any([one.pid for one in last.targets] == [second.pid] for last in snapshots)
    said = [one.getMessage() for one in caplog.records if str(first.pid) in one.getMessage()]
    assert len(said) == 1
    assert said[0].isprintable()
    assert "watched no longer: it is somebody" in said[0]


UNREADABLE = """
import ctypes, mmap, os, secrets, sys, time
import numpy.random
import pydamon, pydamon._observe.start, pydamon._observe.probes.refs
prctl = ctypes.CDLL(None).prctl
os.setgroups([]), os.setgid(65534), os.setuid(65534), prctl(4, 1, 0, 0, 0)
def start(hides_after):
    if pid := os.fork():
        return pid
    prctl(1, 9, 0, 0, 0)
    memory = bytearray(8 << 20)
    for number in range(3000):
        if number == hides_after:
            prctl(4, 0, 0, 0, 0)
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 1
        time.sleep(0.01)
def watch(*pids):
    with pydamon.monitor(pids, probe="refs", aggr="300ms") as mon:
        return [[one.pid for one in snapshot.targets] for snapshot in mon.run("4s")]
both = hides, stays = start(100), start(-1)
seen = watch(*both)
print(seen[0] == [*both], seen[-1] == [stays])
try:
    watch(start(100))
except pydamon.TargetError as error:
    print(error, "/", error.hint)
os._exit(0)
"""


@needs("refs")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_target_that_becomes_unreadable_is_left_alone() -> None:
    """Watched without privileges: a process takes back the right to look at it."""
    done = subprocess.run(
        [sys.executable, "-u", "-c", UNREADABLE], capture_output=True, text=True, check=False
    )
    first, second = done.stdout.splitlines()
    assert first == "True True", done.stderr
    assert "Permission denied / run as root, or as the user who runs the process" in second
    (line,) = done.stderr.splitlines()
    assert "is watched no longer" in line


# Acting inside a target.


@needs("writes")
@pytest.mark.parametrize("mode", ["strict", "kill", "thread"])
def test_nothing_is_done_inside_a_confined_process(mode: str, tmp_path: Path) -> None:
    with program("confined", mode) as process:
        assert first_line(process) == "ready"
        time.sleep(0.3)
        command = ["record", "--probe", "writes", "-d", "1s", "-o", tmp_path / "r.damon"]
        done = subprocess.run(
            [*PYDAMON, *map(str, command), str(process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "confined by seccomp" in done.stderr.splitlines()[0]
        time.sleep(0.2)
        assert process.poll() is None


# Limits.


def test_many_children_need_few_descriptors(tmp_path: Path) -> None:
    """The soft limit is raised, and a hard one that is too low leaves out some, in one line."""
    with program("kids", "150") as process:
        assert first_line(process) == "ready"
        for limit, least in (("-Sn 100", 151), ("-n 120", 25)):
            out = tmp_path / "r.damon"
            command = f'ulimit {limit}; exec "$@" record --force -d 2s -o {out} {process.pid}'
            done = subprocess.run(
                ["sh", "-c", command, "sh", *PYDAMON], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            (*_, last) = pydamon.read_recording(out).snapshots()
            assert least <= len(last.targets) <= 151
            assert ("ulimit -n" in done.stderr) == (least < 151)
