"""The ages in frames: they agree with `analysis.idle`, and hold from one look to the next."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pydamon import analysis
from pydamon._model.snapshot import Snapshot
from pydamon._show.frames import AGE_EDGES_NS, SUMS, Frame, History, Replay, feed, fold, frame_of
from pydamon._show.frames import series as series_module
from pydamon._show.frames.figures import AGE_COLOURS, figures, line
from pydamon._show.frames.series import AgeSeriesFold
from pydamon._show.pictures.memory import STYLE
from tests.recordings import MIB, MS, aged, record, snapshot, target
from tests.unit.show.aged_source import APP as BUSY_APP
from tests.unit.show.aged_source import moment

S = 10**9
APP = target(
    7,
    "app",
    (16 * MIB, 24 * MIB, "rw-p", "[heap]"),
    (64 * MIB, 72 * MIB, "rw-p", "libexample.so"),
)
OTHER = target(9, "other", (16 * MIB, 20 * MIB, "rw-p", "[heap]"))
REGIONS = [
    (0, 16 * MIB, 24 * MIB, 20, 1),
    (0, 64 * MIB, 72 * MIB, 0, 400),
    (1, 16 * MIB, 20 * MIB, 5, 3),
]
AGES = [
    (0, 50 * MS, 2 * MIB, 0),
    (0, 5 * S, 1 * MIB, 0),
    (0, 30 * S, 5 * MIB, 0),
    (1, 2000 * S, 8 * MIB, 0),
    (2, 0, 3 * MIB, 0),
]


def looked(number: int) -> Snapshot:
    return aged(plain(number), AGES)


def plain(number: int) -> Snapshot:
    return snapshot((APP, OTHER), REGIONS, number, touched=(2 * MIB, 0, 3 * MIB))


def mib(frame: Frame, row: int = 0) -> list[float]:
    return [round(amount / MIB, 3) for amount in frame.ages.sizes[row].tolist()]


def test_pages_are_split_by_their_ages() -> None:
    frame = frame_of([looked(0)])
    assert mib(frame) == [2, 1, 5, 0, 8, 0]
    assert mib(frame, 1) == [4, 0, 0, 0, 0, 0], "nobody knows that the fourth MiB is idle"
    assert frame.ages.followed_share.tolist() == [1, 1]
    assert frame.ages.idle_bytes(0, 10 * S) == pytest.approx(13 * MIB)
    sizes = frame.age_sizes(OTHER)
    assert sizes is not None
    assert sizes.sum() == 4 * MIB
    assert frame.age_sizes(target(8, "nobody")) is None


def test_mappings_are_idle_by_pages_too() -> None:
    frame = frame_of([looked(0)])
    idle = {
        (frame.targets[t].pid, frame.names[n]): amount / MIB
        for t, n, amount in zip(
            frame.sum_target.tolist(),
            frame.sum_name.tolist(),
            frame.sums[:, SUMS.index("idle")].tolist(),
            strict=True,
        )
    }
    assert idle == pytest.approx({(7, "[heap]"): 5, (7, "libexample.so"): 8, (9, "[heap]"): 0})


def test_the_last_look_holds_until_the_next() -> None:
    history = History(frame_ns=100 * MS)
    later = aged(snapshot((APP, OTHER), REGIONS, 4), [(0, 0, 8 * MIB, 0), (1, 5 * S, 8 * MIB, 0)])
    for taken in (plain(0), looked(1), plain(2), plain(3), later):
        history.add(taken)
    frames = history.frames()
    assert [frame.ages.followed_share[0] for frame in frames] == [0, 1, 1, 1, 1]
    assert mib(frames[1]) == mib(frames[2]) == mib(frames[3]) == [2, 1, 5, 0, 8, 0]
    assert frames[3].sums == pytest.approx(frames[1].sums)
    assert mib(frames[4]) == [8, 8, 0, 0, 0, 0]


def test_memory_that_comes_and_goes_between_looks() -> None:
    grown = snapshot((APP,), [(0, 16 * MIB, 24 * MIB, 20, 1), (0, 64 * MIB, 84 * MIB, 0, 9)], 1)
    shrunk = snapshot((APP,), [(0, 16 * MIB, 24 * MIB, 20, 1)], 2)
    history = History(frame_ns=100 * MS)
    for taken in (looked(0), grown, shrunk):
        history.add(taken)
    first, second, third = history.frames()
    assert mib(second) == [*mib(first)[:5], 12], "new memory has no age yet"
    assert mib(third) == [1, 0.5, 2.5, 0, 4, 0], "half of the memory is gone"
    assert len(second.targets) == 1


@pytest.mark.long
@pytest.mark.parametrize("replayed", [False, True])
def test_old_looks_say_less_than_regions(tmp_path: Path, replayed: bool) -> None:
    """As in reports: what a look says holds for a minute."""
    taken = [looked(0), *map(plain, range(1, 800))]
    history = History(frame_ns=100 * MS, recent=800)
    for each in taken:
        history.add(each)
    if replayed:
        history = History.of(record(tmp_path / "r.damon", taken), most=800)
    shares = [frame.ages.followed_share[0] for frame in history.frames()]
    assert shares == [1.0] * 601 + [0.0] * 199
    idle = SUMS.index("idle")
    assert history.frames()[-1].sums[:, idle] == pytest.approx(frame_of(taken[-1:]).sums[:, idle])
    frame = fold(history.frames())
    assert History.of(record(tmp_path / "r.damon", taken), most=1).frames()[
        0
    ].ages.sizes == pytest.approx(frame.ages.sizes)


def test_a_process_with_the_same_pid_is_another_one() -> None:
    history = History(frame_ns=100 * MS)
    other = target(7, "new", (16 * MIB, 24 * MIB, "rw-p", "[heap]"))
    for taken in (looked(0), snapshot((other,), [(0, 16 * MIB, 24 * MIB, 20, 1)], 1)):
        history.add(taken)
    assert history.frames()[-1].ages.followed_share.tolist() == [0]


ages_of_region = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from((0, S // 2, 3 * S, 20 * S, 90 * S, 9000 * S))),
    max_size=8,
)


@given(st.lists(st.none() | ages_of_region, min_size=1, max_size=6))
def test_all_resident_memory_has_one_class(looks: list[list[tuple[int, int]] | None]) -> None:
    snapshots = []
    for number, ages in enumerate(looks):
        taken = plain(number)
        if ages is not None:
            taken = aged(taken, [(region, idle_ns, MIB // 2, 0) for region, idle_ns in ages])
        snapshots.append(taken)
    for frame in (frame_of(snapshots), fold([frame_of([taken]) for taken in snapshots])):
        assert (frame.ages.sizes >= 0).all()
        totals = np.bincount(frame.sum_target, frame.sums[:, SUMS.index("total")])
        assert frame.ages.sizes.sum(axis=1) == pytest.approx(totals)


@pytest.mark.parametrize("pages", [False, True])
def test_ages_agree_with_the_report(tmp_path: Path, pages: bool) -> None:
    taken = [looked(number) if pages else plain(number) for number in range(3)]
    recording = record(tmp_path / "r.damon", taken)
    frame = frame_of(taken[-1:])
    report = analysis.idle(recording, AGE_EDGES_NS)
    for edge_ns, idle_bytes in zip(AGE_EDGES_NS, report.last_bytes.tolist(), strict=True):
        told = sum(frame.ages.idle_bytes(row, edge_ns) for row in range(2))
        assert told == pytest.approx(idle_bytes)
    replayed = Replay(recording).history.frames()[-1]
    assert replayed.ages.sizes == pytest.approx(frame.ages.sizes)
    assert replayed.ages.followed_share == pytest.approx(frame.ages.followed_share)
    assert replayed.sums == pytest.approx(frame.sums)


def test_a_recording_is_split_as_it_was_seen(tmp_path: Path) -> None:
    """Also where a frame sums up several snapshots, with looks in some of them."""
    taken = [looked(number) if number % 4 == 2 else plain(number) for number in range(24)]
    recording = record(tmp_path / "r.damon", taken)
    live = History(frame_ns=100 * MS)
    for each in taken:
        live.add(each)
    replayed = Replay(recording).history.frames()
    assert len(replayed) == 24
    for ours, theirs in zip(live.frames(), replayed, strict=True):
        assert ours.ages.sizes == pytest.approx(theirs.ages.sizes)
        assert ours.sums == pytest.approx(theirs.sums)
    few = History.of(recording, most=4).frames()
    assert fold(few).ages.sizes == pytest.approx(fold(replayed).ages.sizes)


def test_needs_are_those_of_the_recording(tmp_path: Path) -> None:
    ages = [(0, 50 * MS, 8 * MIB, 4096), (1, 20 * S, 8 * MIB, 0)]
    taken = [
        aged(snapshot((APP, OTHER), REGIONS, number, window_ns=S), ages) for number in range(60)
    ]
    recording = record(tmp_path / "r.damon", taken)
    live = History()
    assert live.needs is None
    for each in taken:
        live.add(each)
    expected = analysis.needs(recording)
    for history in (live, Replay(recording).history):
        curve = history.needs_of(APP)
        assert curve is not None
        assert curve.kept_bytes.tolist() == expected.targets[0].kept_bytes.tolist()
        assert history.needs_of(target(8, "nobody")) is None
    without = Replay(record(tmp_path / "p.damon", [plain(0)])).history
    assert without.needs is None
    assert without.needs_of(APP) is None


def test_processes_that_come_and_go_do_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "_MOST_NEEDS", 20)
    history = History()
    for number in range(100):
        short = target(1000 + number, "short", (16 * MIB, 17 * MIB, "rw-p", "[heap]"))
        regions = [(0, 16 * MIB, 24 * MIB, 20, 1), (1, 16 * MIB, 17 * MIB, 20, 1)]
        taken = snapshot((APP, short), regions, number, window_ns=S)
        history.add(aged(taken, [(0, 0, 8 * MIB, 0), (1, 0, MIB, 0)]))
        assert history.needs is not None
        assert len(history.needs.targets) <= 20 + 2
    assert history.needs_of(APP) is not None


def test_figures_are_read_in_two_seconds() -> None:
    sizes = [102 * MIB, 17 * MIB, 10 * MIB, 200 * MIB, 8 * MIB, 0.0]
    assert line(figures(sizes, 60 * S)) == (
        "337 MiB resident, 119 MiB used within 10 s, 218 MiB idle for 10 s"
    )
    assert line(figures(sizes, 5 * S)) == (
        "337 MiB resident, 102 MiB used within 1 s, 235 MiB idle for 1 s"
    ), "nobody knows yet what is idle for 10 s"
    assert line(figures(sizes, S // 2)) == "337 MiB resident"
    assert "8 MiB of unknown age" in line(figures([MIB, 0, 0, 0, 0, 8 * MIB], 60 * S))
    history = History()
    for number in range(120):
        history.add(moment(number))
    told = line(figures([MIB, 0, 0, 0, 0, 0], 60 * S, history.needs_of(BUSY_APP)))
    assert told == "1 MiB resident, 1 MiB used within 10 s, 0 B idle for 10 s; needs 5 MiB"


def test_the_whole_recording_is_one_series(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", map(moment, range(200)))
    frames = Replay(recording).history.frames()
    series = AgeSeriesFold()
    for first in range(0, 200, 50):
        wanted = np.arange(200) // 50 == first // 50
        series.add(recording.pick_snapshots(wanted))
    points = series.series()
    assert len(points) == 200
    sizes = np.concatenate([frame.ages.sizes for frame in frames])
    assert points.split.sizes == pytest.approx(sizes)
    thin = points.thinned(60)
    assert len(thin) == 50
    assert thin.split.sizes.mean(axis=0) == pytest.approx(sizes.mean(axis=0))
    assert (thin.start_ns[0], thin.end_ns[-1]) == (points.start_ns[0], points.end_ns[-1])


def test_a_long_series_takes_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_module, "_MOST_POINTS", 20)
    recording = record(tmp_path / "r.damon", map(moment, range(200)))
    fold_of_chunks = AgeSeriesFold()
    for number in range(200):
        fold_of_chunks.add(recording.pick_snapshots(np.arange(200) == number))
        assert len(fold_of_chunks.series()) <= 40
    sizes = fold_of_chunks.series().split.sizes
    assert sizes.sum(axis=1) == pytest.approx(16 * MIB)


# Colours.

MACHADO = {
    "all colours": np.eye(3),
    "no red": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "no green": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "no blue": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
"""Linear colours as eyes without one kind of cones see them (Machado et al., 2009)."""


def linear(colour: str) -> NDArray[np.float64]:
    channels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB: lightness from 0 to 100, and two axes of colour."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(channels, 0, 1) / (0.9505, 1, 1.0888)
    cubed = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = cubed.tolist()
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", MACHADO)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_tell_the_colours_apart(theme: str, eyes: str) -> None:
    *ages, unknown = (lab(MACHADO[eyes] @ linear(colour)) for colour in AGE_COLOURS[theme])
    lightness = [float(colour[0]) for colour in ages]
    steps = np.diff(lightness) * (1 if theme == "light" else -1)
    assert (steps > 4).all(), lightness
    if eyes == "all colours":
        assert (steps > 10).all(), lightness
    for colour, next_colour in itertools.pairwise(ages):
        assert np.linalg.norm(colour - next_colour) > 15
    for colour in ages:
        assert np.linalg.norm(colour - unknown) > 20


@pytest.mark.parametrize(("theme", "paper"), [("light", "#ffffff"), ("dark", "#17161c")])
def test_what_is_used_stands_out_most(theme: str, paper: str) -> None:
    def contrast(colour: str) -> float:
        pair = sorted(float(linear(c) @ (0.2126, 0.7152, 0.0722)) for c in (colour, paper))
        return (pair[1] + 0.05) / (pair[0] + 0.05)

    contrasts = [contrast(colour) for colour in AGE_COLOURS[theme][:-1]]
    assert contrasts == sorted(contrasts, reverse=True)
    assert contrasts[2] > 3
    assert contrasts[-1] > 1.4


def test_pages_have_the_same_colours() -> None:
    light, dark = STYLE.read_text().split("prefers-color-scheme: dark")
    for theme, style in (("light", light), ("dark", dark)):
        told = dict(re.findall(r"--age(\d): (#[0-9a-f]{6})", style))
        assert tuple(told[str(number)] for number in range(6)) == AGE_COLOURS[theme]
