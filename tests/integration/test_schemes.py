"""Schemes on real processes: what they do, what they leave alone, and that they do no harm."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import pydamon
from pydamon import AccessPattern, Filter, Guard, Quota, Scheme, SchemeError
from pydamon._act.actions import ACTION_TYPES
from pydamon._act.actions.reclaim import Pageout
from pydamon._act.apply import AppliedSchemes
from pydamon._act.memory import TargetMemory, holds_swap
from pydamon._act.runtime.pipeline import SchemePipeline
from pydamon._cli.main import main
from pydamon._model.errors import ProbeError
from pydamon._model.regions import Ranges
from tests.integration.conftest import MIB, Program, huge_bytes, needs, running, script

pytestmark = [pytest.mark.live, needs("ebpf")]

_IDLE = AccessPattern(max_rate=0, min_age=2)
_MEMORY = """
import mmap, sys, time
size = int(sys.argv[1]) << 20
if sys.argv[2]:
    with open(sys.argv[2], "r+b") as file:
        file.truncate(size)
        file.write(bytes(range(256)) * (size // 256))
        file.flush()
        import os; os.fsync(file.fileno())
        memory = mmap.mmap(file.fileno(), size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
else:
    # It grows in steps too small for huge pages, so that none come unasked, whatever is set.
    memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, size, mmap.PAGESIZE):
        if at % (1 << 20) == 0:
            memory.resize(at + (1 << 20))
        memory[at] = at // mmap.PAGESIZE % 251
def total():
    return sum(memory[at] for at in range(0, size, mmap.PAGESIZE))
first = total()
print(first, flush=True)
for line in sys.stdin:
    print(total(), flush=True)
"""


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs with idle memory, of a file or not; a line makes them read it all."""

    with ExitStack() as stack:

        def start(mib: int, of_file: bool = False) -> subprocess.Popen[str]:
            name = ""
            if of_file:
                data: Path = request.getfixturevalue("disk") / "data"
                data.touch()
                name = str(data)
            process = stack.enter_context(running(sys.executable, "-c", _MEMORY, str(mib), name))
            process.first = _answer(process)  # type: ignore[attr-defined]
            return process

        yield start


def _answer(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def _reads_the_same(process: subprocess.Popen[str]) -> bool:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return _answer(process) == process.first  # type: ignore[attr-defined,no-any-return]


def _rss(pid: int, what: str = "VmRSS") -> int:
    found = re.search(rf"{what}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(found[1]) if found else 0


def _apply(
    pid: int, *schemes: Scheme, seconds: float = 2, snapshots: int = 8, **options: bool
) -> list[SchemePipeline]:
    """What the schemes have done after a time, and at least so many snapshots."""
    with (
        pydamon.monitor(
            pid, engine="sampling", sample="10ms", aggr="100ms", cpu_budget_percent=20
        ) as mon,
        pydamon.apply(mon, *schemes, **options) as applied,
    ):
        assert isinstance(applied, AppliedSchemes)
        begin_s = time.monotonic()
        for number, _ in enumerate(applied, 1):
            if number >= snapshots and time.monotonic() - begin_s >= seconds:
                break
        return list(applied.schemes)


def test_pageout_takes_idle_memory_of_files_and_says_how_much(
    memory: Callable[..., subprocess.Popen[str]],
) -> None:
    process = memory(32, of_file=True)
    before = _rss(process.pid, "RssFile")
    (scheme,) = _apply(process.pid, Scheme("pageout", _IDLE), seconds=1)
    gone = before - _rss(process.pid, "RssFile")
    assert gone > 30 * MIB
    # Where it has to split a large folio of a file, the kernel unmaps the rest of it, too.
    assert 0.5 * gone < scheme.stats.sz_applied < 1.1 * gone
    assert _reads_the_same(process)


def test_what_a_quota_leaves_for_later_gets_no_younger_by_what_was_taken(
    memory: Callable[..., subprocess.Popen[str]],
) -> None:
    process = memory(128, of_file=True)
    before = _rss(process.pid, "RssFile")
    old = AccessPattern(max_rate=0, min_age=60)
    scheme = Scheme("pageout", old, quota=Quota(bytes="32M", reset="100ms"))
    since = 0
    with (
        pydamon.monitor(
            process.pid, engine="sampling", sample="2ms", aggr="20ms", cpu_budget_percent=50
        ) as mon,
        pydamon.apply(mon, scheme) as applied,
    ):
        for _ in applied.run("10s"):
            since += applied[0].stats.sz_applied > 0
            if before - _rss(process.pid, "RssFile") > 126 * MIB:
                break
    assert 0 < since < 45  # aggregations, of which it takes 5 a window


def test_anonymous_memory_stays_where_there_is_no_swap(
    memory: Callable[..., subprocess.Popen[str]],
) -> None:
    process = memory(32)
    if holds_swap(process.pid):
        pytest.skip("this machine has swap")
    before = _rss(process.pid, "RssAnon")
    (scheme,) = _apply(process.pid, Scheme("pageout", _IDLE), seconds=1)
    assert scheme.stats.sz_tried > 30 * MIB
    assert scheme.stats.sz_applied < 8 * MIB  # pages of the interpreter's files
    assert _rss(process.pid, "RssAnon") >= before - MIB
    assert "without swap only memory of files" in scheme.state


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    memory: Callable[..., subprocess.Popen[str]],
) -> None:
    process = memory(32, of_file=True)
    before = _rss(process.pid)
    (applied,) = _apply(process.pid, Scheme("pageout", _IDLE), dry_run=True, seconds=1)
    assert 30 * MIB < applied.stats.sz_applied <= before  # each page once
    assert _rss(process.pid) >= before - MIB


_SHARING = """
import mmap, os, time
memory = mmap.mmap(-1, 64 << 20)
for at in range(0, 64 << 20, mmap.PAGESIZE):
    memory[at] = 1
for _ in range(3):
    if os.fork() == 0:
        sum(memory[at] for at in range(0, 64 << 20, mmap.PAGESIZE))
        while os.getppid() != 1:
            time.sleep(0.05)
        os._exit(0)
time.sleep(0.5)
print("ready", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize(
    ("action", "least_mib", "most_mib"),
    [("stat", 60, 90), ("lru_prio", 60, 90), ("cold", 0, 30), ("hugepage", 0, 90)],
)
def test_a_dry_run_counts_memory_that_processes_share_once(
    action: str, least_mib: int, most_mib: int
) -> None:
    with script(_SHARING) as process:
        (applied,) = _apply(process.pid, Scheme(action, _IDLE), dry_run=True, seconds=1)
        stats = applied.stats
    assert least_mib * MIB <= stats.sz_applied <= most_mib * MIB
    assert 60 * MIB <= stats.sz_tried <= 90 * MIB  # of 256 MiB that are resident in all together


_RESERVES = """
import mmap, time
reserved = mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
for at in range(0, 8 << 30, 512 << 20):
    reserved[at] = 1
print("ready", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("action", ["stat", "cold", "pageout", "lru_prio", "willneed", "hugepage"])
def test_a_dry_run_never_says_more_than_is_resident(action: str) -> None:
    with script(_RESERVES) as process:
        resident = _rss(process.pid)
        (applied,) = _apply(process.pid, Scheme(action, _IDLE), dry_run=True, seconds=1)
        assert applied.stats.sz_tried <= 1.1 * resident < 128 * MIB
        assert applied.stats.sz_applied < 128 * MIB


_PROTECTED = """
import ctypes, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
# PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, below all others
assert libc.mmap(ctypes.c_void_p(0x20000000), 65536, 0, 0x100022, -1, 0) == 0x20000000
print("ready", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("action", ["lru_prio", "lru_deprio", "cold", "pageout", "willneed"])
def test_memory_that_may_not_be_read_is_no_reason_to_refuse(action: str) -> None:
    with script(_PROTECTED) as process:
        (applied,) = _apply(process.pid, Scheme(action), seconds=1)
    assert applied.complaints == []
    assert applied.stats.sz_tried > 0


@pytest.mark.parametrize("action", ["lru_prio", "pageout", "hugepage"])
def test_a_command_can_be_acted_on_from_its_start(
    tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "schemes.toml").write_text(f"[[schemes]]\naction = '{action}'\n")
    name = f"test-{os.getpid()}-{time.monotonic_ns()}"
    argv = ["apply", "-d", "2s", "--name", name, str(tmp_path / "schemes.toml"), "--"]
    begin_s = time.monotonic()
    assert main([*argv, "sleep", "100"]) == 0  # the time is up, and it is ended with that
    assert time.monotonic() - begin_s < 20
    assert "left alone" not in capsys.readouterr().err
    assert main([*argv, "sh", "-c", "sleep 0.5; exit 7"]) == 7


class _Fails(Pageout):
    """Is told that one process cannot be acted on when it tries."""

    pid = 0

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        if memory.process.pid == self.pid:
            raise ProbeError("it says no")
        return super().doable(memory, ranges)


def test_a_process_that_cannot_be_acted_on_is_left_alone_and_that_is_said_once(
    memory: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = memory(16, of_file=True), memory(16)
    monkeypatch.setitem(ACTION_TYPES, "pageout", _Fails)
    monkeypatch.setattr(_Fails, "pid", two.pid)
    scheme = Scheme("pageout", _IDLE)
    complaints: list[str] = []
    with (
        pydamon.monitor([one.pid, two.pid], engine="sampling", sample="10ms", aggr="100ms") as mon,
        pydamon.apply(mon, scheme) as applied,
    ):
        assert isinstance(applied, AppliedSchemes)
        for _ in applied.run("4s"):
            complaints += applied.complaints()
        assert complaints == [f"pageout: pid {two.pid} is left alone: it says no"]
        assert applied[0].stats.sz_applied > 8 * MIB


def test_huge_pages_only_for_what_is_hot(quarter: Callable[..., Program]) -> None:
    program = quarter(64, 16)
    before = huge_bytes(program.pid)
    pattern = AccessPattern(min_size="2M", min_rate="10%", min_age=2)
    (scheme,) = _apply(program.pid, Scheme("hugepage", pattern), seconds=3)
    got = huge_bytes(program.pid) - before
    if before > 32 * MIB:
        pytest.skip("this machine gives huge pages always")
    assert 8 * MIB <= got <= 24 * MIB
    assert scheme.stats.sz_applied == pytest.approx(got, abs=4 * MIB)


def test_nohugepage_splits_what_was_collapsed(
    memory: Callable[..., subprocess.Popen[str]],
) -> None:
    process = memory(32)
    everything = AccessPattern(min_size="2M")
    (collapsed,) = _apply(process.pid, Scheme("collapse", everything), seconds=1)
    assert huge_bytes(process.pid) >= 24 * MIB
    assert collapsed.stats.sz_applied >= 24 * MIB
    (split,) = _apply(process.pid, Scheme("nohugepage", everything), seconds=1)
    assert huge_bytes(process.pid) <= 4 * MIB
    assert split.stats.sz_applied >= 24 * MIB
    assert _reads_the_same(process)


def test_filters_of_pages_are_asked(memory: Callable[..., subprocess.Popen[str]]) -> None:
    process = memory(32, of_file=True)
    files = Scheme("stat", filters=[Filter("anon", matching=False, allow=True)], name="files")
    anon = Scheme("stat", filters=[Filter("anon", allow=True)], name="anon")
    absent = Scheme("stat", filters=[Filter("unmapped", allow=True)], name="absent")
    applied = _apply(process.pid, files, anon, absent, seconds=1)
    of_files, of_anon, gone = (s.stats.sz_ops_filter_passed / s.stats.sz_tried for s in applied)
    assert of_files + of_anon == pytest.approx(1, abs=0.02)
    assert of_files > 0.5
    assert 0 < gone < 0.9


def test_young_memory_can_be_kept(quarter: Callable[..., Program]) -> None:
    program = quarter(64, 32)
    old = Scheme("stat", AccessPattern(), filters=[Filter("young")])
    (scheme,) = _apply(program.pid, old, seconds=3)
    kept = sum(part.end - part.start - part.applied_bytes for part in scheme.tried)
    assert 24 * MIB < kept < 56 * MIB
    refs = pydamon.monitor(program.pid, engine="sampling", probe="refs")
    with refs, pytest.raises(SchemeError, match="young needs a probe"):
        pydamon.apply(refs, old)


def test_a_scheme_backs_off_when_what_it_takes_is_asked_for_again(disk: Path) -> None:
    (disk / "data").write_bytes(bytes(16 * MIB))
    text = f"""
import mmap, time
with open({str(disk / "data")!r}, "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
print("ready", flush=True)
while True:
    sum(memory[::mmap.PAGESIZE])
    time.sleep(0.01)
"""
    harmful = Scheme("pageout", AccessPattern(), guard=Guard(rest="1min"))
    unguarded = Scheme("pageout", AccessPattern(), guard=None)
    with script(text) as process:
        (guarded,) = _apply(process.pid, harmful, seconds=3)
        (other,) = _apply(process.pid, unguarded, seconds=3)
    assert guarded.stats.rests == 1
    assert "asked for again" in guarded.state
    # It takes nothing any more, and the other goes on and on.
    assert not guarded.tried
    assert other.tried
    assert guarded.stats.sz_applied < other.stats.sz_applied


def test_killing_the_program_at_any_moment_leaves_the_target_unharmed(
    memory: Callable[..., subprocess.Popen[str]],
) -> None:
    process = memory(16, of_file=True)
    chance = random.Random(1)
    schemes = [
        Scheme("pageout", AccessPattern(), guard=None),
        Scheme("collapse", AccessPattern()),
        Scheme("nohugepage", AccessPattern()),
        Scheme("cold", AccessPattern(), quota=Quota(time="1ms")),
    ]
    acted = 0
    with pydamon.monitor(
        process.pid, engine="sampling", sample="1ms", aggr="5ms", update="5ms"
    ) as shared:
        for turn in range(100):
            reads, writes = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    # Opening takes longest: most of the time it is done already.
                    mon = (
                        shared
                        if turn % 25
                        else pydamon.monitor(process.pid, engine="sampling", aggr="5ms")
                    )
                    for _ in pydamon.apply(mon, *schemes):
                        os.write(writes, b".")
                finally:
                    os._exit(1)
            os.close(writes)
            with os.fdopen(reads, "rb") as pipe:
                if chance.random() < 0.8:
                    acted += len(pipe.read(1))  # the first time
                time.sleep(chance.uniform(0, 0.02))
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status), "it ended by itself"
            state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            assert state in "RSD"
    assert acted > 50
    assert _reads_the_same(process)
    assert process.poll() is None
