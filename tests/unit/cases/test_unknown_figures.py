"""No figure claims anything that the recording does not know: residence, ages, unseen memory."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from pydamon import analysis
from pydamon._act.policies.stat import Stat
from pydamon._cli.main import main
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import open_recording
from pydamon._model.classify import UNKNOWN
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Cost, Footprint, Target
from pydamon._show.frames import HeatMapCache, fold, frame_of
from pydamon._show.metrics import Metrics
from pydamon._show.notebook import to_html
from pydamon._show.pictures.draw import heatmap_svg
from pydamon._show.top.heat import HeatPanel, HeatShown
from pydamon._show.web.encode import Encoder
from tests.recordings import MIB, record, snapshot
from tests.unit.cases.helpers import GIB, JAVA, S, both, java, printed, with_columns


def document(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    """The output of a report as JSON."""
    parsed: dict[str, Any] = json.loads(printed(capsys, "report", *argv))
    return parsed


# Memory that is not resident is in no figure.


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
    histogram = document(capsys, "access", "--histogram", "idle", "--json", str(path))
    assert sum(histogram["bytes"]) == 172 * MIB


def test_shared_memory_counts_once_in_totals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pydamon._show.metrics.collector.cgroup_of", lambda _: "db")
    recording = record(path := tmp_path / "r.damon", [both(n) for n in range(3)])
    assert analysis.idle(recording).total_bytes == 84 * MIB
    assert analysis.summary(recording).size.total == 84 * MIB
    working_set = analysis.working_set(recording)
    assert working_set.total.size_bytes[-1] == 20 * MIB, "what is shared is idle rather than in use"
    assert [series.size_bytes[-1] for series in working_set.targets] == [0, 30 * MIB]
    assert recording.snapshot(0).working_set() == 20 * MIB
    # All memory of a process counts for the process itself.
    alone = document(capsys, "idle", "--json", "--pid", "8", str(path))
    assert alone["total_bytes"] == 60 * MIB
    metrics, registry = Metrics(processes=1), CollectorRegistry()
    metrics.update(recording.snapshot(0))
    registry.register(metrics)
    labels = {"cgroup": "db"}
    assert registry.get_sample_value("pydamon_cgroup_working_set_bytes", labels) == 20 * MIB


def test_where_residence_is_unknown_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = snapshot((JAVA,), [(0, GIB, 17 * GIB, 0, 300)], window_ns=S)
    record(path := tmp_path / "unknown.damon", [taken])
    assert "reclaiming" not in (text := printed(capsys, "report", "idle", str(path)))
    assert "address space: how much of it is in memory is not known" in " ".join(text.split())
    assert "is not known" in printed(capsys, "report", "summary", str(path))
    # The size of the process bounds it.
    known = dataclasses.replace(taken, footprints=(Footprint(17 * GIB, 211 * MIB),))
    record(path := tmp_path / "rss.damon", [known])
    text = printed(capsys, "report", "idle", str(path))
    assert "of 211 MiB at the end" in text
    assert "GiB" not in text


# Recordings without ages.


@pytest.fixture
def ageless(tmp_path: Path) -> str:
    """A recording without ages."""
    regions = [(0, GIB, 2 * GIB, 0, 0), (0, 2 * GIB, 3 * GIB, 9, 0)]
    snapshots = [snapshot((JAVA,), regions, number) for number in range(9)]
    record(tmp_path / "r.damon", [with_columns(each, age_ns=[UNKNOWN] * 2) for each in snapshots])
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
def test_a_report_by_ages_says_that_there_are_none(
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
    assert [region["age_ns"] for region in regions] == [None, None]
    assert "?" in printed(capsys, "report", "regions", ageless)
    assert "idle" not in analysis.FIELDS or analysis.summary(open_recording(ageless)).size.idle == 0


def test_unknown_values_stay_unknown_in_every_lossless_format(ageless: str, tmp_path: Path) -> None:
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
    taken = snapshot((JAVA,), [(0, GIB, 2 * GIB, 0, 0), (0, 2 * GIB, 3 * GIB, 0, 0)])
    recording = record(tmp_path / "r.damon", [with_columns(taken, age_ns=[UNKNOWN, 20 * S])])
    idle = analysis.distribution(recording, "idle")
    assert (idle.size_bytes.sum(), idle.undated_bytes) == (GIB, GIB)
    assert len(analysis.where(recording, "age > 1s").table) == 1
    assert len(analysis.where(recording, "age < 1h").table) == 1
    assert len(analysis.where(recording, "age != 1s").table) == 1


# Memory that no probe has looked at, and ages.


def test_unseen_cells_are_not_idle_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = record(path := tmp_path / "r.damon", [java(number) for number in range(10)])
    heat = analysis.heatmap(recording, 64, 4, addresses=(20 * GIB, 22 * GIB))
    assert heat.unseen[-1].all()
    assert np.isnan(heat.rates[-1]).all()
    assert (heat.rates[0] == 0).all()
    assert not heat.unseen[0].any()
    argv = ["--range", f"{20 * GIB:x}-{22 * GIB:x}", "--width", "20", "--height", "10"]
    text = printed(capsys, "report", "heatmap", *argv, str(path))
    assert "????" in text
    assert "not looked at yet" in text
    assert "#808080" in heatmap_svg(heat).decode()
    assert not analysis.heatmap(record(tmp_path / "s.damon", [java()]), 4, 4).unseen.all()


def test_a_working_set_that_may_be_more_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(path := tmp_path / "r.damon", [java()])
    for report in ("wss", "footprint", "summary"):
        assert "not looked at yet" in printed(capsys, "report", report, str(path)), report
    working_set = document(capsys, "wss", "--json", str(path))
    assert working_set["total"]["unseen_bytes"] == [100 * MIB]


def test_ages_are_times_and_not_windows(tmp_path: Path) -> None:
    """Windows grow from 0.1 s to 2 s under a budget; the age goes on as the clock does."""
    begin_ns, taken = 10**15, []
    for number, window_ns in enumerate([S // 10] * 20 + [2 * S] * 6):
        cold = snapshot((JAVA,), [(0, GIB, GIB + MIB, 0, number)])
        end_ns = begin_ns + window_ns
        cold = dataclasses.replace(cold, start_ns=begin_ns, end_ns=end_ns)
        taken.append(with_columns(cold, age_ns=[end_ns - 10**15]))
        begin_ns = end_ns
    recording = record(tmp_path / "r.damon", taken)
    assert analysis.idle(recording).longest_ns == 14 * S
    assert analysis.regions(recording).regions[0].age_ns == 14 * S
    assert analysis.where(recording, "idle >= 14s").table.num_rows == 1
    figures = Stat().figures(recording.snapshot(-1))["idle_ms"]
    assert isinstance(figures, dict)
    assert set(figures.values()) == {14_000}
    assert "14 s" in to_html(recording.snapshot(-1))


def test_the_cost_of_a_short_recording_is_no_share_of_a_cpu(
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


def test_what_damo_does_not_say_is_not_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = record(tmp_path / "r.damon", [java(n) for n in range(3)])
    write_recording(path := tmp_path / "r.data", recording)
    text = printed(capsys, "report", "summary", str(path))
    assert "its cost is not in the recording; a sample every" in text
    assert "Linux" not in text
    assert "Linux" not in str(open_recording(path))
    assert main(["slice", "--skip", "7", str(path), str(tmp_path / "x.data")]) == 1
    assert "long and has 3 snapshots" in capsys.readouterr().err


def test_a_snapshot_without_regions_has_an_empty_working_set() -> None:
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


def test_live_heat_maps_show_unseen_memory(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", [java(number) for number in range(6)])
    frames = [frame_of([each]) for each in recording.snapshots()]
    folded = fold(frames)
    for frame in (*frames, folded):
        spans = frame.spans_of(JAVA)
        assert np.isnan(spans.rate).tolist() == (spans.start == 21 * GIB).tolist()
        encoded = json.loads(Encoder()(frame))["spans"]["rate"]
        assert [rate < 0 for rate in encoded] == np.isnan(spans.rate).tolist()
        assert frame.unseen[JAVA.key] == pytest.approx(100 * MIB)
    heat = HeatMapCache().render(
        frames, JAVA, 34, 6, end_ns=frames[-1].end_ns, column_ns=S, addresses="all"
    )
    assert heat is not None
    assert heat.unseen.all(axis=1).tolist() == [False] * 32 + [True] * 2
    assert not heat.unseen[:32].any()
    assert np.isnan(heat.rates[-1]).all()
    lines = HeatPanel(id="heat").lines(HeatShown(heat, colour=False), 120, 36)
    text = ["".join(segment.text for segment in line) for line in lines]
    assert "??????" in text[33]
    assert "not looked at yet" in text[-1]
