"""Rates below a sample a window: in recordings, filters, patterns, heat and figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pydamon
from pydamon import (
    Access,
    AccessPattern,
    Phase,
    Recording,
    RecordingError,
    Snapshot,
    Trace,
    UsageError,
    analysis,
    open_recording,
    read_recording,
)
from pydamon._act.runtime.candidates import Candidates, matching
from pydamon._act.runtime.quota import scores
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import merge_recordings
from pydamon._model.schemes import Weights
from pydamon._model.shares import counted_shares, stored_shares
from pydamon._model.snapshot import Target
from pydamon._show.frames.build import frame_of
from pydamon._show.metrics.collector import figures_of
from pydamon.policies import Stat
from tests.recordings import MIB, record, snapshot

APP = Target(7, "app")
COLD, RARE, RARE_SEEN, HOT = range(4)


def rare(number: int = 0) -> Snapshot:
    """Cold memory; 2 accesses a second, none in this window and one in it; and hot memory."""
    regions = [(0, place * MIB, (place + 1) * MIB, 0, 3) for place in range(4)]
    regions[RARE_SEEN] = (0, 2 * MIB, 3 * MIB, 1, 3)
    regions[HOT] = (0, 3 * MIB, 4 * MIB, 18, 3)
    return dataclasses.replace(
        snapshot((APP,), regions, number),
        access_share=np.array([0, 0.01, 0.01, 0.9]),
        access_share_error=np.array([np.nan, 0.002, 0.002, 0.05]),
        accessed_within=np.vstack([np.full(7, np.nan), *[np.linspace(0, 0.2, 7)] * 2, np.ones(7)]),
    )


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return record(tmp_path / "r.damon", [rare(number) for number in range(10)])


def picked(recording: Recording, query: str) -> list[int]:
    part = analysis.where(recording, query)
    return sorted(set((part.column("start") // MIB).tolist()))


def matched(pattern: AccessPattern, of: Snapshot | None = None) -> list[int]:
    of = of or rare()
    bounds = pattern.bounds(of.max_nr_accesses, of.sampling_ns, of.window_ns)
    places: list[int] = (matching(Candidates.all_of(of), bounds).start // MIB).tolist()
    return places


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)), max_size=20),
    st.floats(0, 1, width=32),
)
def test_single_precision_says_what_the_counts_say(
    counts: list[tuple[int, int]], share: float
) -> None:
    nr_accesses, most = np.sort(np.array(counts, np.int64).reshape(-1, 2), axis=1).T
    counted = counted_shares(nr_accesses, most)
    stored = stored_shares(nr_accesses, most, counted.astype(np.float32))
    assert stored.tolist() == counted.tolist()
    others = np.full(len(most), share, np.float32)
    assert stored_shares(nr_accesses, most, others) == pytest.approx(others, rel=1e-6)
    unknown = np.full(len(most), np.nan, np.float32)
    assert stored_shares(nr_accesses, most, unknown).tolist() == counted.tolist()


def test_a_simulation_says_the_same_when_it_is_read(tmp_path: Path) -> None:
    trace = Trace((Phase(10**9, (Access(0, 64 * MIB, rate_hz=1000),)),))
    written = list(pydamon.simulate(trace, [(0, 256 * MIB)]).run("2s"))
    for read, expected in zip(
        record(tmp_path / "r.damon", written).snapshots(), written, strict=True
    ):
        assert read.access_share == pytest.approx(expected.access_share, rel=1e-6)
        assert read.access_share_error == pytest.approx(
            expected.access_share_error, rel=1e-6, nan_ok=True
        )
        assert read.accesses == pytest.approx(expected.accesses, rel=1e-6)


def test_a_share_beyond_1_by_rounding_does_not_spoil_a_file(tmp_path: Path) -> None:
    above = dataclasses.replace(rare(), access_share=np.array([0, 0, 0.5, 1 + 1e-9]))
    read = record(tmp_path / "r.damon", [above])
    assert read.complete
    assert read.snapshot(0).access_share.tolist() == [0, 0, 0.5, 1]


@pytest.mark.parametrize("suffix", ["damon", "parquet", "csv", "ndjson"])
def test_conversions_slices_and_merges_keep_the_shares(
    tmp_path: Path, recording: Recording, suffix: str
) -> None:
    path = tmp_path / f"copy.{suffix}"
    assert write_recording(path, recording) == ()
    part = open_recording(path).slice(start_ns=int(recording.per_snapshot("end_ns")[4]))
    both = merge_recordings([tmp_path / "r.damon"])
    for copy in (read_recording(path), part.read(), both.read()):
        last = copy.snapshot(-1)
        assert last.access_share == pytest.approx(rare().access_share, rel=1e-6)
        assert last.access_share_error == pytest.approx(
            rare().access_share_error, rel=1e-6, nan_ok=True
        )
        assert last.accessed_within == pytest.approx(
            rare().accessed_within, abs=0.5 / 255, nan_ok=True
        )
        assert (last.accessed_within[HOT] == 1).all()
        assert last.accessed_within[RARE][0] == 0


def test_formats_with_whole_numbers_name_the_columns_that_they_lose(
    tmp_path: Path, recording: Recording
) -> None:
    lost = write_recording(tmp_path / "r.json", recording, format="json")
    assert {"access_share", "access_share_error", "accessed_within"} <= set(lost)
    counted = Recording.from_snapshots([snapshot((APP,), [(0, 0, MIB, 3, 1)])])
    lost = write_recording(tmp_path / "c.json", counted, format="json")
    assert not {"access_share", "access_share_error", "accessed_within"} & set(lost)


@pytest.mark.parametrize(
    ("number", "problem"),
    [(0x01_02, "falls"), (1 << 56, "falls"), (2**63 - 1, "falls"), (-1, "is negative")],
)
def test_shares_within_times_that_make_no_sense_are_named(
    tmp_path: Path, recording: Recording, number: int, problem: str
) -> None:
    numbers = recording.column("accessed_within").copy()
    numbers[7] = number
    place = recording.table.column_names.index("accessed_within")
    table = recording.table.set_column(place, "accessed_within", pa.array(numbers))
    pq.write_table(table, tmp_path / "x.parquet")
    read = read_recording(tmp_path / "x.parquet")
    assert f"accessed_within {problem}" in read.problem
    assert len(read.table) < len(table)
    with pytest.raises(RecordingError, match=f"accessed_within {problem}"):
        write_recording(tmp_path / "x.damon", Recording(recording.info, table))


def test_files_without_shares_within_times_are_read(tmp_path: Path, recording: Recording) -> None:
    path = tmp_path / "old.parquet"
    pq.write_table(recording.table.drop_columns(["accessed_within"]), path)
    assert np.isnan(read_recording(path).accessed_within).all()


def test_hz_in_a_filter_is_the_estimate_of_the_last_windows(recording: Recording) -> None:
    assert picked(recording, "rate >= 2Hz") == [RARE, RARE_SEEN, HOT]
    assert picked(recording, "hz >= 2") == [RARE, RARE_SEEN, HOT]
    assert picked(recording, "hz > 0.1 and hz < 3Hz") == [RARE, RARE_SEEN]
    assert picked(recording, "access_share >= 1%") == [RARE, RARE_SEEN, HOT]
    assert picked(recording, "access_share > 0.02") == [HOT]


def test_samples_and_percent_in_a_filter_are_those_of_the_window(recording: Recording) -> None:
    assert picked(recording, "rate > 0") == [RARE_SEEN, HOT]
    assert picked(recording, "rate >= 1%") == [RARE_SEEN, HOT]
    assert picked(recording, "rate < 1%") == [COLD, RARE]
    assert picked(recording, "accesses >= 1") == [RARE_SEEN, HOT]
    assert picked(recording, "accesses = 0") == [COLD, RARE]


@pytest.mark.parametrize("query", ["hz > 5%", "hz > 5 samples", "access_share > 5Hz", "hz > x"])
def test_units_that_do_not_fit_a_field_are_refused(recording: Recording, query: str) -> None:
    with pytest.raises(UsageError, match="cannot"):
        analysis.where(recording, query)


def test_patterns_compare_real_numbers() -> None:
    assert matched(AccessPattern(min_rate="1.5Hz", max_rate="3Hz")) == [RARE, RARE_SEEN]
    assert matched(AccessPattern(max_rate="1Hz")) == [COLD]
    assert matched(AccessPattern(min_rate="0.5%", max_rate="3%")) == [RARE_SEEN]
    assert matched(AccessPattern(max_rate=0)) == [COLD, RARE]
    # An access that was found is at least a sample: no region is between 0 and 1.
    assert matched(AccessPattern(min_rate=1)) == [RARE_SEEN, HOT]
    between = dataclasses.replace(rare(), access_share=np.array([0, 0, 0.12, 0.13]))
    assert matched(AccessPattern(min_rate="12.5%"), between) == [HOT]


def test_priorities_rank_real_numbers() -> None:
    shares = np.array([0.01, 0.03, 0.2, 0.9])
    ones = dataclasses.replace(rare(), nr_accesses=np.array([1, 1, 4, 18]), access_share=shares)
    score = scores(Candidates.all_of(ones), Weights(rate=1), hot_first=True).tolist()
    assert score == sorted(set(score))
    assert scores(Candidates.all_of(ones), Weights(rate=1), hot_first=False).tolist() == [
        99 - value for value in score
    ]


def test_heat_is_not_0_where_memory_is_accessed_now_and_then(recording: Recording) -> None:
    heat = analysis.heatmap(recording, 4, 2, addresses="all").rates
    assert heat[:, -1] == pytest.approx([0, 0.01, 0.01, 0.9], rel=1e-6)
    spans = frame_of([rare()]).spans  # neighbours with one rate are one span
    assert spans.rate.tolist() == pytest.approx([0, 0.01, 0.9], rel=1e-6)
    by_address = analysis.regions(recording, group=False).sorted_by("address").regions
    assert by_address[COLD].temperature < 0 < by_address[RARE].temperature
    assert by_address[RARE].access_hz == pytest.approx(2)
    assert by_address[RARE].access_hz_error == pytest.approx(0.4)
    rates = analysis.distribution(recording, "rate")
    assert rates.size_bytes[:2].tolist() == [MIB, 2 * MIB]


def test_neighbours_taken_together_have_the_mean_by_size() -> None:
    uneven = dataclasses.replace(
        snapshot((APP,), [(0, 0, MIB, 1, 0), (0, MIB, 4 * MIB, 1, 0)]),
        access_share=np.array([0.04, 0.08]),
        access_share_error=np.array([0.01, 0.05]),
    )
    (region,) = analysis.regions_of(uneven).regions
    assert region.rate == pytest.approx(0.07)
    assert region.rate_error == pytest.approx(0.04)


def test_figures_count_accesses_a_second() -> None:
    wanted = (2 + 2 + 180) * MIB
    assert figures_of(rare()).access_bytes_per_second.tolist() == pytest.approx([wanted])
    bandwidth = Stat().figures(rare())["memory_bandwidth_bytes_per_s"]
    assert bandwidth == pytest.approx(wanted)
    assert [region.access_share for region in rare().hottest(1)] == [0.9]
