"""Idle bytes of recordings with ages of pages in some of their snapshots."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pydamon import Recording, Snapshot, analysis, merge_recordings, open_recording
from pydamon._model.carried_ages import CarriedAges, with_ages_of
from tests.recordings import MIB, REDIS, WORKER, aged, record, snapshot, target

S = 10**9
APP = target(9, "app", (0, 64 * MIB, "rw-p", "[heap]"), (64 * MIB, 128 * MIB, "rw-p", "[anon]"))
OLD_PAGES = [(0, 0, 16 * MIB, 0), (0, 30 * S, 48 * MIB, 0), (1, 30 * S, 64 * MIB, 0)]


def window(number: int, *, touched: int = 16, regions: int = 2) -> Snapshot:
    """The heap is in use in part, the rest is not: regions call nothing of the heap idle."""
    size = 128 // regions * MIB
    rows = [
        (0, n * size, (n + 1) * size, 10 if n * size < 64 * MIB else 0, number)
        for n in range(regions)
    ]
    shares = [touched * MIB * 2 // regions if n * size < 64 * MIB else 0 for n in range(regions)]
    taken = snapshot((APP,), rows, number, window_ns=S, touched=shares)
    return dataclasses.replace(taken, resident_bytes=np.full(regions, size))


def with_looks(count: int, every: int = 4) -> list[Snapshot]:
    return [
        aged(window(number), OLD_PAGES) if number % every == every - 1 else window(number)
        for number in range(count)
    ]


def test_means_have_the_ages_of_the_windows_with_looks() -> None:
    """Region ages say 64 MiB at most, and nothing in the first 10 s."""
    recording = Recording.from_snapshots(with_looks(12))
    idle = analysis.idle(recording, (0, 10 * S))
    assert idle.mean_bytes.tolist() == [112 * MIB, 112 * MIB]
    assert idle.last_bytes.tolist() == [112 * MIB, 112 * MIB]
    size = analysis.summary(recording, 10 * S).size
    assert (size.cold, size.idle) == (112 * MIB, 112 * MIB)
    by_name = {each.name: each.size.idle for each in analysis.mappings(recording, 10 * S)}
    assert by_name == {"[heap]": 48 * MIB, "[anon]": 64 * MIB}
    distribution = analysis.distribution(recording, "idle")
    assert distribution.size_bytes[distribution.low >= 10 * S].sum() == 112 * MIB
    assert distribution.size_bytes[0] == 16 * MIB
    assert distribution.percentiles[0] == (0.0, 0.0)


def test_cold_bytes_of_other_windows_are_as_old_as_those_with_looks() -> None:
    """Half of the cold bytes are old in the only look; there were more of them before."""
    ages = [(0, 2 * S, 24 * MIB, 0), (0, 40 * S, 24 * MIB, 0), (1, 2 * S, 64 * MIB, 0)]
    recording = Recording.from_snapshots([window(0, touched=0), aged(window(1), ages)])
    heap = {each.name: each.size for each in analysis.mappings(recording, 10 * S)}["[heap]"]
    assert heap.cold == 56 * MIB
    assert heap.idle == 28 * MIB
    assert analysis.idle(recording, (10 * S,)).mean_bytes.tolist() == [28 * MIB]


def test_idle_bytes_of_mappings_add_up(tmp_path: Path) -> None:
    snapshots = with_looks(30, every=7)
    recording = record(tmp_path / "r.damon", snapshots)
    for idle_ns in (S, 10 * S, 20 * S):
        total = analysis.summary(recording, idle_ns).size
        mappings = analysis.mappings(recording, idle_ns)
        assert total.idle == pytest.approx(sum(each.size.idle for each in mappings))
        assert total.idle == pytest.approx(analysis.idle(recording, (idle_ns,)).mean_bytes[0])
        assert total.idle <= total.cold


def test_the_last_snapshot_has_the_ages_of_the_last_look() -> None:
    recording = Recording.from_snapshots(with_looks(11))
    assert recording.snapshot(-1).page_ages is None
    assert analysis.idle(recording, (10 * S,)).last_bytes.tolist() == [112 * MIB]


def test_old_looks_do_not_count_for_the_last_snapshot() -> None:
    late = [window(number) for number in range(80, 83)]
    recording = Recording.from_snapshots([*with_looks(4), *late])
    assert analysis.idle(recording, (10 * S,)).last_bytes.tolist() == [64 * MIB], "by regions"


def test_chunks_make_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    whole = analysis.idle(record(path, with_looks(40)))
    for each in (open_recording(path), merge_recordings([path])):
        idle = analysis.idle(each)
        assert idle.last_bytes.tolist() == whole.last_bytes.tolist()
        assert idle.mean_bytes.tolist() == whole.mean_bytes.tolist()
        assert idle.longest_ns == whole.longest_ns


def test_nothing_is_idle_for_longer_than_it_was_recorded_or_known() -> None:
    assert analysis.idle(Recording.from_snapshots(with_looks(12))).longest_ns < 32 * S
    long = analysis.idle(Recording.from_snapshots(with_looks(120)))
    assert long.longest_ns == 120 * S - S, "by regions"


def test_targets_without_looks_count_by_regions() -> None:
    """As where recordings of two machines are put together, of which one does not look."""
    rows = [(0, 0, MIB, 0, 30), (1, 0, MIB, 0, 30)]
    taken = snapshot((REDIS, WORKER), rows, window_ns=S)
    recording = Recording.from_snapshots([aged(taken, [(0, 2 * S, MIB, 0)])])
    assert analysis.idle(recording, (S, 10 * S)).last_bytes.tolist() == [2 * MIB, MIB]


def test_ages_are_carried_to_other_regions() -> None:
    looked = aged(window(3), OLD_PAGES)
    later = with_ages_of(window(5, regions=8), looked)
    assert later.page_ages is not None
    assert later.classes.idle(10 * S).tolist() == [12 * MIB] * 4 + [16 * MIB] * 4
    assert not later.page_ages.returned_bytes.any()
    busier = with_ages_of(window(5, touched=60), looked)
    assert busier.classes.idle(10 * S).tolist() == [4 * MIB, 64 * MIB], "no more than is cold"


def test_ages_are_carried_by_target() -> None:
    ages = [(0, 30 * S, MIB, 0), (1, 0, MIB, 0)]
    rows = [(0, 0, MIB, 0, 1), (1, 0, MIB, 0, 1)]
    looked = aged(snapshot((REDIS, WORKER), rows, window_ns=S), ages)
    others = snapshot((WORKER, APP, REDIS), [(n, 0, MIB, 0, 1) for n in range(3)], 1, window_ns=S)
    assert with_ages_of(others, looked).classes.idle(10 * S).tolist() == [0, 0, MIB]


def test_ages_hold_for_a_minute() -> None:
    carried = CarriedAges()
    assert carried.add(window(0)).page_ages is None
    assert carried.add(aged(window(1), OLD_PAGES)).page_ages is not None
    assert carried.add(window(2)).page_ages is not None
    assert carried.add(window(70)).page_ages is None


def test_working_sets_within_times_count_pages() -> None:
    """16 MiB are in use; 48 MiB of the same region were used 30 s ago, which no window tells."""
    looks = [
        aged(window(number), OLD_PAGES, since_ns=window(number).end_ns - 4 * S)
        if number % 4 == 3
        else window(number)
        for number in range(60)
    ]
    within = analysis.working_sets_within(Recording.from_snapshots(looks), [S, 10 * S, 50 * S])
    last = [int(each.total.size_bytes[-1]) // MIB for each in within.working_sets]
    assert last == [16, 16, 128]
    first = [int(each.total.size_bytes[4]) // MIB for each in within.working_sets]
    assert first == [16, 16, 16], "what was before the recording does not count"


def test_a_recording_without_looks_has_no_pages() -> None:
    recording = Recording.from_snapshots([window(number) for number in range(20)])
    assert not recording.snapshot(-1).classes.is_looked.any()
    assert analysis.idle(recording, (10 * S,)).last_bytes.tolist() == [64 * MIB]
