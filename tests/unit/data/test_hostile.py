from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet

from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import open_recording
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Target
from tests.hostile import all_tried
from tests.hostile_bombs import bombs
from tests.recordings import busy, record, snapshot


@pytest.mark.long
def test_files_that_mean_harm_end_in_an_error_line() -> None:
    """A few of them; `make hostile` tries 1,000."""
    outcomes = all_tried(30, seed=2)
    assert [outcome for outcome in outcomes if outcome.wrong] == []
    assert sum("pydamon: " in outcome.error for outcome in outcomes) > 8


def test_windows_of_one_region_come_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    path.write_bytes(bombs()["batches of rows in zstd"]())
    file = open_recording(path)
    row_count = sum(len(chunk.table) for chunk in file)
    assert 1_000_000 < row_count < 1_500_000
    assert "have hardly more than a region" in file.problem


def test_row_groups_of_a_row_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    rows = record(tmp_path / "r.damon", busy(400)).table
    parquet.write_table(rows[:1100], path, row_group_size=1)
    with pytest.raises(RecordingError, match="1,100 row groups of 1 rows"):
        open_recording(path)


@pytest.mark.parametrize(
    "name",
    ["o.json", *(pytest.param(name, marks=pytest.mark.long) for name in ("o.data", "o.perf"))],
)
def test_more_targets_than_damo_reads_are_not_written(tmp_path: Path, name: str) -> None:
    targets = tuple(Target(number + 1, "t") for number in range(2**15 + 1))
    rows = [(number, 0x1000, 0x2000, 0, 0) for number in range(len(targets))]
    recording = record(tmp_path / "r.damon", [snapshot(targets, rows)])
    with pytest.raises(RecordingError, match="at most 32,768 targets, not 32,769"):
        write_recording(tmp_path / name, recording)
    assert not (tmp_path / name).exists()
