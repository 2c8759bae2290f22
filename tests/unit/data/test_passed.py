"""Bytes that pass filters in recordings: every format keeps them, and old files do without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pydamon
from pydamon import PassedBytes, Recording, RecordingError, Snapshot, UsageError, analysis
from pydamon._data.formats.output import write_recording
from pydamon._data.recording.arrow import dictionary_array
from pydamon._data.recording.passed import kinds_of_words, passed_of_words, passed_words
from pydamon._model.passed import KINDS, kinds_from
from tests.recordings import REDIS, WORKER, snapshot

REGIONS = [
    (0, 0x1000, 0x9000, 5, 1),
    (0, 0x10_0000, 0x20_0000, 0, 4),
    (1, 0x10_0000, 0x40_0000, 0, 2),
]
ANON, HUGE = [0x8000, 0x1000, 0], [0, 0x0, 0x20_0000]
ODD = "memcg:/a b,c;d/%41 é"


def snapshots() -> list[Snapshot]:
    """The second and the third have bytes; of the third, one region was not looked at."""
    plain = [snapshot((REDIS, WORKER), REGIONS, number) for number in range(4)]
    kinds = ("anon", "huge", ODD)
    known = PassedBytes(kinds, np.array([ANON, HUGE, [1, 2, 3]]))
    partly = PassedBytes(kinds, np.where(np.arange(3) == 1, -1, known.size_bytes))
    return [
        plain[0],
        replace(plain[1], passed=known),
        replace(plain[2], passed=partly),
        plain[3],
    ]


def check(recording: Recording) -> None:
    assert recording.passed_kinds == ("anon", "huge", ODD)
    for got, wanted in zip(recording.snapshots(), snapshots(), strict=True):
        assert (got.passed is None) == (wanted.passed is None)
        if wanted.passed is not None:
            assert got.passed is not None
            assert got.passed.kinds == wanted.passed.kinds
            assert got.passed.size_bytes.tolist() == wanted.passed.size_bytes.tolist()


@pytest.mark.parametrize("name", ["native", "parquet", "csv", "ndjson"])
def test_every_format_keeps_them(tmp_path: Path, name: str) -> None:
    recording = Recording.from_snapshots(snapshots())
    check(recording)
    path = tmp_path / "out"
    write_recording(path, recording, format=name)
    check(pydamon.read_recording(path))


def test_parts_and_merged_recordings_keep_them(tmp_path: Path) -> None:
    path = tmp_path / "in.damon"
    write_recording(path, Recording.from_snapshots(snapshots()))
    part = analysis.where(pydamon.read_recording(path), "anon >= 32KiB")
    assert part.column("start").tolist() == [0x1000, 0x1000]
    assert part.passed("anon").of("anon").tolist() == [0x8000, 0x8000]
    check(pydamon.merge_recordings([path]).read())


def test_recordings_without_them_say_how_to_get_them() -> None:
    recording = Recording.from_snapshots([snapshot((REDIS, WORKER), REGIONS, 1)])
    assert recording.passed_kinds == ()
    assert (recording.passed("anon").of("anon") == -1).all()
    with pytest.raises(RecordingError, match="anon") as error:
        analysis.where(recording, "anon > 0B")
    assert "--passed anon" in error.value.hint


def test_reports_show_the_bytes_of_ranked_regions() -> None:
    *_, partly, _ = snapshots()
    regions = analysis.regions_of(partly, group=False).regions
    by_start = {(region.target.pid, region.start): region.passed for region in regions}
    assert by_start[REDIS.pid, 0x1000] == {"anon": 0x8000, "huge": 0, ODD: 1}
    assert by_start[REDIS.pid, 0x10_0000] == {}


KIND = st.one_of(st.sampled_from(KINDS), st.text(min_size=1).map("memcg:/{}".format))


@given(
    st.lists(KIND, min_size=1, max_size=4, unique=True),
    st.lists(st.integers(0, 2**50), min_size=1, max_size=6),
)
def test_words_say_the_same_again(kinds: list[str], sizes: list[int]) -> None:
    passed = PassedBytes(tuple(kinds), np.array([sizes] * len(kinds)))
    words = passed_words([(None, 2), (passed, len(sizes))])
    assert words[:2] == ["", ""]
    assert kinds_of_words(words) == tuple(kinds)
    again = passed_of_words(dictionary_array(np.arange(len(words), dtype=np.int32), words))
    assert again is not None
    assert again.kinds == tuple(kinds)
    assert (again.size_bytes[:, :2] == -1).all()
    assert again.size_bytes[:, 2:].tolist() == passed.size_bytes.tolist()


@pytest.mark.parametrize(
    "word", ["anon", "anon 1 2", "anon x", "anon -5", "anon 99999999999999999"]
)
def test_nonsense_is_refused(word: str) -> None:
    with pytest.raises(RecordingError, match="passed"):
        passed_of_words(dictionary_array(np.zeros(1, np.int32), [word]))


def test_kinds_are_checked() -> None:
    assert kinds_from(" anon, huge,anon") == ("anon", "huge")
    assert kinds_from(["memcg:/app"]) == ("memcg:/app",)
    assert kinds_from("") == ()
    for wrong in ("anonymous", "memcg:", "anon,swap"):
        with pytest.raises(UsageError, match="no kind") as error:
            kinds_from(wrong)
        assert "memcg:PATH" in error.value.hint
    assert pydamon.MonitorOptions(passed="anon,file").kinds == ("anon", "file")


def test_a_snapshot_that_is_picked_from_keeps_its_bytes() -> None:
    known = snapshots()[1]
    assert known.passed is not None
    part = known.pick(np.array([True, False, True]))
    assert part.passed is not None
    assert part.passed.of("huge").tolist() == [0, 0x20_0000]
    only = known.of_target(1)
    assert only.passed is not None
    assert only.passed.of("huge").tolist() == [0x20_0000]
