"""How much memory programs need: against pages whose ages are known.

Private names: limits on the size of chunks, batches and slots, which a test makes small.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydamon import (
    Attrs,
    Recording,
    RecordingError,
    RecordingInfo,
    Snapshot,
    Target,
    UsageError,
    open_recording,
)
from pydamon._data.analysis import look_sums
from pydamon._data.recording import DerivedFile, RecordingFile
from pydamon.analysis import Needs, NeedsCurve, NeedsOfSnapshots, NeedsPoint, needs
from tests.ages import COMB, comb, joined_ages
from tests.recordings import MIB, aged, record, snapshot

S, KIB = 10**9, 1024
OTHER = Target(8, "other")


def at(result: Needs, idle_s: float) -> NeedsPoint:
    point = result.total.at(round(idle_s * S))
    assert point is not None
    return point


def test_a_comb() -> None:
    result = needs(Recording.from_snapshots(comb()))
    assert result.longest_ns == 60 * S
    assert result.shortest_ns == 2 * S
    assert at(result, 4).refaults_per_s == pytest.approx(512, rel=0.02)
    assert at(result, 10).refaults_per_s == 0
    assert at(result, 10).kept_bytes == pytest.approx(32 * MIB, rel=0.01)
    assert result.total.resident_bytes == 256 * MIB
    point = result.point()
    assert point is not None
    assert 8 * S < point.idle_ns < 11 * S
    assert point.refaults_per_s == 0
    assert result.point(600) != point
    assert result.total.at(S) is result.total.at(61 * S) is None


@pytest.mark.parametrize(("probe", "why"), [("refs", "whole mappings"), ("kernel", "regions")])
def test_a_recording_without_ages_says_what_to_do(probe: str, why: str) -> None:
    info = RecordingInfo(Attrs(), probe, 0)
    with pytest.raises(RecordingError, match=f"no ages of pages.*{why}, not") as caught:
        needs(Recording.from_snapshots([snapshot([COMB], [(0, 0, 4 * MIB, 1, 1)])], info))
    assert "record again" in (caught.value.hint or "")


def test_a_rate_is_tolerated() -> None:
    result = needs(Recording.from_snapshots(comb()))
    # 0.2 % a minute of the 32 MiB that are in use within a minute.
    assert result.total.tolerated_per_s == pytest.approx(0.002 * 8192 / 60, rel=0.01)
    shortest = result.point(513)
    assert shortest == result.total.points[0]
    assert result.point(511) == result.point() == result.point(0)
    busy = needs(Recording.from_snapshots(comb(7)))
    assert busy.point() is None
    with pytest.raises(UsageError, match="not negative"):
        result.point(-1)


def test_pages_are_those_of_the_machine_that_was_recorded() -> None:
    large = RecordingInfo(Attrs(), "trace", 0, page_size=64 * KIB)
    small = RecordingInfo(Attrs(), "trace", 0, page_size=4 * KIB)
    results = [needs(Recording.from_snapshots(comb(), facts)) for facts in (small, large)]
    rates = [at(result, 4).refaults_per_s for result in results]
    assert rates[0] == pytest.approx(16 * rates[1])
    tolerated = [result.total.tolerated_per_s for result in results]
    assert tolerated[0] == pytest.approx(16 * tolerated[1])


def test_the_longest_time_that_fits() -> None:
    total = needs(Recording.from_snapshots(comb())).total
    assert total.fit(MIB) is None
    fitting = total.fit(40 * MIB)
    assert fitting == total.points[-1]
    less = total.fit(30 * MIB)
    assert less is not None
    assert less.kept_bytes <= 30 * MIB
    assert less.refaults_per_s == pytest.approx(512, rel=0.02)


def test_the_start_of_a_recording_says_nothing_about_long_times() -> None:
    """Pages that were never seen in use are not in use, however short the recording is."""
    for seconds in (12, 24, 200):
        result = needs(Recording.from_snapshots(comb(seconds)))
        assert at(result, 10).kept_bytes == pytest.approx(32 * MIB, rel=0.01)


def test_looks_that_are_further_apart_know_less() -> None:
    result = needs(Recording.from_snapshots(comb(120, step_s=3)))
    assert result.look_distance_ns == 3 * S
    assert result.shortest_ns == 6 * S
    assert result.total.at(4 * S) is None
    assert at(result, 6.5).refaults_per_s == pytest.approx(512, rel=0.05)


def test_a_part_of_the_memory_has_a_deviation() -> None:
    whole = needs(Recording.from_snapshots(comb()))
    part = needs(Recording.from_snapshots(comb(followed_share=0.25)))
    assert whole.total.kept_deviation_bytes.max() == whole.total.refaults_deviation_per_s.max() == 0
    assert part.followed_share == 0.25
    # sqrt((1 - 0.25) * 1/8 * 7/8 / 32): 32 of the 128 blocks are followed.
    assert at(part, 10).kept_deviation_bytes == pytest.approx(0.0506 * 256 * MIB, rel=0.02)
    assert at(part, 4).refaults_deviation_per_s > 0
    assert at(part, 4).kept_bytes == at(whole, 4).kept_bytes


def two(first_kib: int, second_kib: int, seconds: int = 20) -> Iterator[Snapshot]:
    """Two targets of 1 MiB: of each, so much is always in use, and the rest never."""
    for second in range(seconds + 1):
        regions = [(0, 0, MIB, 0, 0), (1, 0, MIB, 0, 0)]
        plain = snapshot([COMB, OTHER], regions, second, window_ns=S)
        ages = [
            (region, idle_ns, amount * KIB, 0)
            for region, used in enumerate((first_kib, second_kib))
            for idle_ns, amount in ((0, used), (second * S, 1024 - used))
        ]
        yield aged(plain, joined_ages(ages))


def test_all_targets_together() -> None:
    result = needs(Recording.from_snapshots(two(100, 300)))
    point = result.point()
    assert point is not None
    assert point.kept_bytes == 400 * KIB
    each = [curve.at(point.idle_ns) for curve in result.targets]
    assert [point.kept_bytes for point in each if point] == [100 * KIB, 300 * KIB]
    assert [curve.target for curve in result.targets] == [COMB, OTHER]
    only = needs(Recording.from_snapshots(two(100, 300)).of_pid(8))
    assert only.total.kept_bytes.tolist() == result.targets[1].kept_bytes.tolist()


def test_memory_that_targets_share_counts_once() -> None:
    shared = []
    for each in two(100, 300):
        object.__setattr__(each, "resident_bytes", np.array([MIB, MIB]))
        object.__setattr__(each, "repeated_bytes", np.array([0, MIB // 2]))
        shared.append(each)
    result = needs(Recording.from_snapshots(shared))
    assert result.total.resident_bytes == MIB + MIB // 2
    assert [curve.resident_bytes for curve in result.targets] == [MIB, MIB]
    point = result.point()
    assert point is not None
    assert point.kept_bytes == 400 * KIB, "what is shared counts where it was used last"


def test_a_target_that_was_watched_for_less_is_kept_beyond_that() -> None:
    steps = [each if n >= 10 else each.of_target(0) for n, each in enumerate(two(0, 0))]
    result = needs(Recording.from_snapshots(steps))
    assert result.longest_ns == 20 * S
    assert [curve.longest_ns for curve in result.targets] == [20 * S, 10 * S]
    # The second stands for 11 of the 21 seconds, and nobody knows what of it is idle for 15 s.
    assert at(result, 15).kept_bytes == pytest.approx(MIB * 11 / 21, rel=0.01)
    assert at(result, 9).kept_bytes == 0


def test_the_largest_need_of_a_tenth() -> None:
    """Everything is in use for the sixth tenth of the time."""
    steps = []
    for second in range(1001):
        busy = 500 <= second < 600
        plain = snapshot([COMB], [(0, 0, MIB, 0, 0)], second, window_ns=S)
        idle_s = 0 if busy else second if second < 500 else second - 599
        back = MIB if second == 500 else 0
        ages = [(0, idle_s * S, MIB, 0), (0, 500 * S, 0, back)]
        steps.append(aged(plain, joined_ages(ages)))
    result = needs(Recording.from_snapshots(steps))
    point = result.point(1)
    assert point is not None
    peak = result.peak(point)
    assert peak is not None
    assert 90 * S < peak.period_ns < 110 * S
    assert peak.kept_bytes > 0.8 * MIB
    assert point.kept_bytes < 0.2 * MIB
    busy_ns = steps[500].end_ns
    assert abs(peak.kept_begin_ns - busy_ns) < 110 * S
    assert peak.refaults_per_s == pytest.approx(256 / 100, rel=0.2)
    nothing = needs(Recording.from_snapshots(comb(12)))
    assert nothing.peak(NeedsPoint(12 * S, 0, 0.0)) is None


def test_a_look_that_is_there_twice_counts_once() -> None:
    once, twice = NeedsOfSnapshots(), NeedsOfSnapshots()
    for each in comb():
        once.add(each)
        twice.add(each)
        twice.add(each)
    assert_same(once.result(), twice.result())


def test_too_short_a_recording_has_no_points() -> None:
    result = needs(Recording.from_snapshots(comb(1)))
    assert result.total.points == ()
    assert result.point() is None
    assert result.total.at(S) is None


COLUMNS = ("kept_bytes", "refaults_per_s", "kept_deviation_bytes", "refaults_deviation_per_s")


def assert_same(first: Needs, second: Needs) -> None:
    pairs = zip((first.total, *first.targets), (second.total, *second.targets), strict=True)
    for one, other in pairs:
        assert one.target == other.target
        assert one.resident_bytes == other.resident_bytes
        assert one.idle_ns.tolist() == other.idle_ns.tolist()
        for name in COLUMNS:
            assert getattr(one, name) == pytest.approx(getattr(other, name))
    names = ("watched_ns", "look_distance_ns", "shortest_ns", "longest_ns", "followed_share")
    for name in names:
        assert getattr(first, name) == pytest.approx(getattr(second, name)), name
    for point in first.total.points:
        assert first.peak(point) == second.peak(point)


AMOUNTS = st.integers(0, 2**20).map(lambda pages: pages * 4 * KIB)
IDLE_NS = st.integers(0, 200 * S)


@st.composite
def recorded(draw: st.DrawFn) -> list[Snapshot]:
    """Snapshots of one or two targets: some have ages, of any size and any time."""
    made, now_ns, looked_ns = [], 0, 0
    for number in range(draw(st.integers(2, 25))):
        targets = draw(st.sampled_from([[COMB], [COMB, OTHER]]))
        regions = [(index, 0, 2**40, 0, 0) for index in range(len(targets))]
        plain = snapshot(targets, regions, number, window_ns=S)
        now_ns = plain.end_ns
        if draw(st.booleans()):
            ages = draw(
                st.lists(
                    st.tuples(st.integers(0, len(targets) - 1), IDLE_NS, AMOUNTS, AMOUNTS),
                    min_size=1,
                    max_size=12,
                )
            )
            share = draw(st.sampled_from([1.0, 0.5]))
            since_ns = looked_ns or plain.start_ns
            made.append(aged(plain, joined_ages(ages), since_ns=since_ns, followed_share=share))
            looked_ns = now_ns
        else:
            made.append(plain)
    return made


def check_curve(curve: NeedsCurve) -> None:
    assert (np.diff(curve.kept_bytes) >= 0).all()
    assert (np.diff(curve.refaults_per_s) <= 0).all()
    assert (curve.kept_bytes >= 0).all()
    assert (curve.kept_bytes <= curve.resident_bytes + 1).all()
    assert (curve.refaults_per_s >= 0).all()
    assert np.isfinite(curve.refaults_deviation_per_s).all()
    if len(curve.idle_ns):
        assert curve.shortest_ns <= curve.idle_ns[0] <= curve.idle_ns[-1] <= curve.longest_ns


@settings(deadline=None)
@given(recorded())
def test_a_longer_time_keeps_more_and_brings_less_back(steps: list[Snapshot]) -> None:
    live = NeedsOfSnapshots()
    for each in steps:
        live.add(each)
    result = live.result()
    for curve in (result.total, *result.targets):
        check_curve(curve)
    recording = Recording.from_snapshots(steps)
    if any(each.page_ages is not None and len(each.page_ages.region) for each in steps):
        try:
            from_recording = needs(recording)
        except RecordingError:  # all ages were of 0 bytes
            assert not result.watched_ns
            return
        assert from_recording.total.kept_bytes.tolist() == result.total.kept_bytes.tolist()


class Cut(DerivedFile):
    """A recording in chunks of *size* snapshots."""

    def __init__(self, file: RecordingFile, size: int) -> None:
        super().__init__(file)
        self._size = size

    def __iter__(self) -> Iterator[Recording]:
        for chunk in super().__iter__():
            numbers = np.arange(len(chunk)) // self._size
            for number in range(int(numbers[-1]) + 1):
                yield chunk.pick_snapshots(numbers == number)

    def sorted(self) -> RecordingFile:
        return self


def test_chunks_snapshots_and_the_whole_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = comb(40, followed_share=0.5)
    whole = record(tmp_path / "r.damon", steps)
    result = needs(whole)
    live = NeedsOfSnapshots()
    for each in steps:
        live.add(each)
    assert_same(result, live.result())
    for size in (1, 7):
        assert_same(result, needs(Cut(open_recording(tmp_path / "r.damon"), size)))
    monkeypatch.setattr(look_sums, "_BATCH", 3)
    monkeypatch.setattr(look_sums, "_MOST_SLOTS", 20)
    batched = needs(whole)
    for name in COLUMNS:
        assert getattr(batched.total, name) == pytest.approx(getattr(result.total, name))
