from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydamon import analysis
from pydamon._data.analysis.query import FIELDS, parse
from pydamon._data.recording import Recording
from pydamon._model.errors import UsageError
from pydamon._model.snapshot import Footprint, Snapshot, Target
from tests.recordings import MIB, MS, record, snapshot, target

APP = target(
    7,
    "app",
    (MIB, 5 * MIB, "rw-p", "[heap]"),
    (8 * MIB, 9 * MIB, "r-xp", "/usr/lib/x86_64/libc.so.6"),
)
WORKER = target(8, "work er", (MIB, 2 * MIB, "rw-p", "/tmp/or and not"))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Row 0 is hot heap, 1 idle heap, 2 warm libc, 3 the worker's; so in each of 4 snapshots."""
    return record(
        tmp_path_factory.mktemp("r") / "r.damon",
        [
            snapshot(
                (APP, WORKER),
                [
                    (0, MIB, 3 * MIB, 20, 50),
                    (0, 3 * MIB, 5 * MIB, 0, 600),
                    (0, 8 * MIB, 9 * MIB, 5, 1),
                    (1, MIB, 2 * MIB, 1, 0),
                ],
                number,
            )
            for number in range(4)
        ],
    )


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("rate > 50%", [0]),
        ("rate>=25 %", [0, 2]),
        ("rate = 0.25", [2]),
        ("rate >= 0.25 AND rate < 1", [2]),
        ("rate >= 50Hz", [0, 2]),
        ("rate > 0.05 kHz", [0]),
        ("accesses < 1", [1]),
        ("age >= 1min", [1]),
        ("age >= 5s and age < 1 min", [0]),
        ("idle > 0", [1]),
        ("size >= 2MiB", [0, 1]),
        ("size = 1024k", [2, 3]),
        ("touched = 0", [1]),
        ("unobservable > 0", []),
        ("address = 0x2fffff", [0]),
        ("address != 0x2fffff", [1, 2, 3]),
        ("address >= 0x2fffff and address < 0x300001", [0, 1]),
        ("address > 0x8fffff", []),
        ("start = 8388608", [2]),
        ("end <= 0x300000", [0, 3]),
        ("mapping = [heap]", [0, 1]),
        ("mapping != [heap]", [2, 3]),
        ("mapping ~ libc", [2]),
        ('mapping ~ "libc\\.so\\.[0-9]$"', [2]),
        ("mapping !~ '^/usr|heap'", [3]),
        ("mapping = '/tmp/or and not'", [3]),
        ("perms = r-xp", [2]),
        ("target = app", [0, 1, 2]),
        ('target="work er"', [3]),
        ("pid = 8 or rate = 100%", [0, 3]),
        ("pid = 8 or pid = 7 and rate = 0", [1, 3]),
        ("(pid = 8 or pid = 7) and rate = 0", [1]),
        ("not (pid = 8 or rate = 0)", [0, 2]),
        ("NOT NOT pid = 8", [3]),
        ("temperature < 0", [1]),
        ("temperature > -1 and temperature < 10.5", [3]),
        ("time >= 0s", [0, 1, 2, 3]),
    ],
)
def test_what_a_filter_holds_for(recording: Recording, query: str, rows: list[int]) -> None:
    filtered = analysis.where(recording, query)
    assert len(filtered) == len(recording)
    wanted = recording.column("start").reshape(4, 4)[0, rows]
    for number in range(4):
        taken = filtered.snapshot(number)
        assert taken.start.tolist() == wanted.tolist()
        assert [each.pid for each in taken.targets] == [7, 8]


def test_a_filter_may_have_thousands_of_parts(recording: Recording) -> None:
    starts = " or ".join(f"start = {MIB + number}" for number in range(3000))
    assert len(analysis.where(recording, starts).table) == 8


def test_time_is_since_the_start(recording: Recording) -> None:
    early = analysis.where(recording, "time >= 100ms and time < 300ms")
    assert [len(early.snapshot(i)) for i in range(4)] == [0, 4, 4, 0]
    assert len(analysis.where(early, "rate = 0").table) == 2


@pytest.mark.parametrize(
    ("query", "position", "words"),
    [
        ("", 0, "expected a field"),
        ("rat > 5%", 0, "no field 'rat'"),
        ("rate > 5% and", 13, "expected a field"),
        ("rate > 5% und age > 3s", 10, "expected `and`"),
        ("rate ! 5%", 5, "expected one of"),
        ("rate > much", 7, "expected a number"),
        ("rate > 50", 7, "50%"),
        ("rate > 150%", 7, "50%"),
        ("age > 5", 6, "2min"),
        ("age > 5parsec", 6, "2min"),
        ("size > 5s", 7, "4MiB"),
        ("size > 99999999999G", 7, "4MiB"),
        ("size ~ big", 5, "is a number"),
        ("mapping > x", 8, "is a name"),
        ("mapping ~ '['", 10, "not a regular expression"),
        ("mapping = ", 10, "expected a name"),
        ("(rate > 5%", 10, "expected `)`"),
        ("rate > 5%)", 9, "expected `and`"),
        ("pid = 1.5", 6, "cannot compare"),
        ("start > 12zz", 8, "cannot compare"),
        ("(" * 5000, 100, "too many brackets"),
        ("__import__('os')", 0, "no field"),
    ],
)
def test_errors_point_at_the_place(query: str, position: int, words: str) -> None:
    with pytest.raises(UsageError, match="cannot read the filter") as caught:
        parse(query)
    assert f"character {position + 1}:" in str(caught.value)
    assert words in str(caught.value)
    shown, pointer, *_ = caught.value.hint.split("\n")
    assert shown == query
    assert pointer == " " * position + "^"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *FIELDS,
                "and",
                "or",
                "not",
                "(",
                ")",
                ">",
                "=",
                "~",
                "5%",
                "1s",
                "4k",
                "'",
                "x",
                "0x1",
            ]
        )
    ).map(" ".join)
    | st.text(max_size=40)
)
def test_any_text_is_a_filter_or_a_usage_error(recording: Recording, text: str) -> None:
    try:
        query = parse(text)
    except UsageError:
        return
    assert query.mask(analysis.RegionColumns(recording)).shape == (16,)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_picking_leaves_every_snapshot_and_target(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    def regions(number: int) -> Snapshot:
        pids = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True))
        rows = [
            (index, 4096 * at, 4096 * (at + 1), (index + at) % 21, at)
            for index, _ in enumerate(pids)
            for at in range(data.draw(st.integers(1, 4)))
        ]
        taken = snapshot([Target(pid, f"p{pid}") for pid in pids], rows, number)
        return dataclasses.replace(taken, footprints=tuple(Footprint(pid, 1) for pid in pids))

    written = [regions(number) for number in range(data.draw(st.integers(1, 5)))]
    whole = record(tmp_path_factory.mktemp("r") / "r.damon", written)
    count = len(whole.table)
    rows = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    picked = whole.pick(rows)
    assert len(picked) == len(written)
    begin = 0
    for before, after in zip(written, picked.snapshots(), strict=True):
        mine = rows[begin : begin + len(before)]
        begin += len(before)
        assert after.targets == before.targets
        assert after.footprints == before.footprints
        assert after.start.tolist() == before.start[mine].tolist()
        assert after.target.tolist() == before.target[mine].tolist()
    pid = data.draw(st.sampled_from([each.pid for each in whole.targets]))
    mine = np.repeat(whole.per_target("pid") == pid, np.diff(whole.target_offsets))
    both, other = picked.of_pid(pid), whole.of_pid(pid).pick(rows[mine])
    assert both.targets == other.targets
    assert both.column("start").tolist() == other.column("start").tolist()
    for name in ("snapshot_offsets", "target_offsets", "target_snapshots"):
        assert getattr(both, name).tolist() == getattr(other, name).tolist()


def test_the_working_set_of_what_a_filter_leaves_keeps_its_zeros(recording: Recording) -> None:
    hot = analysis.where(recording, "rate > 50% and time >= 200ms")
    working_set = analysis.working_set(hot, (0, 100))
    assert working_set.total.size_bytes.tolist() == [0, 0, 2 * MIB, 2 * MIB]
    assert [series.size_bytes.tolist()[-1] for series in working_set.targets] == [2 * MIB, 0]
    assert analysis.summary(hot).duration_ns == 400 * MS


def test_a_heat_map_of_what_a_filter_leaves_keeps_the_time(recording: Recording) -> None:
    hot = analysis.where(recording, "rate > 50% and time >= 200ms")
    rates = analysis.heatmap(hot, 1, 4, addresses="all").rates
    assert np.isnan(rates[0, :2]).all()
    assert rates[0, 2:].tolist() == [1, 1]


def test_footprints_are_kept(tmp_path: Path) -> None:
    taken = dataclasses.replace(
        snapshot((APP, WORKER), [(0, MIB, 2 * MIB, 1, 1), (1, MIB, 2 * MIB, 1, 1)]),
        footprints=(Footprint(70, 7), Footprint(80, 8)),
    )
    recording = record(tmp_path / "r.damon", [taken])
    assert recording.snapshot(0).footprints == taken.footprints
    assert recording.per_target("rss_bytes").tolist() == [7, 8]
