"""Axes of a heat map with the time of day and more addresses: `report heatmap --absolute`.

Private names: `labelled_ticks` and `picture`, which are what is tested.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import UsageError, analysis, read_recording
from pydamon._show.pictures.draw import picture
from pydamon._show.text import labelled_ticks
from tests.command_line import run_report
from tests.recordings import BEGIN_NS, MIB, record, snapshot, target

APP = target(7, "app", (MIB, 65 * MIB, "rw-p", "[heap]"))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    file = tmp_path / "r.damon"
    record(file, [snapshot((APP,), [(0, MIB, 65 * MIB, 20, n)], n) for n in range(60)])
    monkeypatch.setenv("COLUMNS", "120")
    return str(file)


def edges(begin_ns: int, duration_ns: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([begin_ns, begin_ns + duration_ns], np.int64)


@given(st.integers(10**18, 2 * 10**18), st.integers(1, 10**15), st.integers(1, 40))
def test_ticks_of_the_clock_lie_in_the_time_and_in_order(
    begin_ns: int, duration_ns: int, most: int
) -> None:
    ticks = labelled_ticks(edges(begin_ns, duration_ns), most, absolute=True)
    places = [place for place, _ in ticks]
    assert len(ticks) <= most + 1
    assert places == sorted(set(places))
    assert all(0 <= place < duration_ns for place in places)


def test_ticks_stand_at_round_times_of_day() -> None:
    begin_ns = 1_750_000_003 * 10**9 + 250_000_000
    ticks = labelled_ticks(edges(begin_ns, 20 * 10**9), 4, absolute=True)
    assert [place / 1e9 for place, _ in ticks] == [1.75, 6.75, 11.75, 16.75]
    assert all(int(label[-2:]) % 5 == 0 for _, label in ticks)


def test_a_clock_that_starts_with_the_machine_shows_seconds() -> None:
    ticks = labelled_ticks(edges(82_877 * 10**9, 2 * 10**9), 2, absolute=True)
    assert [label for _, label in ticks] == ["82877 s", "82878 s"]


def test_every_fourth_line_has_its_address(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("heatmap", path, "--range", "all", "--height", "16")
    assert run_report(*words) == 0
    relative = capsys.readouterr().out
    assert run_report(*words, "--absolute") == 0
    absolute = capsys.readouterr().out
    before, after = (
        [line.split("│") for line in text.splitlines() if "│" in line]
        for text in (relative, absolute)
    )
    addresses = [int(parts[0], 16) for parts in after if parts[0].strip()]
    assert addresses == [MIB + number * 16 * MIB for number in range(4)]
    assert [parts[1] for parts in before] == [parts[1] for parts in after]
    assert " from 20" in absolute
    assert " from 20" not in relative


def test_a_picture_has_addresses_in_even_distances(path: str) -> None:
    heatmap = analysis.heatmap(read_recording(path), 320, 200, addresses="all")
    plain, absolute = (
        [label.text for label in picture(heatmap, absolute=flag).labels] for flag in (False, True)
    )
    hexadecimal = {f"{address:x}" for address in heatmap.row_addresses.tolist()}
    assert len(hexadecimal & set(plain)) == 1
    assert len(hexadecimal & set(absolute)) >= 8


@pytest.mark.parametrize("words", [("--json",), ("--out", "heat.html")])
def test_what_is_absolute_anyway_refuses_the_option(path: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="absolute times and addresses anyway"):
        run_report("heatmap", path, "--absolute", *words)


def test_recordings_of_tests_have_unix_time() -> None:
    assert BEGIN_NS > 10**17
