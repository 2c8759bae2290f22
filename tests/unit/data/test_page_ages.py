"""Ages of pages in recordings: every format keeps them, and old files do without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import PageAges, Recording, RecordingError, Snapshot, read_recording
from pydamon._data.formats.base import RowBuffer
from pydamon._data.formats.output import write_recording
from pydamon._data.recording.ages import age_words, sums_of_words
from pydamon._data.recording.arrow import constant_array
from pydamon._data.recording.snapshots import RowBuilder
from pydamon._model.page_ages import (
    BUCKETS,
    IDLE_EDGES_NS,
    AgeSums,
    bucket_of,
    share_beyond,
    spread_over_buckets,
)
from tests.recordings import REDIS, WORKER, aged, info, record, snapshot

KIB, S = 1024, 10**9
REGIONS = [
    (0, 0x1000, 0x9000, 5, 1),
    (0, 0x10_0000, 0x20_0000, 0, 4),
    (1, 0x10_0000, 0x40_0000, 0, 2),
]
AGES = [
    (0, 0, 32 * KIB, 0),
    (1, 2 * S, 100 * KIB, 0),
    (1, 20 * S, 900 * KIB, 8 * KIB),
    (2, 86_400 * S, 3000 * KIB, 0),
]


def snapshots() -> list[Snapshot]:
    """Every third one has ages."""
    plain = [snapshot((REDIS, WORKER), REGIONS, number, window_ns=S) for number in range(9)]
    return [
        aged(each, AGES, followed_share=0.5) if number % 3 == 2 else each
        for number, each in enumerate(plain)
    ]


def entries(ages: AgeSums) -> list[tuple[int, ...]]:
    columns = ages.region, ages.bucket, ages.resident_bytes, ages.returned_bytes
    return list(zip(*(column.tolist() for column in columns), strict=True))


def check(recording: Recording) -> None:
    expected = snapshots()
    assert len(recording) == len(expected)
    for got, wanted in zip(recording.snapshots(), expected, strict=True):
        if wanted.page_ages is None:
            assert got.page_ages is None
            continue
        assert got.page_ages is not None
        assert entries(got.page_ages) == entries(wanted.page_ages)
        assert got.page_ages.looked_ns == wanted.page_ages.looked_ns
        assert got.page_ages.since_ns == wanted.page_ages.since_ns
        assert got.page_ages.followed_share == 0.5
    assert len(recording.page_ages.region) == 3 * len(AGES)


@pytest.mark.parametrize("suffix", ["damon", "parquet", "csv", "ndjson"])
def test_every_format_keeps_ages(tmp_path: Path, suffix: str) -> None:
    recording = record(tmp_path / "r.damon", snapshots())
    check(recording)
    path = tmp_path / f"copy.{suffix}"
    write_recording(path, recording)
    check(read_recording(path))


def test_chunks_keep_no_words_of_earlier_ones() -> None:
    """Words of ages hardly ever come again: a day of them would pile up."""
    rows = RowBuffer(info(), chunk_rows=6)
    chunks = []
    for number in range(60):
        taken = snapshot((REDIS, WORKER), REGIONS, number, window_ns=S)
        other = aged(taken, [(0, S, (number + 1) * KIB, 0)])
        rows.add(RowBuilder("host").batch([other]))
        chunks.append(rows.take_chunk())
    words = [len(chunk["page_ages"].chunk(0).dictionary) for chunk in chunks if chunk is not None]
    assert len(words) > 20
    assert max(words) < 10


def test_recordings_without_ages_have_none(tmp_path: Path) -> None:
    plain = [snapshot((REDIS, WORKER), REGIONS, number) for number in range(3)]
    recording = record(tmp_path / "r.damon", plain)
    assert len(recording.page_ages.region) == 0
    assert recording.snapshot(0).page_ages is None


def test_ages_go_with_their_regions() -> None:
    recording = Recording.from_snapshots(snapshots())
    of_worker = recording.of_pid(WORKER.pid)
    last = of_worker.snapshot(-1).page_ages
    assert isinstance(last, PageAges)
    assert last.idle_bytes(10 * S, 1).tolist() == [3000 * KIB]
    picked = recording.pick(recording.column("nr_accesses") == 0)
    assert len(picked.page_ages.region) == 9


@pytest.mark.parametrize("word", ["1", "1 2 3", "1 2;", "-1 2 3;", "x y z;", f"1 2 {10**17};"])
def test_nonsense_gets_one_line(word: str) -> None:
    with pytest.raises(RecordingError, match="page_ages"):
        sums_of_words(constant_array(word, 3))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.integers(0, BUCKETS - 1),
            st.integers(0, 2**40),
            st.integers(0, 2**40),
        ),
        unique_by=lambda entry: entry[:2],
    ).map(sorted)
)
def test_words_say_what_sums_do(rows: list[tuple[int, int, int, int]]) -> None:
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    sums = AgeSums(columns[0], columns[1], columns[2] * KIB, columns[3] * KIB)
    words = age_words([(None, 2), (sums, 5)])
    assert words[:2] == ["", ""]
    read = sums_of_words(pa.array(words).dictionary_encode())
    assert [(region - 2, *rest) for region, *rest in entries(read)] == entries(sums)


@given(st.integers(0, 10**15))
def test_shares_beyond_a_time(idle_ns: int) -> None:
    share = share_beyond(idle_ns)
    assert (np.diff(share[:-1]) >= 0).all()
    assert (share[np.append(0, IDLE_EDGES_NS) >= idle_ns] == 1).all()
    assert (share[:-1][idle_ns >= IDLE_EDGES_NS] == 0).all()


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**15)), max_size=9))
def test_times_between_bounds_are_spread_over_all_buckets_there(
    bounds: list[tuple[int, int]],
) -> None:
    least, most = np.sort(np.array(bounds, np.int64).reshape(-1, 2), axis=1).T
    shares = spread_over_buckets(least, most)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    for row, low, high in zip(shares, bucket_of(least), bucket_of(most), strict=True):
        assert not row[:low].any()
        assert not row[high + 1 :].any()
