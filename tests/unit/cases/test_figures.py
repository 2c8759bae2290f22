"""Figures never claim what nobody knows, and all of them agree."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pydamon import analysis
from pydamon._act.policies.stat import Stat
from pydamon._cli.main import main
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import open_recording
from pydamon._data.recording import Recording
from pydamon._model.classify import UNKNOWN
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Cost, Footprint, Snapshot, Target
from pydamon._show.frames import SUMS, HeatMapCache, Replay, fold, frame_of
from pydamon._show.metrics import Metrics
from pydamon._show.notebook import to_html
from pydamon._show.pictures.svg import heatmap_svg
from pydamon._show.top.heat import HeatPanel, HeatShown
from pydamon._show.web.app import Encoder
from tests.recordings import MIB, record, snapshot, target

GIB, S = 2**30, 10**9
IDLE_NS = 10 * S
CLASSES = ("total", "hot", "warm", "cold", "idle", "unobservable", "unseen")
JAVA = target(
    7,
    "java",
    (GIB, 17 * GIB, "rw-p", "[heap]"),
    (20 * GIB, 20 * GIB + 64 * MIB, "r-xp", "/usr/lib/libjvm.so"),
    (21 * GIB, 22 * GIB, "rw-p", "[anon]"),
)
OTHER = target(8, "postgres", (GIB, 2 * GIB, "rw-s", "/dev/zero"))


def facts(one: Snapshot, **columns: object) -> Snapshot:
    arrays = {name: np.array(values, np.int64) for name, values in columns.items()}
    return dataclasses.replace(one, **arrays)  # type: ignore[arg-type]


def java(number: int = 0) -> Snapshot:
    """16 GiB reserved of which 160 MiB are there, a library, and memory that has just come."""
    one = snapshot(
        (JAVA,),
        [
            (0, GIB, GIB + 64 * MIB, 20, number),
            (0, GIB + 64 * MIB, GIB + 128 * MIB, 4, number),
            (0, GIB + 128 * MIB, 17 * GIB, 0, number),
            (0, 20 * GIB, 20 * GIB + 64 * MIB, 0, number),
            (0, 21 * GIB, 22 * GIB, 0, 0),
        ],
        number,
        window_ns=S,
        touched=[60 * MIB, 16 * MIB, 0, 0, 0],
        unobservable=[0, 0, 0, 8 * MIB, 0],
    )
    return facts(
        one,
        resident_bytes=[64 * MIB, 64 * MIB, 32 * MIB, 20 * MIB, 100 * MIB],
        unseen_bytes=[0, 0, 0, 0, 100 * MIB],
        age_ns=[30 * S, 30 * S, 25 * S, 7 * S, 0],
    )


def both(number: int = 0) -> Snapshot:
    """Two processes that share 40 MiB."""
    one = snapshot(
        (JAVA, OTHER),
        [(0, 21 * GIB, 21 * GIB + 64 * MIB, 0, 9), (1, GIB, 2 * GIB, 20, 9)],
        number,
        touched=[0, 30 * MIB],
    )
    return facts(
        one,
        resident_bytes=[64 * MIB, 60 * MIB],
        repeated_bytes=[0, 40 * MIB],
        age_ns=[30 * S, 30 * S],
    )


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(capsys, "report", *argv))
    return found


# Kind 14: what is not resident is in no figure, and every figure is the same everywhere.


def in_summary(recording: Recording) -> Mapping[str, float]:
    return dataclasses.asdict(analysis.summary(recording, IDLE_NS).size)


def in_mappings(recording: Recording) -> Mapping[str, float]:
    found = [dataclasses.asdict(one.size) for one in analysis.mappings(recording, IDLE_NS)]
    return {name: sum(one[name] for one in found) for name in CLASSES}


def in_idle(recording: Recording) -> Mapping[str, float]:
    found = analysis.idle(recording, (0, IDLE_NS))
    cold, idle = found.last_bytes.tolist()
    return {
        "total": found.total_bytes,
        "cold": cold,
        "idle": idle,
        "unseen": found.unseen_bytes,
    }


def in_top(recording: Recording) -> Mapping[str, float]:
    (frame,) = Replay(recording).history.frames()
    return dict(zip(SUMS, frame.sums.sum(axis=0).tolist(), strict=True))


def in_live_top(recording: Recording) -> Mapping[str, float]:
    frame = frame_of(list(recording.snapshots()))
    return dict(zip(SUMS, frame.sums.sum(axis=0).tolist(), strict=True))


def in_serve(recording: Recording) -> Mapping[str, float]:
    (frame,) = Replay(recording).history.frames()
    sums = json.loads(Encoder()(frame))["sums"]
    return {name: sum(sums[name]) for name in SUMS}


def in_export(recording: Recording) -> Mapping[str, float]:
    metrics, registry = Metrics(), CollectorRegistry()
    metrics.update(recording.snapshot(-1))
    registry.register(metrics)

    def value(name: str, **labels: str) -> float:
        own = {"pid": "7", "name": "java"} | labels
        found = registry.get_sample_value(f"pydamon_process_{name}", own)
        assert found is not None
        return found

    return {
        "touched": value("working_set_bytes"),
        "idle": value("idle_bytes", at_least_seconds="10"),
        "unseen": value("unseen_bytes"),
        "unobservable": value("unobservable_bytes"),
        "total": value("resident_bytes"),
    }


def in_stat(recording: Recording) -> Mapping[str, float]:
    figures = Stat().figures(recording.snapshot(-1))
    unseen, working_set = figures["unseen_bytes"], figures["working_set_bytes"]
    assert isinstance(unseen, int)
    assert isinstance(working_set, int)
    return {"unseen": unseen, "touched": working_set}


def in_library(recording: Recording) -> Mapping[str, float]:
    classes = recording.snapshot(-1).classes
    found = {name: int(getattr(classes, name).sum()) for name in CLASSES if name != "idle"}
    return found | {"idle": int(classes.idle(IDLE_NS).sum())}


def in_distribution(recording: Recording) -> Mapping[str, float]:
    found = analysis.distribution(recording, "idle")
    idle = found.size_bytes[found.low >= IDLE_NS].sum()
    return {
        "cold": found.size_bytes[1:].sum(),
        "touched": found.size_bytes[0],
        "idle": idle,
        "unseen": found.unseen_bytes,
        "unobservable": found.unobservable_bytes,
    }


def in_working_set(recording: Recording) -> Mapping[str, float]:
    total = analysis.working_set(recording).total
    return {"touched": int(total.size_bytes[-1]), "unseen": int(total.unseen_bytes[-1])}


PLACES = {
    place.__name__: place
    for place in (
        in_summary,
        in_mappings,
        in_idle,
        in_top,
        in_live_top,
        in_serve,
        in_export,
        in_stat,
        in_library,
        in_distribution,
        in_working_set,
    )
}


@pytest.mark.parametrize("place", PLACES)
def test_every_figure_is_the_same_everywhere(tmp_path: Path, place: str) -> None:
    recording = record(tmp_path / "r.damon", [java()])
    expected = {
        "total": 280 * MIB,
        "hot": 60 * MIB,
        "warm": 16 * MIB,
        "cold": (4 + 48 + 32 + 12) * MIB,
        "idle": 32 * MIB,
        "unobservable": 8 * MIB,
        "unseen": 100 * MIB,
        "touched": 76 * MIB,
    }
    for name, amount in PLACES[place](recording).items():
        if name in expected:
            assert amount == expected[name], (place, name)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_whatever_regions_are_like_figures_agree_to_the_byte(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 6))
    share = st.integers(0, MIB)

    def column(most: list[int]) -> list[int]:
        return [min(data.draw(share), one) for one in most]

    resident = [data.draw(st.one_of(st.just(UNKNOWN), share)) for _ in range(count)]
    one = snapshot(
        (dataclasses.replace(JAVA, name="java"),),
        [
            (0, GIB + n * MIB, GIB + (n + 1) * MIB, data.draw(st.integers(0, 20)), 1)
            for n in range(count)
        ],
        window_ns=S,
        touched=column([MIB] * count),
        unobservable=column([MIB] * count),
    )
    one = dataclasses.replace(one, footprints=(Footprint(GIB, data.draw(share)),))
    one = facts(
        one,
        resident_bytes=resident,
        unseen_bytes=column([MIB] * count),
        age_ns=[data.draw(st.sampled_from([UNKNOWN, 0, 5 * S, 50 * S])) for _ in range(count)],
    )
    recording = record(tmp_path_factory.mktemp("f") / "r.damon", [one])
    expected = {**in_library(recording), "touched": one.working_set()}
    expected["total"] = int(recording.snapshot(-1).classes.total.sum())
    assert one.working_set() == expected["hot"] + expected["warm"]
    for name, place in PLACES.items():
        try:
            found = place(recording)
        except RecordingError:
            assert name == "in_distribution"  # where no age is known
            continue
        for key, amount in found.items():
            if key in expected and not (name == "in_export" and key == "total"):
                if name == "in_distribution" and key == "cold":
                    continue  # what is cold for an unknown time is beside it
                assert amount == expected[key], (name, key)


def test_nothing_cold_is_more_than_what_is_resident(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(path := tmp_path / "r.damon", [java(number) for number in range(40)])
    text = printed(capsys, "report", "idle", str(path))
    assert "of 280 MiB at the end" in text
    assert "GiB" not in text
    assert "100 MiB not looked at yet" in text
    summary = printed(capsys, "report", "summary", str(path))
    assert "280 MiB in memory, of 17.1 GiB of address space" in " ".join(summary.split())
    for report in ("access", "mappings", "wss", "footprint"):
        text = printed(capsys, "report", report, str(path))
        assert "100 MiB" in text, report
    found = document(capsys, "access", "--histogram", "idle", "--json", str(path))
    assert sum(found["bytes"]) == 172 * MIB


def test_shared_memory_counts_once_in_totals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pydamon._show.metrics.collector.cgroup_of", lambda _: "db")
    recording = record(path := tmp_path / "r.damon", [both(n) for n in range(3)])
    assert analysis.idle(recording).total_bytes == 84 * MIB
    assert analysis.summary(recording).size.total == 84 * MIB
    total, *each = (
        one.size_bytes[-1]
        for one in (analysis.working_set(recording).total, *analysis.working_set(recording).targets)
    )
    assert (total, each) == (10 * MIB, [0, 30 * MIB]), "a third of what it has is its own"
    assert recording.snapshot(0).working_set() == 10 * MIB
    # Of one process by itself, all that it has counts.
    alone = document(capsys, "idle", "--json", "--pid", "8", str(path))
    assert alone["total_bytes"] == 60 * MIB
    metrics, registry = Metrics(processes=1), CollectorRegistry()
    metrics.update(recording.snapshot(0))
    registry.register(metrics)
    labels = {"cgroup": "db"}
    assert registry.get_sample_value("pydamon_cgroup_working_set_bytes", labels) == 10 * MIB


def test_where_residence_is_unknown_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = snapshot((JAVA,), [(0, GIB, 17 * GIB, 0, 300)], window_ns=S)
    record(path := tmp_path / "unknown.damon", [one])
    assert "reclaiming" not in (text := printed(capsys, "report", "idle", str(path)))
    assert "address space: how much of it is in memory is not known" in " ".join(text.split())
    assert "is not known" in printed(capsys, "report", "summary", str(path))
    # The size of the process bounds it.
    known = dataclasses.replace(one, footprints=(Footprint(17 * GIB, 211 * MIB),))
    record(path := tmp_path / "rss.damon", [known])
    text = printed(capsys, "report", "idle", str(path))
    assert "of 211 MiB at the end" in text
    assert "GiB" not in text


# Kind 9: recordings without ages.


@pytest.fixture
def ageless(tmp_path: Path) -> str:
    one = [
        snapshot((JAVA,), [(0, GIB, 2 * GIB, 0, 0), (0, 2 * GIB, 3 * GIB, 9, 0)], n)
        for n in range(9)
    ]
    record(tmp_path / "r.damon", [facts(each, age_ns=[UNKNOWN] * 2) for each in one])
    return str(tmp_path / "r.damon")


@pytest.mark.parametrize(
    "argv",
    [
        ("access", "--histogram", "idle"),
        ("access", "--histogram", "age"),
        ("access", "--histogram", "temperature"),
        ("access", "--where", "age > 1s"),
        ("summary", "--where", "idle > 1s"),
        ("wss", "--where", "temperature > 1"),
    ],
)
def test_what_goes_by_ages_says_that_there_are_none(
    ageless: str, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    assert main(["report", argv[0], ageless, *argv[1:]]) == 1
    assert "ages are not in the recording" in capsys.readouterr().err


def test_no_figure_takes_an_unknown_age_for_0(
    ageless: str, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = document(capsys, "idle", "--json", ageless)
    assert idle["undated_bytes"] == GIB
    assert idle["last_bytes"][0] == GIB
    assert "does not say since when 1 GiB are" in printed(capsys, "report", "idle", ageless)
    assert "ages are not in the recording" in printed(capsys, "report", "summary", ageless)
    text = printed(capsys, "report", "access", ageless)
    assert "Ages are not in the recording" in text
    regions = document(capsys, "access", "--json", ageless)["regions"]
    assert [one["age_ns"] for one in regions] == [None, None]
    assert "?" in printed(capsys, "report", "regions", ageless)
    assert "idle" not in analysis.FIELDS or analysis.summary(open_recording(ageless)).size.idle == 0


def test_the_unknown_stays_unknown_in_every_lossless_format(ageless: str, tmp_path: Path) -> None:
    for suffix in ("damon", "parquet", "csv", "ndjson"):
        write_recording(tmp_path / f"copy.{suffix}", open_recording(ageless))
        again = open_recording(tmp_path / f"copy.{suffix}").read()
        assert set(again.column("age_ns").tolist()) == {UNKNOWN}, suffix
        assert set(again.column("resident_bytes").tolist()) == {UNKNOWN}, suffix


@pytest.mark.parametrize("suffix", ["json", "data", "perf"])
def test_an_unknown_age_stays_unknown_in_files_of_damo(
    ageless: str, tmp_path: Path, suffix: str
) -> None:
    lost = write_recording(tmp_path / f"copy.{suffix}", open_recording(ageless))
    assert not {"age", "age_ns"} & set(lost)
    again = open_recording(tmp_path / f"copy.{suffix}").read()
    assert set(again.column("age_ns").tolist()) == {UNKNOWN}


def test_some_ages_that_are_unknown_are_left_out(tmp_path: Path) -> None:
    one = snapshot((JAVA,), [(0, GIB, 2 * GIB, 0, 0), (0, 2 * GIB, 3 * GIB, 0, 0)])
    recording = record(tmp_path / "r.damon", [facts(one, age_ns=[UNKNOWN, 20 * S])])
    found = analysis.distribution(recording, "idle")
    assert (found.size_bytes.sum(), found.undated_bytes) == (GIB, GIB)
    assert len(analysis.where(recording, "age > 1s").table) == 1
    assert len(analysis.where(recording, "age < 1h").table) == 1
    assert len(analysis.where(recording, "age != 1s").table) == 1


# Points 7 and 8: what nobody has looked at, and one age.


def test_a_cell_that_nobody_looked_at_is_not_an_idle_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = record(path := tmp_path / "r.damon", [java(number) for number in range(10)])
    found = analysis.heatmap(recording, 64, 4, addresses=(20 * GIB, 22 * GIB))
    assert found.unseen[-1].all()
    assert np.isnan(found.rates[-1]).all()
    assert (found.rates[0] == 0).all()
    assert not found.unseen[0].any()
    argv = ["--range", f"{20 * GIB:x}-{22 * GIB:x}", "--width", "20", "--height", "10"]
    text = printed(capsys, "report", "heatmap", *argv, str(path))
    assert "????" in text
    assert "not looked at yet" in text
    assert "#808080" in heatmap_svg(found).decode()
    everything = found = analysis.heatmap(record(tmp_path / "s.damon", [java()]), 4, 4)
    assert not everything.unseen.all()


def test_a_working_set_that_may_be_more_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(path := tmp_path / "r.damon", [java()])
    for report in ("wss", "footprint", "summary"):
        assert "not looked at yet" in printed(capsys, "report", report, str(path)), report
    found = document(capsys, "wss", "--json", str(path))
    assert found["total"]["unseen_bytes"] == [100 * MIB]


def test_ages_are_times_and_not_windows(tmp_path: Path) -> None:
    """Windows grow from 0.1 s to 2 s under a budget; the age goes on as the clock does."""
    begin_ns, taken = 10**15, []
    for number, window_ns in enumerate([S // 10] * 20 + [2 * S] * 6):
        one = snapshot((JAVA,), [(0, GIB, GIB + MIB, 0, number)])
        one = dataclasses.replace(one, start_ns=begin_ns, end_ns=(begin_ns := begin_ns + window_ns))
        taken.append(facts(one, age_ns=[begin_ns - 10**15]))
    recording = record(tmp_path / "r.damon", taken)
    assert analysis.idle(recording).longest_ns == 14 * S
    assert analysis.regions(recording).regions[0].age_ns == 14 * S
    assert analysis.where(recording, "idle >= 14s").table.num_rows == 1
    figures = Stat().figures(recording.snapshot(-1))["idle_ms"]
    assert isinstance(figures, dict)
    assert set(figures.values()) == {14_000}
    assert "14 s" in to_html(recording.snapshot(-1))


def test_what_a_short_recording_cost_is_no_share_of_a_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = [dataclasses.replace(java(n), cost=Cost(160 * 10**6)) for n in range(2)]
    record(path := tmp_path / "r.damon", taken[:1])
    assert "0.16 s of CPU time" in printed(capsys, "report", "summary", str(path))
    record(
        path := tmp_path / "long.damon",
        [dataclasses.replace(java(n), cost=Cost(10**7)) for n in range(20)],
    )
    assert "1 % of one CPU" in printed(capsys, "report", "summary", str(path))


def test_nothing_is_known_of_no_target() -> None:
    nothing = snapshot((Target(1),), [])
    assert nothing.working_set() == 0
    assert len(nothing.classes.total) == 0


def test_damos_files_without_ages_have_none(tmp_path: Path) -> None:
    line = (
        "kdamond.0 1 [000] 100.{}: damon:damon_aggregated: target_id=0 nr_regions=1 4096-8192: 0\n"
    )
    old = tmp_path / "old.perf"
    old.write_text("".join(line.format(f"{n}00000") for n in range(5)))
    region = {"start": "4096", "end": "8192", "nr_accesses": {"samples": 0, "percent": None}}
    ages = (None, {"usec": None, "aggr_intervals": None})
    taken = [
        {
            "start_time": str(n * S),
            "end_time": str((n + 1) * S),
            "regions": [{**region, "age": age}],
        }
        for n, age in enumerate(ages)
    ]
    converted = tmp_path / "converted.json"
    converted.write_text(json.dumps([{"target_id": 0, "snapshots": taken}]))
    for path in (old, converted):
        recording = open_recording(path).read()
        assert set(recording.column("age_ns").tolist()) == {UNKNOWN}, path
        assert analysis.idle(recording).undated_bytes == 4096
        with pytest.raises(RecordingError, match="ages are not in the recording"):
            analysis.distribution(recording, "idle")


def test_live_heat_maps_tell_what_nobody_looked_at(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", [java(number) for number in range(6)])
    frames = [frame_of([one]) for one in recording.snapshots()]
    folded = fold(frames)
    for frame in (*frames, folded):
        spans = frame.spans_of(JAVA)
        assert np.isnan(spans.rate).tolist() == (spans.start == 21 * GIB).tolist()
        encoded = json.loads(Encoder()(frame))["spans"]["rate"]
        assert [rate < 0 for rate in encoded] == np.isnan(spans.rate).tolist()
        assert frame.unseen[JAVA.key] == pytest.approx(100 * MIB)
    found = HeatMapCache().render(
        frames, JAVA, 34, 6, end_ns=frames[-1].end_ns, column_ns=S, addresses="all"
    )
    assert found is not None
    assert found.unseen.all(axis=1).tolist() == [False] * 32 + [True] * 2
    assert not found.unseen[:32].any()
    assert np.isnan(found.rates[-1]).all()
    lines = HeatPanel(id="heat").lines(HeatShown(found, colour=False), 120, 36)
    text = ["".join(segment.text for segment in line) for line in lines]
    assert "??????" in text[33]
    assert "not looked at yet" in text[-1]
