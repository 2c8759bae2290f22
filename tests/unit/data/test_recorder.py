"""A recorder's file: every second of it survives a crash, and it is compact when it is closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest

from pydamon._data.formats.reader import read_recording
from pydamon._data.recording import Recorder, compact
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Snapshot
from tests.recordings import (
    BEGIN_NS,
    MS,
    REDIS,
    busy,
    info,
    killed,
    record,
    snapshot,
    target,
)
from tests.unit.data.test_recording import same


def test_many_names_do_not_pile_up_in_the_file(tmp_path: Path) -> None:
    def written(number: int) -> Snapshot:
        places = [(n << 12, (n + 1) << 12) for n in range(1, 11)]
        names = [(*place, "r--p", f"/memfd:{number}.{n}") for n, place in enumerate(places)]
        regions = [(0, *place, 1, 1) for place in places]
        return snapshot((target(7, "jit", *names),), regions, number, window_ns=1100 * MS)

    path = tmp_path / "r.damon"
    content = killed(path, map(written, range(120)))
    with pa.ipc.open_stream(content) as reader:
        known = [len(batch["mapping"].dictionary) for batch in reader]
    assert len(known) == 120
    assert 1000 < max(known) <= 1010
    for number in (98, 119):
        named = [
            region.mapping.name
            for region in read_recording(path).snapshot(number)
            if region.mapping
        ]
        assert named == [f"/memfd:{number}.{n}" for n in range(10)]


def test_every_second_reaches_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    with Recorder(path, info()) as recorder:
        for number, each in enumerate(busy(35)):
            recorder.write(each)
            lost_ns = each.end_ns - int(read_recording(path).column("end_ns").max(initial=BEGIN_NS))
            assert lost_ns < 10**9, number
        assert "not closed" in read_recording(path).problem
        recorder.flush()
        assert len(read_recording(path)) == 35
    assert read_recording(path).complete


def test_long_aggregations_reach_the_file_at_once(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r.damon", info()) as recorder:
        recorder.write(snapshot((REDIS,), [(0, 0x1000, 0x2000, 1, 1)], window_ns=5 * 10**9))
        assert len(read_recording(recorder.path)) == 1


def test_a_recorder_that_was_killed_leaves_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from pydamon import Recorder\n"
        "from tests.recordings import busy, info\n"
        "recorder = Recorder(Path(sys.argv[1]), info())\n"
        "for one in busy(25): recorder.write(one)\n"
        "print('written', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    recording = read_recording(path)
    assert len(recording) >= 15
    assert not recording.complete
    assert all(map(same, recording.snapshots(), busy(25)))


def test_closing_makes_the_file_compact(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    written = killed(path, busy(300))
    assert path.stat().st_size < len(written) / 3
    assert all(map(same, read_recording(path).snapshots(), busy(300)))
    assert list(tmp_path.iterdir()) == [path]


def test_a_compact_file_is_its_owner_s_as_before(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    path.touch(0o640)
    link = tmp_path / "link.damon"
    link.symlink_to(path)
    record(link, busy(300))
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert len(read_recording(path)) == 300


@pytest.mark.parametrize("change", ["moved", "removed", "replaced", "linked"])
def test_what_somebody_did_to_the_file_meanwhile_stands(tmp_path: Path, change: str) -> None:
    path = tmp_path / "r.damon"
    with Recorder(path, info()) as recorder:
        for each in busy(30):
            recorder.write(each)
        if change == "linked":
            os.link(path, tmp_path / "other")
        elif change == "moved":
            path.rename(tmp_path / "other")
        else:
            path.unlink()
        if change == "replaced":
            path.write_text("precious")
    if change == "replaced":
        assert path.read_text() == "precious"
    elif change != "removed":
        assert len(read_recording(tmp_path / "other")) == 30
    assert path.exists() is (change in ("replaced", "linked"))


@pytest.mark.parametrize("fails", ["open", "link", "fsync"])
def test_a_recording_that_cannot_be_made_compact_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    untouched = getattr(os, fails)

    def failing(*args: Any, **more: Any) -> Any:
        if fails != "open" or args[1] & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return untouched(*args, **more)

    monkeypatch.setattr(os, fails, failing)
    path = tmp_path / "r.damon"
    assert record(path, busy(30)).complete
    assert list(tmp_path.iterdir()) == [path]


def test_too_little_memory_to_make_it_compact_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.damon"
    monkeypatch.setattr(compact, "concatenate", Mock(side_effect=MemoryError))
    with Recorder(path, info()) as recorder:
        for each in busy(30):
            recorder.write(each)
    monkeypatch.undo()
    assert read_recording(path).complete
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_exists_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    path.write_text("precious")
    with pytest.raises(RecordingError, match="exists already") as caught:
        Recorder(path, info())
    assert "--force" in caught.value.hint
    assert path.read_text() == "precious"
    with Recorder(path, info(), force=True):
        pass
    assert read_recording(path).complete


@pytest.mark.parametrize("where", ["missing/r.damon", "", "nul\0"])
def test_a_path_that_cannot_be_written_is_said_so(tmp_path: Path, where: str) -> None:
    with pytest.raises(RecordingError, match="cannot write"):
        Recorder(tmp_path / where, info(), force=True)


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="no /dev/full here")
def test_a_full_disk_is_said_so() -> None:
    with pytest.raises(RecordingError, match="No space left"):
        Recorder("/dev/full", info(), force=True)


def test_a_disk_that_fills_up_ends_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.damon"
    recorder = Recorder(path, info())
    recorder.write(busy(1)[0])
    recorder.flush()

    def full(_fd: int, _data: memoryview) -> int:
        raise OSError(28, "No space left on device")

    def go_on() -> None:
        for each in busy(20):
            recorder.write(each)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RecordingError, match="No space left"):
        go_on()
    monkeypatch.undo()
    recorder.close()
    recording = read_recording(path)
    assert len(recording) == 1
    assert not recording.complete
    with pytest.raises(RecordingError, match="closed"):
        recorder.write(busy(1)[0])
