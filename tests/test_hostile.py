from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet

from pydamon.core.errors import RecordingError
from pydamon.recording import open_recording
from tests.hostile import all_tried
from tests.hostile_bombs import bombs
from tests.recordings import busy, record


def test_files_that_mean_harm_end_in_an_error_line() -> None:
    """A few of them; `make hostile` tries 1,000."""
    outcomes = all_tried(30, seed=2)
    assert [one for one in outcomes if one.wrong] == []
    assert sum("pydamon: " in one.error for one in outcomes) > 8


def test_windows_of_one_region_come_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    path.write_bytes(bombs()["batches of rows in zstd"]())
    found = open_recording(path)
    row_count = sum(len(part.table) for part in found)
    assert 1_500_000 < row_count < 2_000_000
    assert "have hardly more than a region" in found.problem


def test_row_groups_of_a_row_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    rows = record(tmp_path / "r.damon", busy(400)).table
    parquet.write_table(rows[:1100], path, row_group_size=1)
    with pytest.raises(RecordingError, match="1,100 row groups of 1 rows"):
        open_recording(path)
