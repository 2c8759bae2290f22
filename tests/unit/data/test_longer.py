"""Longer snapshots (`slice --aggr`) and recordings without their first ones (`slice --skip`).

Private names: the bound on pieces, which a test makes small.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pydamon
from pydamon import Recording, Snapshot, UsageError, analysis
from pydamon._data.analysis import windows as windows_module
from tests.command_line import main
from tests.recordings import BEGIN_NS, MIB, MS, aged, info, record, snapshot, target

PAGE = 4096
APP = target(7, "app", (0, 64 * PAGE, "rw-p", "[heap]"), (64 * PAGE, 128 * PAGE, "r--p", "lib.so"))
WORKER = target(8, "worker")


@st.composite
def some_snapshots(draw: st.DrawFn, targets: int = 2) -> list[Snapshot]:
    """Snapshots of 100 ms, with regions and gaps that change all the time."""
    snapshots = []
    for number in range(draw(st.integers(1, 25))):
        regions: list[tuple[int, int, int, int, int]] = []
        touched: list[int] = []
        for which in range(targets):
            borders = draw(st.lists(st.integers(0, 127), min_size=2, max_size=8, unique=True))
            borders.sort()
            for low, high in itertools.pairwise(borders):
                if draw(st.integers(0, 4)) == 0 and regions:
                    continue  # a gap
                nr_accesses = draw(st.sampled_from([0, 0, 1, 7, 20]))
                regions.append(
                    (which, low * PAGE, high * PAGE, nr_accesses, draw(st.integers(0, 9)))
                )
                pages = draw(st.integers(1, high - low)) if nr_accesses else 0
                touched.append(pages * PAGE)
        used = {region[0] for region in regions}
        if used != set(range(targets)):
            continue
        snapshots.append(snapshot((APP, WORKER)[:targets], regions, number, touched=touched))
    return snapshots


def pages_of(whole: Snapshot, which: int) -> Iterator[tuple[int, int]]:
    """The pages of a target, and the region that each is in."""
    for index in np.flatnonzero(whole.target == which).tolist():
        for page in range(int(whole.start[index]) // PAGE, int(whole.end[index]) // PAGE):
            yield page, index


def index_of(snapshots: Snapshot, pid: int) -> int:
    return next(i for i, each in enumerate(snapshots.targets) if each.pid == pid)


@settings(deadline=None, max_examples=25)
@given(some_snapshots(), st.integers(2, 20))
def test_every_page_has_the_means_of_its_windows(snapshots: list[Snapshot], count: int) -> None:
    if not snapshots:
        return
    recording = Recording.from_snapshots(snapshots, info())
    began_ns = snapshots[0].start_ns
    longer = analysis.aggregate(recording, count * 100 * MS)
    for whole in longer.snapshots():
        number = (int(whole.end_ns) - 1 - began_ns) // (count * 100 * MS)
        parts = [
            each
            for each in snapshots
            if ((each.start_ns + each.end_ns) // 2 - began_ns) // (count * 100 * MS) == number
        ]
        assert whole.start_ns == parts[0].start_ns
        assert whole.end_ns == parts[-1].end_ns
        assert whole.max_nr_accesses == 20 * len(parts)
        for pid in (7, 8):
            check_target(whole, parts, pid)


def check_target(whole: Snapshot, parts: list[Snapshot], pid: int) -> None:
    seen: dict[int, list[tuple[Snapshot, int]]] = {}
    for part in parts:
        for page, index in pages_of(part, index_of(part, pid)):
            seen.setdefault(page, []).append((part, index))
    pages = dict(pages_of(whole, index_of(whole, pid)))
    assert pages.keys() == seen.keys()
    for page, index in pages.items():
        shares = [float(part.access_share[i]) for part, i in seen[page]]
        assert whole.access_share[index] == pytest.approx(sum(shares) / len(shares), abs=1e-6)
        touched = max(int(part.touched_bytes[i]) / int(part.size[i]) for part, i in seen[page])
        assert whole.touched_bytes[index] == pytest.approx(touched * whole.size[index], abs=1)
        was_accessed = any(part.nr_accesses[i] > 0 for part, i in seen[page])
        assert (whole.nr_accesses[index] > 0) == was_accessed
        last, i = seen[page][-1]
        stays = (last.nr_accesses[i] > 0) == was_accessed
        assert whole.age_ns[index] == (last.age_ns[i] if stays else 0)


@settings(deadline=None, max_examples=40)
@given(some_snapshots(targets=1))
def test_joining_alike_neighbours_keeps_the_totals(snapshots: list[Snapshot]) -> None:
    if not snapshots:
        return
    recording = Recording.from_snapshots(snapshots, info())
    exact = analysis.aggregate(recording, 10**9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows_module, "_LEAST_REGIONS", 1)
        patch.setattr(windows_module, "_PIECES_PER_REGION", 1)
        joined = analysis.aggregate(recording, 10**9)
    assert len(joined) == len(exact)
    for before, after in zip(exact.snapshots(), joined.snapshots(), strict=True):
        assert len(after) <= len(before)
        assert after.size.sum() == before.size.sum()
        assert after.touched_bytes.sum() == pytest.approx(
            before.touched_bytes.sum(), abs=len(before)
        )


def test_a_rate_is_the_mean_over_time_when_regions_stay() -> None:
    shares = [0, 20, 5, 15, 0, 10, 20, 20, 0, 10]
    snapshots = [snapshot((APP,), [(0, 0, 64 * PAGE, n, 0)], i) for i, n in enumerate(shares)]
    (whole,) = analysis.aggregate(Recording.from_snapshots(snapshots, info()), 10**9).snapshots()
    assert whole.access_share.tolist() == [0.5]
    assert whole.nr_accesses.tolist() == [100]
    assert whole.max_nr_accesses == 200
    assert whole.access_hz.tolist() == pytest.approx([100])
    assert whole[0].mapping is not None
    assert whole[0].mapping.name == "[heap]"


def test_shares_within_times_are_means_of_the_windows_that_know_them() -> None:
    made = [snapshot((APP,), [(0, 0, 64 * PAGE, 10, 0)], number) for number in range(3)]
    made[1:] = [
        replace(each, accessed_within=np.full((1, 7), share))
        for each, share in zip(made[1:], (0.2, 0.6), strict=True)
    ]
    (whole,) = analysis.aggregate(Recording.from_snapshots(made, info()), 10**9).snapshots()
    assert whole.accessed_within[0] == pytest.approx([0.4] * 7, abs=0.5 / 255)
    # In other sampling intervals, they are of other times.
    made[2] = replace(made[2], sampling_ns=50 * MS)
    (whole,) = analysis.aggregate(Recording.from_snapshots(made, info()), 10**9).snapshots()
    assert np.isnan(whole.accessed_within).all()


def test_changed_sampling_intervals_keep_accesses_a_second() -> None:
    fast = snapshot((APP,), [(0, 0, 64 * PAGE, 20, 0)], 0)
    slow = replace(
        snapshot((APP,), [(0, 0, 64 * PAGE, 1, 0)], 1), sampling_ns=50 * MS, max_nr_accesses=2,
        access_share=np.array([0.5]),
    )  # fmt: skip
    (whole,) = analysis.aggregate(Recording.from_snapshots([fast, slow], info()), 10**9).snapshots()
    # 200 accesses a second for 100 ms, then 10 a second for 100 ms.
    assert whole.access_hz.tolist() == pytest.approx([105], rel=1e-3)


def test_costs_are_sums_and_resident_memory_is_a_mean() -> None:
    first, second = (snapshot((APP,), [(0, 0, 64 * PAGE, 0, n)], n) for n in range(2))
    cost = pydamon.Cost(cpu_ns=5, interruption_ns=7, late_ticks=1)
    several = [
        replace(first, cost=cost, resident_bytes=np.array([64 * PAGE])),
        replace(second, cost=cost, resident_bytes=np.array([0])),
    ]
    (whole,) = analysis.aggregate(Recording.from_snapshots(several, info()), 10**9).snapshots()
    assert whole.cost == pydamon.Cost(10, 14, 2)
    assert whole.resident_bytes.tolist() == [32 * PAGE]


def test_working_sets_are_those_within_the_interval(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    snapshots = []
    for number in range(40):
        cuts = np.unique(rng.integers(1, 127, 6)) * PAGE
        borders = [0, *cuts.tolist(), 128 * PAGE]
        regions = [
            (0, low, high, int(rng.integers(0, 2)) * 9, 0)
            for low, high in itertools.pairwise(borders)
        ]
        snapshots.append(snapshot((APP,), regions, number))
    recording = record(tmp_path / "r.damon", snapshots)
    longer = analysis.aggregate(recording, 10**9)
    sizes = analysis.working_set(longer).total.size_bytes
    within = analysis.working_sets_within(recording, [10**9]).working_sets[0].total
    assert sizes.tolist() == within.size_bytes[9::10].tolist()


def test_files_and_recordings_in_memory_give_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    snapshots = [
        snapshot(
            (APP, WORKER),
            [
                (w, n * PAGE, (n + 1) * PAGE, int(rng.integers(0, 21)), 0)
                for w in (0, 1)
                for n in range(30)
            ],
            number,
        )
        for number in range(95)
    ]
    path = tmp_path / "r.damon"
    whole = analysis.aggregate(record(path, snapshots), 10**9)
    parts = analysis.aggregate(pydamon.open_recording(path), 10**9).read()
    assert len(whole) == len(parts) == 10
    assert parts.info.attrs.aggregation_ns == 10**9
    for name in ("start_ns", "end_ns", "pid", "start", "end", "nr_accesses", "touched_bytes"):
        assert parts.column(name).tolist() == whole.column(name).tolist()
    assert [each.name for each in parts.targets] == ["app", "worker"]


def test_longer_snapshots_of_a_merged_recording_stay_apart_by_host(tmp_path: Path) -> None:
    paths = []
    for host in ("web1", "web2"):
        paths.append(tmp_path / f"{host}.damon")
        facts = replace(info(), hostname=host)
        with pydamon.Recorder(paths[-1], facts) as recorder:
            for number in range(20):
                recorder.write(snapshot((APP,), [(0, 0, 64 * PAGE, 20, number)], number))
    longer = analysis.aggregate(pydamon.merge_recordings(paths), 10**9).read()
    assert longer.hosts == ("web1", "web2")
    assert len(longer) == 2
    assert len(longer.table) == 4


def test_dropped_columns_are_named_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    whole = snapshot((APP,), [(0, 0, 64 * PAGE, 0, 0)])
    recording = Recording.from_snapshots([aged(whole, [(0, 10**9, 32 * PAGE, 0)])], info())
    path = tmp_path / "r.damon"
    pydamon.write_recording(path, recording)
    file = analysis.aggregate(pydamon.open_recording(path), 10**11)
    with caplog.at_level(logging.WARNING, "pydamon"):
        file.read()
        file.read()
    (message,) = caplog.messages
    assert message.startswith("longer snapshots are without ")
    assert "page_ages" in message


def test_snapshots_cannot_become_shorter() -> None:
    recording = Recording.from_snapshots([snapshot((APP,), [(0, 0, PAGE, 0, 0)])], info())
    with pytest.raises(UsageError, match="snapshots cannot become shorter: they are 100 ms long"):
        analysis.aggregate(recording, 100 * MS)


def test_first_snapshots_are_skipped(tmp_path: Path) -> None:
    snapshots = [snapshot((APP,), [(0, 0, PAGE, 0, n)], n) for n in range(10)]
    path = tmp_path / "r.damon"
    recording = record(path, snapshots)
    for rest in (
        analysis.skip(recording, 4),
        analysis.skip(pydamon.open_recording(path), 4).read(),
    ):
        assert rest.per_snapshot("start_ns").tolist() == [s.start_ns for s in snapshots[4:]]
    assert len(analysis.skip(recording, 10)) == 0
    with pytest.raises(UsageError):
        analysis.skip(recording, -1)


def test_slice_skips_and_then_aggregates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshots = [snapshot((APP,), [(0, 0, 64 * PAGE, n % 2 * 20, 0)], n) for n in range(45)]
    record(tmp_path / "r.damon", snapshots)
    source, out = str(tmp_path / "r.damon"), tmp_path / "seconds.damon"
    assert main(["slice", "--skip", "20", "--aggr", "1s", source, str(out)]) == 0
    longer = pydamon.read_recording(out)
    assert longer.per_snapshot("start_ns").tolist() == [
        BEGIN_NS + number * 100 * MS for number in (20, 30, 40)
    ]
    assert longer.access_share.tolist() == [0.5, 0.5, 0.4]
    assert main(["slice", "--skip", "45", source, str(out), "--force"]) == 1
    assert "nothing of" in capsys.readouterr().err


def test_longer_snapshots_can_be_written_for_damo(tmp_path: Path) -> None:
    snapshots = [snapshot((APP,), [(0, 0, 64 * PAGE, 10, n)], n) for n in range(40)]
    record(tmp_path / "r.damon", snapshots)
    theirs, out = str(tmp_path / "theirs.data"), str(tmp_path / "seconds.data")
    assert main(["convert", str(tmp_path / "r.damon"), theirs]) == 0
    assert main(["slice", "--aggr", "1s", theirs, out]) == 0
    longer = pydamon.read_recording(out)
    assert longer.info.attrs.aggregation_ns == 10**9
    assert longer.access_share.tolist() == [0.5] * 4
    assert longer.column("end").max() == 64 * PAGE < MIB
