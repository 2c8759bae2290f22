"""The content of each report, for people and as JSON.

Private names: `Footprint`, which only monitors and files make.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pydamon import RecordingError, UsageError
from pydamon._model.snapshot import Footprint
from tests.command_line import run_report
from tests.recordings import BEGIN_NS, MIB, info, record, snapshot, target
from tests.unit.cli.reports import APP, WORKER, printed


def test_regions_as_json_are_an_object_a_line(
    report_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, "regions", report_path, "--json").splitlines()
    assert len(lines) == 60
    first = snapshot((), [])
    assert json.loads(lines[0]) == {
        "start_ns": first.start_ns,
        "end_ns": first.end_ns,
        "pid": 7,
        "max_nr_accesses": 20,
        "process_started_ns": 0,
        "host": info().hostname,
        "target": "app",
        "regions": [[MIB, 3 * MIB, 20, 0], [3 * MIB, 5 * MIB, 0, 0]],
        "access_share": [1.0, 0.0],
        "access_share_error": [None, None],
        "hz": [200.0, 0.0],
    }
    assert json.loads(lines[59])["regions"] == [[8 * MIB, 9 * MIB, 2, 0]]


def test_regions_for_people(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "regions", report_path, "--pid", "7")
    assert text.count("app (pid 7): after") == 30
    assert "worker" not in text
    assert "100000-300000     2 MiB     20/20         200Hz      0 s     2 MiB  [heap] rw-p" in text


def test_summary(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "summary", report_path)
    assert "app (pid 7), worker (pid 8)" in text
    hot = next(line for line in text.splitlines() if line.startswith("Hot "))
    assert "2 MiB" in hot
    assert "40 %" in hot
    assert "3 MiB in the median" in text
    document = json.loads(printed(capsys, "summary", report_path, "--json"))
    assert document["bytes"]["hot"] == pytest.approx(2 * MIB)
    assert document["mappings"][0]["mapping"] == "[heap]"
    assert document["recording"]["probe"] == "trace"
    # Two regions of one process and one of another, in every snapshot.
    assert "3 in the median, 3 to 3 in a snapshot" in text
    assert document["regions"] == dict.fromkeys(("0", "25", "50", "75", "90", "100"), 3)


def test_access(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "access", report_path).splitlines()
    assert lines[2].split()[1:4] == ["2", "MiB", "100"]
    assert lines[2].split()[-3:] == ["[heap]", "7", "app"]
    document = json.loads(printed(capsys, "access", report_path, "--json", "--sort=-address"))
    assert [region["start"] for region in document["regions"]] == [8 * MIB, 3 * MIB, MIB]
    hottest = printed(capsys, "access", report_path, "--json", "--limit", "1", "--snapshot", "0")
    (region,) = json.loads(hottest)["regions"]
    assert (region["start"], region["end"], region["access_rate"], region["age_ns"]) == (
        MIB,
        3 * MIB,
        1,
        0,
    )
    assert "2 more regions" in printed(
        capsys, "access", report_path, "--limit", "1", "--sort", "size"
    )


def test_histograms(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed(capsys, "access", report_path, "--json", "--histogram", "rate"))
    amounts = dict(zip(document["high"], document["bytes"], strict=True))
    assert amounts[0] == pytest.approx(2 * MIB)
    assert amounts[0.1] + amounts[0.2] == pytest.approx(MIB)
    assert amounts[1] == pytest.approx(2 * MIB)
    assert sum(document["regions"]) == pytest.approx(3)
    # 2 MiB at 0, 1 MiB at 0.1, 2 MiB at 1.
    assert document["percentiles"] == {"0": 0, "25": 0, "50": 0.1, "75": 1, "90": 1, "100": 1}
    for by in ("rate", "age", "idle", "temperature", "size"):
        shown = printed(capsys, "access", report_path, "--histogram", by)
        assert shown.startswith(f"Bytes by {by if by != 'rate' else 'access rate'}"[:12])
        assert "█" in shown


def test_every_report_filters(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    heap = ("--where", "mapping = [heap] and rate > 50%", "--json")
    (region,) = json.loads(printed(capsys, "access", report_path, *heap))["regions"]
    assert region["start"] == MIB
    wss = json.loads(printed(capsys, "wss", report_path, *heap))
    assert set(wss["total"]["bytes"]) == {2 * MIB}
    assert (
        json.loads(printed(capsys, "summary", report_path, *heap))["mappings"][0]["access_rate"]
        == 1
    )
    assert json.loads(printed(capsys, "idle", report_path, *heap))["last_bytes"][0] == 0
    assert (
        json.loads(printed(capsys, "mappings", report_path, *heap))["mappings"][0]["access_rate"]
        == 1
    )
    assert (
        json.loads(printed(capsys, "footprint", report_path, *heap))["total"]["wss_bytes"][0]
        == 2 * MIB
    )
    assert json.loads(printed(capsys, "heatmap", report_path, *heap))["segments"] == [
        [MIB, 3 * MIB]
    ]
    assert printed(capsys, "regions", report_path, *heap).count("\n") == 60
    before_after = json.loads(printed(capsys, "diff", report_path, report_path, *heap))
    assert len(before_after["mappings"]) == 1


def test_a_filter_that_matches_nothing_is_an_error(report_path: str) -> None:
    with pytest.raises(RecordingError, match="matches size > 1TiB"):
        run_report("wss", report_path, "--where", "size > 1TiB")
    with pytest.raises(UsageError, match="character 6"):
        run_report("wss", report_path, "--where", "size ?")


def test_idle(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(
        printed(capsys, "idle", report_path, "--json", "--ages", "0s,1s,2900ms,1min")
    )
    assert document["ages_ns"] == [0, 10**9, 2900 * 10**6, 60 * 10**9]
    assert document["last_bytes"] == [2 * MIB, 2 * MIB, 2 * MIB, 0]
    # Idle for 1 s from the eleventh snapshot on: 20 of 30.
    assert document["mean_bytes"] == pytest.approx([2 * MIB, 2 * MIB * 2 / 3, 2 * MIB / 30, 0])
    assert document["total_bytes"] == 5 * MIB
    text = printed(capsys, "idle", report_path)
    assert "not accessed" in text
    assert "1 min" not in text


def test_mappings(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "mappings", report_path).splitlines()
    assert lines[2].split()[-3:] == ["[heap]", "7", "app"]
    kinds = printed(capsys, "mappings", report_path, "--by", "kind")
    assert "heap (1)" in kinds
    assert "not mapped (1)" in kinds


def test_footprint(report_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "VSZ and RSS are not in this recording" in printed(capsys, "footprint", report_path)
    assert (
        json.loads(printed(capsys, "footprint", report_path, "--json"))["total"]["rss_bytes"]
        is None
    )
    file = tmp_path / "f.damon"
    both = snapshot((APP, WORKER), [(0, MIB, 2 * MIB, 1, 0), (1, 0, MIB, 1, 0)])
    known = (Footprint(500 * MIB, 40 * MIB), Footprint(100 * MIB, 2 * MIB))
    record(file, [dataclasses.replace(both, footprints=known)])
    document = json.loads(printed(capsys, "footprint", str(file), "--json"))
    assert document["total"]["vsz_bytes"] == [600 * MIB]
    assert [series["rss_bytes"] for series in document["targets"]] == [[40 * MIB], [2 * MIB]]
    assert "42 MiB" in printed(capsys, "footprint", str(file))


def test_diff(report_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No mapping changed" in printed(capsys, "diff", report_path, report_path)
    other = tmp_path / "other.damon"
    moved = target(99, "app", (0, MIB, "rw-p", "[stack]"), (64 * MIB, 68 * MIB, "rw-p", "[heap]"))
    regions = [(0, 0, MIB, 20, 1), (0, 64 * MIB, 68 * MIB, 0, 1)]
    record(other, [snapshot((moved,), regions, number) for number in range(30)])
    document = json.loads(printed(capsys, "diff", report_path, str(other), "--json"))
    first, second, third = document["mappings"]
    assert (first["target"], first["mapping"]) == ("app", "[heap]")
    assert first["bytes_before"]["hot"] == pytest.approx(2 * MIB)
    assert first["bytes_after"]["hot"] == 0
    assert first["bytes_after"]["total"] == pytest.approx(4 * MIB)
    assert (second["mapping"], second["bytes_before"]["total"]) == ("[stack]", 0)
    assert (third["target"], third["access_rate_after"]) == ("worker", 0)
    text = printed(capsys, "diff", report_path, str(other))
    assert "-2 MiB" in text
    assert "+1 MiB" in text


PERF = """\
app 7 [001] {0}.050000001:   10101010 cpu-clock:      7f0237f8a812 hot_loop+0x132 (/usr/bin/app)
app 7 [001] {0}.150000002:   10101010 cpu-clock:      7f0237f8a812 hot_loop+0x14 (/usr/bin/app)
app with blanks 7/8 {0}.160000: cpu-clock:
\t          1af273 operator new(unsigned long)+0x3 (/usr/lib/libc++.so)
\t          2af273 main+0x3 (/usr/bin/app)

app 7 [001] {0}.250000:   10101010 cpu-clock:      ffffffff813a2313 [unknown] ([kernel.kallsyms])
app 7 [001] 5.050000:   10101010 cpu-clock:      7f0237f8a812 too_early (/usr/bin/app)
"""


@pytest.fixture
def phases(tmp_path: Path) -> list[str]:
    """A recording in which the second of three snapshots is hot, and samples of perf."""
    file, samples = tmp_path / "phases.damon", tmp_path / "cpu.txt"
    record(file, [snapshot((APP,), [(0, MIB, 3 * MIB, 20 * (n == 1), 0)], n) for n in range(3)])
    samples.write_text(PERF.format(BEGIN_NS // 10**9))
    return [str(file), "--where", "rate > 50%", "--samples", str(samples)]


def test_times(phases: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (time,) = json.loads(printed(capsys, "times", *phases[:3], "--json"))["times"]
    expected = {"start_ns": BEGIN_NS + 10**8, "end_ns": BEGIN_NS + 2 * 10**8, "bytes": 2 * MIB}
    assert time == expected
    lines = printed(capsys, "times", *phases[:3]).splitlines()
    assert lines[0] == "100 ms of 300 ms (33 %)"
    assert lines[2].split() == ["100", "ms", "200", "ms", "100", "ms", "2", "MiB"]
    much = printed(capsys, "times", *phases[:3], "--least", "3MiB", "--json")
    assert json.loads(much)["times"] == []
    whole = json.loads(printed(capsys, "times", phases[0], "--json"))["times"]
    assert [span["end_ns"] - span["start_ns"] for span in whole] == [3 * 10**8]


def test_profile(phases: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed(capsys, "profile", *phases, "--json"))
    assert (document["samples_inside"], document["samples_outside"]) == (2, 2)
    shares = {
        (function["function"], function["file"]): (function["inside"], function["outside"])
        for function in document["functions"]
    }
    assert shares == {
        ("hot_loop", "/usr/bin/app"): (0.5, 0.5),
        ("operator new(unsigned long)", "/usr/lib/libc++.so"): (0.5, 0),
        ("[unknown]", "[kernel.kallsyms]"): (0, 0.5),
    }
    assert "50 %       50 %  hot_loop" in printed(capsys, "profile", *phases)
    with pytest.raises(RecordingError, match="no function was sampled"):
        run_report("profile", *phases[:4], phases[0])


def test_a_long_summary_has_more_views(
    report_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "summary", report_path, "--long")
    for part in ("Mappings", "access rate", "working set in 30", "footprint in 30"):
        assert part in text


def test_a_heat_map_of_a_span_of_time(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = printed(capsys, "heatmap", report_path, "--time", "1s-2s", "--json", "--width", "4")
    edges = json.loads(named)["time_edges_ns"]
    assert (edges[0] - BEGIN_NS, edges[-1] - BEGIN_NS) == (10**9, 2 * 10**9)
    with pytest.raises(RecordingError, match="span of time"):
        run_report("heatmap", report_path, "--time", "10s-20s")


def test_wss(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed(capsys, "wss", report_path, "--json", "--percentiles", "50,99.9"))
    assert document["total"]["percentiles"] == {"50": 3 * MIB, "99.9": 3 * MIB}
    assert [series["pid"] for series in document["targets"]] == [7, 8]
    assert "99.9 %  3 MiB" in printed(capsys, "wss", report_path, "--percentiles", "99.9")


def test_heatmap(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--range", "all", "--width", "3", "--height", "2")
    text = printed(capsys, "heatmap", report_path, *options)
    assert "100000 │999│ [heap]" in text
    assert "│...│" in text
    assert "--pid 8" in text
    document = json.loads(printed(capsys, "heatmap", report_path, "--json", *options))
    assert document["access_rates"] == [[1, 1, 1], [0, 0, 0]]
    assert document["segments"] == [[MIB, 5 * MIB]]
    named = printed(capsys, "heatmap", report_path, "--range", "100000-200000", "--json")
    assert json.loads(named)["segments"] == [[MIB, 2 * MIB]]
