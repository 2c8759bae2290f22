"""Recordings put together: nothing counts twice, and nothing is lost, without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from pydamon import analysis
from pydamon._cli.main import main
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import open_recording, read_recording
from tests.recordings import MIB, WORKER, busy, record, snapshot
from tests.unit.cases.helpers import FILES, S, shifted


def test_a_text_put_together_with_itself_is_not_counted_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = FILES / "ps_concat.txt"
    assert max(analysis.working_set(open_recording(path)).total.size_bytes) == 16 * MIB
    assert "is in it twice at" in read_recording(path).overlap
    assert main(["report", "wss", str(path)]) == 0
    captured = capsys.readouterr()
    assert "target 0 is in it twice at" in captured.err
    assert "32 MiB" not in captured.out


def test_damos_own_file_twice_is_read_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "wss", "--json", str(FILES / "concat.data")]) == 0
    captured = capsys.readouterr()
    assert "target 0 is in it twice at" in captured.err
    assert set(json.loads(captured.out)["total"]["bytes"]) == {16 * MIB}


@pytest.mark.parametrize("suffix", ["csv", "ndjson", "damon", "data", "json", "perf", "parquet"])
@pytest.mark.parametrize("same", [True, False])
def test_files_put_together_say_what_overlaps_or_have_both_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, same: bool
) -> None:
    taken = [snapshot((WORKER,), [(0, 0x10_0000, 0x20_0000, 20, n)], n) for n in range(10)]
    second = taken if same else shifted(taken, 60 * S)
    parts = []
    for name, snapshots in (("a", taken), ("b", second)):
        record(tmp_path / f"{name}.damon", snapshots)
        file = tmp_path / f"{name}.{suffix}"
        if suffix != "damon":
            write_recording(file, open_recording(tmp_path / f"{name}.damon"))
        parts.append(file.read_bytes())
    whole = tmp_path / f"whole.{suffix}"
    whole.write_bytes(b"".join(parts))
    if main(["report", "wss", "--json", str(whole)]):
        assert "put together" in capsys.readouterr().err
        return
    captured = capsys.readouterr()
    total = json.loads(captured.out)["total"]
    assert max(total["bytes"]) == MIB
    complete = len(total["bytes"]) == 20
    assert complete or "put together" in captured.err, "nothing is lost without a word"
    assert not same or "put together" in captured.err, "nothing is there twice without a word"


@pytest.mark.parametrize("index", [False, True])
def test_parquet_files_of_other_tools_are_one_file(tmp_path: Path, index: bool) -> None:
    """Some have more between their columns and their footer."""
    path = tmp_path / "r.parquet"
    table = read_recording(FILES / "target_0_1.json").table
    parquet.write_table(table, path, write_page_index=index)
    assert len(read_recording(path)) == 3


def test_a_recording_is_not_merged_with_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(FILES / "fleet_hostA.ndjson")
    target = tmp_path / "twice.damon"
    assert main(["merge", source, source, str(target)]) == 1
    assert "there twice" in capsys.readouterr().err
    assert not target.exists()
    # Neither with a part of it.
    part = tmp_path / "part.ndjson"
    assert main(["slice", "--from", "300ms", source, str(part)]) == 0
    assert main(["merge", source, str(part), str(target)]) == 1
    assert "nginx is in it twice" in capsys.readouterr().err
    assert not target.exists()


def test_recordings_of_one_process_one_after_the_other_are_merged_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "a.damon", busy(30))
    record(tmp_path / "b.damon", shifted(busy(30), 100 * S))
    sources = [str(tmp_path / name) for name in ("b.damon", "a.damon")]
    assert main(["merge", *sources, str(tmp_path / "m.damon")]) == 0
    assert capsys.readouterr().err == ""
    assert len(read_recording(tmp_path / "m.damon")) == 60
