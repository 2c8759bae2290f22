"""The ages in frames: they agree with `analysis.idle`, and hold from one look to the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import analysis
from pydamon._model.snapshot import Snapshot
from pydamon._show.frames import AGE_EDGES_NS, SUMS, Frame, History, Replay, fold, frame_of
from tests.recordings import MIB, MS, aged, record, snapshot, target

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
