"""The same words select the same regions in a filter of a recording and in a scheme."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydamon import AccessPattern, Snapshot, UsageError, analysis
from pydamon._act.runtime.candidates import Candidates, matching
from pydamon._model.rates import Rate
from pydamon._model.snapshot import Target
from tests.recordings import record

_WORDS = st.one_of(
    st.decimals(0, 100, places=2).map(lambda number: f"{number}%"),
    st.decimals(0, 1000, places=3).map(lambda number: f"{number} Hz"),
    st.decimals(0, 2, places=4).map(lambda number: f"{number}kHz"),
    st.integers(0, 40).map(lambda number: f"{number} samples"),
)


def _snapshot(counts: list[int], most: int, sampling_ns: int, window_ns: int) -> Snapshot:
    """A snapshot of a region for each count, whose window need not be *most* intervals long."""
    nr_accesses = np.minimum(counts, most).astype(np.int64)
    start = np.arange(len(counts), dtype=np.int64) * (1 << 20)
    zeros = np.zeros(len(counts), np.int64)
    return Snapshot(
        start_ns=0,
        end_ns=window_ns,
        sampling_ns=sampling_ns,
        max_nr_accesses=most,
        targets=(Target(7, "app"),),
        target=zeros.astype(np.int32),
        start=start,
        end=start + 4096,
        nr_accesses=nr_accesses,
        age=zeros,
        touched_bytes=zeros,
        unobservable_bytes=zeros,
    )


def _by_scheme(snapshot: Snapshot, pattern: AccessPattern) -> list[int]:
    bounds = pattern.bounds(snapshot.max_nr_accesses, snapshot.sampling_ns, snapshot.window_ns)
    matched: list[int] = matching(Candidates.all_of(snapshot), bounds).start.tolist()
    return matched


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=10),
    st.integers(1, 40),
    st.integers(10**5, 10**9),
    st.integers(10**7, 10**10),
    _WORDS,
)
def test_the_same_words_select_the_same_regions(
    tmp_path_factory: pytest.TempPathFactory,
    counts: list[int],
    most: int,
    sampling_ns: int,
    window_ns: int,
    words: str,
) -> None:
    snapshot = _snapshot(counts, most, sampling_ns, window_ns)
    recording = record(tmp_path_factory.mktemp("rates") / "r.damon", [snapshot])
    for sign, pattern in (
        (">=", AccessPattern(min_rate=words)),
        ("<=", AccessPattern(max_rate=words)),
    ):
        filtered = analysis.where(recording, f"rate {sign} {words}")
        assert filtered.column("start").tolist() == _by_scheme(snapshot, pattern)


def test_a_rate_in_hz_is_told_by_the_samples_that_were_taken(tmp_path: Path) -> None:
    """With a CPU budget there were 10 samples, one every 110 ms; DAMON's count is of 20."""
    snapshot = _snapshot([0, 10, 20], 20, 110 * 10**6, 1100 * 10**6)
    recording = record(tmp_path / "r.damon", [snapshot])
    rates = analysis.RegionColumns(recording).values("rate_hz")
    assert rates.tolist() == pytest.approx([0, 0.5 / 0.11, 1 / 0.11])
    assert len(analysis.where(recording, "rate >= 9Hz").table) == 1
    # Nothing is above the sampling rate.
    assert len(analysis.where(recording, "rate > 9.1Hz").table) == 0
    assert _by_scheme(snapshot, AccessPattern(min_rate="10Hz")) == []


def test_a_snapshot_with_another_sampling_interval_has_other_thresholds() -> None:
    snapshot = _snapshot([5], 20, 5 * 10**6, 10**8)
    assert _by_scheme(snapshot, AccessPattern(min_rate="50Hz")) == [0]
    slower = replace(snapshot, sampling_ns=10 * 10**6)
    assert _by_scheme(slower, AccessPattern(min_rate="50Hz")) == []


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("3", Rate(3)),
        ("3 samples", Rate(3)),
        (" 5 % ", Rate(5, "%")),
        ("20Hz", Rate(20, "hz")),
        ("0.05 kHz", Rate(50, "hz")),
        (".5%", Rate(0.5, "%")),
    ],
)
def test_rates_from_text(text: str, rate: Rate) -> None:
    assert Rate.of(text) == rate


@pytest.mark.parametrize(
    "value", ["", "%", "101%", "-1", "5 %%", "3 Hz 2", "1e3", "5 parsecs", "9" * 400, 1.5, True, -1]
)
def test_what_is_no_rate_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="not an access rate"):
        Rate.of(value)


def test_a_bare_number_in_a_filter_is_a_share() -> None:
    assert Rate.parse("0.29", bare=("%", 100)) == Rate(29, "%")
    with pytest.raises(UsageError):
        Rate.parse("1.1", bare=("%", 100))
