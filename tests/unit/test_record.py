"""`pydamon.record`: what is a program and what are processes; and a recording in one call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pydamon
from pydamon import Access, Phase, RecordingError, TargetError, Trace, UsageError
from pydamon._cli.record import record_to
from pydamon._observe.probes.registry import PROBES
from pydamon._record import _program_or_pids
from tests.recordings import REDIS, snapshot

samples_here = pytest.mark.skipif(
    not any(probe.availability().works for probe in PROBES), reason="no probe works here"
)


def test_words_are_a_program_and_numbers_are_processes() -> None:
    assert _program_or_pids("./it --fast 'a b'") == (["./it", "--fast", "a b"], [])
    assert _program_or_pids(["./it", "1"]) == (["./it", "1"], [])
    assert _program_or_pids(5) == ([], 5)
    assert _program_or_pids(iter([5, 6])) == ([], [5, 6])
    assert _program_or_pids(list) == ([], list)


@samples_here
def test_a_program_is_recorded_until_it_ends(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "memory = bytearray(8 << 20); import time; time.sleep(1)"]
    path = pydamon.record(program, tmp_path / "a.damon", engine="sampling", aggr="100ms")
    recording = pydamon.read_recording(path)
    assert recording.complete
    assert recording.info.commands == (tuple(program),)
    assert pydamon.analysis.summary(recording).working_set is not None


@samples_here
def test_a_recording_lasts_as_long_as_it_should_though_memory_moves(tmp_path: Path) -> None:
    busy = f"{sys.executable} -c 'while True: bytearray(8 << 20)' & sleep 0.5"
    program = ["/bin/sh", "-c", busy]  # the shell ends before the program that it started
    path = tmp_path / "a.damon"
    pydamon.record(program, path, duration="1400ms", engine="sampling", aggr="1s")
    snapshots = [*pydamon.read_recording(path).snapshots()]
    assert 1.3e9 < snapshots[-1].end_ns - snapshots[0].start_ns < 2.5e9
    assert [target.name for target in snapshots[-1].targets] != ["sh"]


@samples_here
def test_a_process_is_recorded_for_a_while(tmp_path: Path) -> None:
    path = tmp_path / "b.damon"
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        try:
            pydamon.record(process.pid, path, duration="300ms", engine="sampling", aggr="100ms")
            with pytest.raises(RecordingError, match="exists"):
                pydamon.record(process.pid, path, duration="300ms", engine="sampling")
            with pytest.raises(UsageError, match="longer than 0"):
                pydamon.record(process.pid, tmp_path / "c.damon", duration="0s", engine="sampling")
        finally:
            process.kill()
    recording = pydamon.read_recording(path)
    assert recording.complete
    assert recording.info.commands == (("/bin/sleep", "60"),)
    assert {target.pid for target in recording.targets} == {process.pid}
    assert [file.name for file in tmp_path.iterdir()] == ["b.damon"]


@samples_here
def test_recording_a_process_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    text = """
import sys
import pydamon
pydamon.record(int(sys.argv[1]), sys.argv[2], duration="500ms", engine="sampling")
unneeded = {"attrs", "click", "elftools", "importlib.metadata", "numpy.ma", "psutil", "subprocess"}
print(unneeded & {*sys.modules})
"""
    busy = "memory = bytearray(64 << 20)\nwhile True: memory[::4096] = bytes(16384)"
    with subprocess.Popen([sys.executable, "-c", busy]) as process:
        argv = [sys.executable, "-c", text, str(process.pid), str(tmp_path / "e.damon")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        process.kill()
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot start"):
        pydamon.record(["/no/such/program"], tmp_path / "d.damon")
    with pytest.raises(UsageError, match="no process"):
        pydamon.record([], tmp_path / "d.damon", engine="sampling")
    assert not list(tmp_path.iterdir())


def test_snapshots_without_regions_are_not_in_the_file_and_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
        monkeypatch.setattr(mon, "run", lambda _: iter([snapshot((REDIS,), [])]))
        record_to(mon, tmp_path / "r.damon", None, force=False, command=None)
    error = capsys.readouterr().err
    assert "0 snapshots" in error
    assert "there is no snapshot" in error
