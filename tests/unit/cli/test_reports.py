from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest
from PIL import Image

from pydamon._cli.main import PROGRAM, main
from pydamon._cli.reports import REPORTS
from pydamon._data.recording import Recorder
from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.snapshot import Footprint, Target
from tests.recordings import BEGIN_NS, MIB, info, record, snapshot, target

APP = target(7, "app", (MIB, 5 * MIB, "rw-p", "[heap]"))
WORKER = Target(8, "worker")
ONE_FILE = [name for name in REPORTS if name not in {"diff", "profile"}]


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "r.damon"
    record(
        file,
        [
            snapshot(
                (APP, WORKER),
                [
                    (0, MIB, 3 * MIB, 20, number),
                    (0, 3 * MIB, 5 * MIB, 0, number),
                    (1, 8 * MIB, 9 * MIB, 2, 0),
                ],
                number,
            )
            for number in range(30)
        ],
    )
    return str(file)


def report(*argv: str) -> int:
    return PROGRAM.main(["report", *argv], "pydamon", standalone_mode=False)  # type: ignore[no-any-return]


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert report(*argv) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_regions_as_json_are_one_object_a_line(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, "regions", path, "--json").splitlines()
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
    }
    assert json.loads(lines[59])["regions"] == [[8 * MIB, 9 * MIB, 2, 0]]


def test_regions_for_people(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "regions", path, "--pid", "7")
    assert text.count("app (pid 7): after") == 30
    assert "worker" not in text
    assert "100000-300000     2 MiB     20/20      0 s     2 MiB  [heap] rw-p" in text


def test_access_says_what_is_hot_and_what_is_not(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "summary", path)
    assert "app (pid 7), worker (pid 8)" in text
    hot = next(line for line in text.splitlines() if line.startswith("Hot "))
    assert "2 MiB" in hot
    assert "40 %" in hot
    assert "3 MiB in the median" in text
    document = json.loads(printed(capsys, "summary", path, "--json"))
    assert document["bytes"]["hot"] == pytest.approx(2 * MIB)
    assert document["mappings"][0]["mapping"] == "[heap]"
    assert document["recording"]["probe"] == "trace"


def test_access(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "access", path).splitlines()
    assert lines[2].split()[1:4] == ["2", "MiB", "100"]
    assert lines[2].split()[-3:] == ["[heap]", "7", "app"]
    document = json.loads(printed(capsys, "access", path, "--json", "--sort=-address"))
    assert [one["start"] for one in document["regions"]] == [8 * MIB, 3 * MIB, MIB]
    hottest = printed(capsys, "access", path, "--json", "--limit", "1", "--snapshot", "0")
    (one,) = json.loads(hottest)["regions"]
    assert (one["start"], one["end"], one["access_rate"], one["age_ns"]) == (MIB, 3 * MIB, 1, 0)
    assert "2 more regions" in printed(capsys, "access", path, "--limit", "1", "--sort", "size")


def test_histograms(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed(capsys, "access", path, "--json", "--histogram", "rate"))
    amounts = dict(zip(document["high"], document["bytes"], strict=True))
    assert amounts[0] == pytest.approx(2 * MIB)
    assert amounts[0.1] + amounts[0.2] == pytest.approx(MIB)
    assert amounts[1] == pytest.approx(2 * MIB)
    assert sum(document["regions"]) == pytest.approx(3)
    # 2 MiB at 0, 1 MiB at 0.1, 2 MiB at 1.
    assert document["percentiles"] == {"0": 0, "25": 0, "50": 0.1, "75": 1, "90": 1, "100": 1}
    for by in ("rate", "age", "idle", "temperature", "size"):
        shown = printed(capsys, "access", path, "--histogram", by)
        assert shown.startswith(f"Bytes by {by if by != 'rate' else 'access rate'}"[:12])
        assert "█" in shown


def test_filters_hold_in_every_report(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    heap = ("--where", "mapping = [heap] and rate > 50%", "--json")
    (one,) = json.loads(printed(capsys, "access", path, *heap))["regions"]
    assert one["start"] == MIB
    wss = json.loads(printed(capsys, "wss", path, *heap))
    assert set(wss["total"]["bytes"]) == {2 * MIB}
    assert json.loads(printed(capsys, "summary", path, *heap))["mappings"][0]["access_rate"] == 1
    assert json.loads(printed(capsys, "idle", path, *heap))["last_bytes"][0] == 0
    assert json.loads(printed(capsys, "mappings", path, *heap))["mappings"][0]["access_rate"] == 1
    assert json.loads(printed(capsys, "footprint", path, *heap))["total"]["wss_bytes"][0] == 2 * MIB
    assert json.loads(printed(capsys, "heatmap", path, *heap))["segments"] == [[MIB, 3 * MIB]]
    assert printed(capsys, "regions", path, *heap).count("\n") == 60
    before_after = json.loads(printed(capsys, "diff", path, path, *heap))
    assert len(before_after["mappings"]) == 1


def test_a_filter_that_holds_for_nothing_says_so(path: str) -> None:
    with pytest.raises(RecordingError, match="matches size > 1TiB"):
        report("wss", path, "--where", "size > 1TiB")
    with pytest.raises(UsageError, match="character 6"):
        report("wss", path, "--where", "size ?")


def test_idle(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed(capsys, "idle", path, "--json", "--ages", "0s,1s,2900ms,1min"))
    assert document["ages_ns"] == [0, 10**9, 2900 * 10**6, 60 * 10**9]
    assert document["last_bytes"] == [2 * MIB, 2 * MIB, 2 * MIB, 0]
    # Idle for 1 s from the eleventh snapshot on: 20 of 30.
    assert document["mean_bytes"] == pytest.approx([2 * MIB, 2 * MIB * 2 / 3, 2 * MIB / 30, 0])
    assert document["total_bytes"] == 5 * MIB
    text = printed(capsys, "idle", path)
    assert "not accessed" in text
    assert "1 min" not in text


def test_mappings(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "mappings", path).splitlines()
    assert lines[2].split()[-3:] == ["[heap]", "7", "app"]
    kinds = printed(capsys, "mappings", path, "--by", "kind")
    assert "heap (1)" in kinds
    assert "not mapped (1)" in kinds


def test_footprint(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "VSZ and RSS are not in this recording" in printed(capsys, "footprint", path)
    assert json.loads(printed(capsys, "footprint", path, "--json"))["total"]["rss_bytes"] is None
    file = tmp_path / "f.damon"
    one = snapshot((APP, WORKER), [(0, MIB, 2 * MIB, 1, 0), (1, 0, MIB, 1, 0)])
    known = (Footprint(500 * MIB, 40 * MIB), Footprint(100 * MIB, 2 * MIB))
    record(file, [dataclasses.replace(one, footprints=known)])
    document = json.loads(printed(capsys, "footprint", str(file), "--json"))
    assert document["total"]["vsz_bytes"] == [600 * MIB]
    assert [one["rss_bytes"] for one in document["targets"]] == [[40 * MIB], [2 * MIB]]
    assert "42 MiB" in printed(capsys, "footprint", str(file))


def test_diff(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No mapping changed" in printed(capsys, "diff", path, path)
    other = tmp_path / "other.damon"
    moved = target(99, "app", (0, MIB, "rw-p", "[stack]"), (64 * MIB, 68 * MIB, "rw-p", "[heap]"))
    regions = [(0, 0, MIB, 20, 1), (0, 64 * MIB, 68 * MIB, 0, 1)]
    record(other, [snapshot((moved,), regions, number) for number in range(30)])
    document = json.loads(printed(capsys, "diff", path, str(other), "--json"))
    first, second, third = document["mappings"]
    assert (first["target"], first["mapping"]) == ("app", "[heap]")
    assert first["bytes_before"]["hot"] == pytest.approx(2 * MIB)
    assert first["bytes_after"]["hot"] == 0
    assert first["bytes_after"]["total"] == pytest.approx(4 * MIB)
    assert (second["mapping"], second["bytes_before"]["total"]) == ("[stack]", 0)
    assert (third["target"], third["access_rate_after"]) == ("worker", 0)
    text = printed(capsys, "diff", path, str(other))
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
    (one,) = json.loads(printed(capsys, "times", *phases[:3], "--json"))["times"]
    span = {"start_ns": BEGIN_NS + 10**8, "end_ns": BEGIN_NS + 2 * 10**8, "bytes": 2 * MIB}
    assert one == span
    lines = printed(capsys, "times", *phases[:3]).splitlines()
    assert lines[0] == "100 ms of 300 ms (33 %)"
    assert lines[2].split() == ["100", "ms", "200", "ms", "100", "ms", "2", "MiB"]
    much = printed(capsys, "times", *phases[:3], "--least", "3MiB", "--json")
    assert json.loads(much)["times"] == []
    whole = json.loads(printed(capsys, "times", phases[0], "--json"))["times"]
    assert [one["end_ns"] - one["start_ns"] for one in whole] == [3 * 10**8]


def test_profile(phases: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed(capsys, "profile", *phases, "--json"))
    assert (document["samples_inside"], document["samples_outside"]) == (2, 2)
    found = {
        (one["function"], one["file"]): (one["inside"], one["outside"])
        for one in document["functions"]
    }
    assert found == {
        ("hot_loop", "/usr/bin/app"): (0.5, 0.5),
        ("operator new(unsigned long)", "/usr/lib/libc++.so"): (0.5, 0),
        ("[unknown]", "[kernel.kallsyms]"): (0, 0.5),
    }
    assert "50 %       50 %  hot_loop" in printed(capsys, "profile", *phases)
    with pytest.raises(RecordingError, match="no function was sampled"):
        report("profile", *phases[:4], phases[0])


def test_a_long_summary_has_the_other_views(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "summary", path, "--long")
    for part in ("Mappings", "access rate", "working set in 30", "footprint in 30"):
        assert part in text


@pytest.mark.parametrize("kind", ["svg", "png", "html"])
def test_pictures(kind: str, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / f"heat.{kind}"
    assert report("heatmap", path, "--range", "all", "--out", str(out)) == 0
    assert str(out) in capsys.readouterr().err
    content = out.read_bytes()
    if kind == "png":
        picture = Image.open(out).convert("RGB")
        assert picture.getpixel((200, 60)) == (252, 253, 170)
        assert picture.getpixel((200, picture.height - 120)) == (16, 10, 46)
    elif kind == "svg":
        texts = [one.text for one in ElementTree.fromstring(content).iter() if one.text]
        assert "[heap]" in texts
        assert {"100000", "0 s", "100 %"} <= set(texts)
    else:
        assert b"Content-Security-Policy" in content
    with pytest.raises(RecordingError, match="exists already"):
        report("heatmap", path, "--out", str(out))
    assert report("heatmap", path, "--out", str(out), "--force") == 0
    with pytest.raises(RecordingError, match="cannot write"):
        report("heatmap", path, "--out", str(tmp_path / "missing" / f"x.{kind}"))


def test_a_png_without_its_library_says_what_to_install(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match="needs Pillow") as caught:
        report("heatmap", path, "--out", str(tmp_path / "x.png"))
    assert "pydamon[png]" in caught.value.hint


def test_a_heat_map_of_a_span_of_time(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = printed(capsys, "heatmap", path, "--time", "1s-2s", "--json", "--width", "4")
    edges = json.loads(named)["time_edges_ns"]
    assert (edges[0] - BEGIN_NS, edges[-1] - BEGIN_NS) == (10**9, 2 * 10**9)
    with pytest.raises(RecordingError, match="span of time"):
        report("heatmap", path, "--time", "10s-20s")


def test_names_that_are_not_utf8_are_valid_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "odd.damon"
    odd = target(7, "o\udc80", (0, MIB, "r--p", "/tmp/\udcff \U0001f600"))
    facts = dataclasses.replace(info(), commands=(("/bin/\udcff", "\\udcff", "\U0001f600"),))
    with Recorder(file, facts) as recorder:
        recorder.write(snapshot((odd,), [(0, 0, MIB, 1, 0)]))
    text = printed(capsys, "summary", str(file), "--json")
    document = json.loads(text)
    assert document["recording"]["commands"] == [["/bin/\\udcff", "\\udcff", "\U0001f600"]]
    assert document["mappings"][0]["mapping"] == "/tmp/\\udcff \U0001f600"
    valid = duckdb.connect().execute("select json_valid(?)", [text]).fetchall()
    assert valid == [(True,)]
    html = tmp_path / "odd.html"
    assert report("heatmap", str(file), "--out", str(html)) == 0
    assert html.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_reports_fit_into_narrow_terminals(
    width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    file = str(tmp_path / "many.damon")
    many = [
        target(
            100 + i, f"a-rather-long-name-{i}", (MIB, 5 * MIB, "rw-p", f"/usr/lib/lib{i:030}.so")
        )
        for i in range(12)
    ]
    regions = [(i, MIB, 5 * MIB, i, 0) for i in range(12)]
    record(Path(file), [snapshot(many, regions, number) for number in range(30)])
    for name in ("summary", "access", "wss", "footprint", "idle", "mappings", "heatmap"):
        lines = printed(capsys, name, file).splitlines()
        assert max(map(len, lines)) <= width, name
    # A region or a mapping is one line, and its target can be told by its pid.
    lines = printed(capsys, "mappings", file).splitlines()
    rows = [line for line in lines if line.startswith("4 MiB")]
    assert len(rows) == 12
    assert all(any(f" {100 + i} a-" in row for row in rows) for i in range(12))
    assert sum(line.split()[:2] == ["4", "MiB"] for line in lines) == 12


def test_wss(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed(capsys, "wss", path, "--json", "--percentiles", "50,99.9"))
    assert document["total"]["percentiles"] == {"50": 3 * MIB, "99.9": 3 * MIB}
    assert [one["pid"] for one in document["targets"]] == [7, 8]
    assert "99.9 %  3 MiB" in printed(capsys, "wss", path, "--percentiles", "99.9")


def test_heatmap(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--range", "all", "--width", "3", "--height", "2")
    text = printed(capsys, "heatmap", path, *options)
    assert "100000 │999│ [heap]" in text
    assert "│...│" in text
    assert "--pid 8" in text
    document = json.loads(printed(capsys, "heatmap", path, "--json", *options))
    assert document["access_rates"] == [[1, 1, 1], [0, 0, 0]]
    assert document["segments"] == [[MIB, 5 * MIB]]
    named = printed(capsys, "heatmap", path, "--range", "100000-200000", "--json")
    assert json.loads(named)["segments"] == [[MIB, 2 * MIB]]


@pytest.mark.parametrize(
    "argv",
    [
        ("heatmap", "--range", "nonsense"),
        ("heatmap", "--range", "2000-1000"),
        ("heatmap", "--width", "0"),
        ("wss", "--percentiles", "200"),
        ("wss", "--percentiles", ""),
        ("heatmap", "--time", "5s"),
        ("heatmap", "--time", "5s-1s"),
        ("heatmap", "--out", "heat.jpeg"),
        ("access", "--sort", "warmth"),
        ("access", "--limit", "0"),
        ("access", "--histogram", "pid"),
        ("idle", "--ages", "soon"),
        ("summary", "--idle", "5"),
        ("diff", "only-one"),
        ("unknown",),
    ],
)
def test_options_that_make_no_sense_are_refused(argv: tuple[str, ...]) -> None:
    assert main(["report", *argv]) == 2


@pytest.mark.parametrize("kind", ONE_FILE)
def test_a_recording_without_snapshots_says_so(tmp_path: Path, kind: str) -> None:
    with Recorder(tmp_path / "r.damon", info()) as recorder:
        with pytest.raises(RecordingError, match="has no snapshots") as caught:
            report(kind, str(recorder.path))
        assert "not closed" in caught.value.hint


@pytest.mark.parametrize("kind", ONE_FILE)
def test_a_process_that_is_not_in_there_is_said_so(path: str, kind: str) -> None:
    with pytest.raises(RecordingError, match="no process 99"):
        report(kind, path, "--pid", "99")


def test_what_a_crash_left_is_shown_with_a_word_of_warning(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(path)
    file.write_bytes(file.read_bytes()[:-8])
    assert report("wss", path) == 0
    captured = capsys.readouterr()
    assert "working set in" in captured.out
    assert "not complete" in captured.err


def test_a_reader_that_leaves_early_is_no_error(path: str) -> None:
    script = (
        "import sys\n"
        "from pydamon._cli.main import main\n"
        "sys.exit(max(main(['report', *sys.argv[1:]]) for _ in range(20)))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, "regions", path, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_what_takes_long_to_read_says_how_far_it_is(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert report("wss", path) == 0
    assert capsys.readouterr().err == ""
    for name in ("_PROGRESS_AFTER_S", "_PROGRESS_EVERY_S"):
        monkeypatch.setattr(f"pydamon._cli.rewriting.{name}", -1.0)
    assert report("wss", path) == 0
    assert capsys.readouterr().err == f"\r\x1b[Kreading {path}: 90 regions\r\x1b[K"
