"""Files of recordings put together, and cut off: what is converted can be read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import pydamon
from pydamon import Recording, RecordingError, open_recording, read_recording, write_recording
from pydamon._data.formats import FORMATS
from tests.recordings import MIB, MS, REDIS, WORKER, snapshot

NAMES = [format.name for format in FORMATS]
TEXTS = ["json_compressed", "json", "ndjson", "perf_script"]
"""Formats of which files put together are read as one."""


def of_ten(first: int, count: int = 10) -> Recording:
    regions = [(0, MIB, 2 * MIB, 20, 0), (0, 3 * MIB, 5 * MIB, 0, 0), (1, 0, 9 * MIB, 5, 0)]
    each = snapshot((REDIS, WORKER), regions)
    began_ns = 10**15 + first * 100 * MS
    return Recording.from_snapshots(
        replace(each, start_ns=began_ns + n * 100 * MS, end_ns=began_ns + (n + 1) * 100 * MS)
        for n in range(count)
    )


def file_of(path: Path, recording: Recording, name: str) -> bytes:
    write_recording(path, recording, format=name, force=True)
    return path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("first", [0, 5, 10, 20], ids=["same", "overlap", "next", "later"])
def test_what_is_converted_can_be_read_again(tmp_path: Path, name: str, first: int) -> None:
    parts = [file_of(tmp_path / "part", of_ten(begin), name) for begin in (0, first)]
    source, copy = tmp_path / "both", tmp_path / "copy"
    source.write_bytes(b"".join(parts))
    for other in NAMES:
        if (name in TEXTS and first < 10) or name in ("parquet", "csv"):
            with pytest.raises(RecordingError) as raised:
                write_recording(copy, open_recording(source), format=other, force=True)
            assert "put together" in f"{raised.value} {raised.value.hint}"
            assert not copy.exists()
        else:
            write_recording(copy, open_recording(source), format=other, force=True)
            assert len(read_recording(copy)) == (20 if name in TEXTS else 10)
            copy.unlink()


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_cut_off(tmp_path: Path, name: str) -> None:
    whole = file_of(tmp_path / "whole", of_ten(0, 500), name)
    source, copy = tmp_path / "cut", tmp_path / "copy"
    source.write_bytes(whole[: len(whole) * 4 // 5])
    try:
        write_recording(copy, open_recording(source), format="parquet")
    except RecordingError:
        assert not copy.exists()
        assert name in ("native", "parquet", "json_compressed")
    else:
        assert 500 <= len(read_recording(copy).table) < 1500


def test_a_header_of_csv_in_a_row(tmp_path: Path) -> None:
    whole = file_of(tmp_path / "whole", of_ten(0, 500), "csv")
    (tmp_path / "glued").write_bytes(whole[: len(whole) * 4 // 5] + whole)
    glued = read_recording(tmp_path / "glued")
    assert "columns, not" in glued.problem
    assert 100 <= len(glued) < 500


def test_two_monitors_at_the_same_time_are_merged(tmp_path: Path) -> None:
    paths = [tmp_path / "a.damon", tmp_path / "b.damon"]
    for path, later_ns in zip(paths, (0, 30 * MS), strict=True):
        each = [
            replace(s, start_ns=s.start_ns + later_ns, end_ns=s.end_ns + later_ns)
            for s in of_ten(0).snapshots()
        ]
        write_recording(path, Recording.from_snapshots(each))
    write_recording(tmp_path / "both.csv", pydamon.merge_recordings(paths))
    both = read_recording(tmp_path / "both.csv")
    assert "is in it twice" in both.overlap
    assert len(both) == 20
