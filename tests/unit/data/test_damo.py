"""What damo itself makes of recordings that are written for it.

Set DAMO to the damo command (`pip install damo`, in an environment of its own) to run these. Only
its reports of files are used: its other commands write to the machine's DAMON.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pydamon import analysis
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import read_recording
from pydamon._data.recording import Recording
from pydamon._model.snapshot import Snapshot
from tests.recordings import MIB, record, snapshot, target

pytestmark = pytest.mark.skipif("DAMO" not in os.environ, reason="DAMO does not name a damo to ask")

APP = target(7, "app", (MIB, 9 * MIB, "rw-p", "[heap]"))
CHILD = target(8, "child", (MIB, 9 * MIB, "rw-p", "[heap]"))


def asked(*words: str) -> str:
    return subprocess.run(
        [os.environ["DAMO"], "report", *words], check=True, capture_output=True, text=True
    ).stdout


def wss(path: Path) -> list[int]:
    """Every snapshot's working set, as damo counts it, sorted.

    Unless they are in the order of time, damo sorts those of each target before it adds them up.
    """
    words = ("--exclude_samples", "0", "--raw_number", "--all_wss", "--sortby", "time")
    text = asked("wss", "-i", str(path), *words)
    return sorted(int(line.split()[1]) for line in text.splitlines() if not line.startswith("#"))


def grown(seed: int) -> list[Snapshot]:
    """Regions that are touched in part; a child that is there from the tenth snapshot on."""
    rng = np.random.default_rng(seed)
    snapshots = []
    for number in range(40):
        targets = (APP, CHILD) if number >= 10 else (APP,)
        regions, touched = [], []
        for which in range(len(targets)):
            for n in range(1, 8):
                regions.append((which, n * MIB, (n + 1) * MIB, int(rng.integers(0, 21)), n))
                touched.append(int(rng.integers(0, 257)) * 4096)
        snapshots.append(snapshot(targets, regions, number, touched=touched))
    return snapshots


@pytest.mark.parametrize("name", ["json_compressed", "perf_script"])
def test_damo_shows_the_same_working_sets(tmp_path: Path, name: str) -> None:
    recording = record(tmp_path / "r.damon", grown(1)).slice(pids=[7])
    path = tmp_path / "theirs"
    write_recording(path, recording, format=name)
    assert wss(path) == sorted(analysis.working_set(recording).total.size_bytes.tolist())


def test_damo_adds_up_the_working_sets_of_several_targets(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", grown(2))
    path = tmp_path / "r.data"
    write_recording(path, recording)
    assert wss(path) == sorted(analysis.working_set(recording).total.size_bytes.tolist())


@pytest.mark.parametrize("report", ["access", "heatmap"])
def test_damo_reports_what_is_written_for_it(tmp_path: Path, report: str) -> None:
    path = tmp_path / "r.data"
    write_recording(path, record(tmp_path / "r.damon", grown(3)))
    option = "--input" if report == "access" else "-i"
    assert asked(report, option, str(path))


def test_what_damo_shows_of_a_real_recording(tmp_path: Path) -> None:
    """Of the file that RECORDING names, if there is one."""
    if "RECORDING" not in os.environ:
        pytest.skip("RECORDING does not name a recording")
    recording: Recording = read_recording(os.environ["RECORDING"])
    path = tmp_path / "r.data"
    write_recording(path, recording)
    assert wss(path) == sorted(analysis.working_set(recording).total.size_bytes.tolist())
