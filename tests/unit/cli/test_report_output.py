"""Reports beside their content: pictures, widths, odd names, errors and warnings."""

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

from pydamon import Recorder, RecordingError, UsageError
from tests.command_line import REPORTS, main, run_report
from tests.recordings import MIB, info, record, snapshot, target
from tests.unit.cli.reports import printed

# `trace` reads events, not recordings.
ONE_FILE = [name for name in REPORTS if name not in {"diff", "profile", "trace"}]


@pytest.mark.parametrize("kind", ["svg", "png", "html"])
def test_pictures(
    kind: str, report_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"heat.{kind}"
    assert run_report("heatmap", report_path, "--range", "all", "--out", str(out)) == 0
    assert str(out) in capsys.readouterr().err
    content = out.read_bytes()
    if kind == "png":
        picture = Image.open(out).convert("RGB")
        assert picture.getpixel((200, 60)) == (252, 253, 170)
        assert picture.getpixel((200, picture.height - 120)) == (16, 10, 46)
    elif kind == "svg":
        texts = [node.text for node in ElementTree.fromstring(content).iter() if node.text]
        assert "[heap]" in texts
        assert {"100000", "0 s", "100 %"} <= set(texts)
    else:
        assert b"Content-Security-Policy" in content
    with pytest.raises(RecordingError, match="exists already"):
        run_report("heatmap", report_path, "--out", str(out))
    assert run_report("heatmap", report_path, "--out", str(out), "--force") == 0
    with pytest.raises(RecordingError, match="cannot write"):
        run_report("heatmap", report_path, "--out", str(tmp_path / "missing" / f"x.{kind}"))


def test_a_png_without_pillow_names_the_extra_to_install(
    report_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match="needs Pillow") as caught:
        run_report("heatmap", report_path, "--out", str(tmp_path / "x.png"))
    assert "pydamon[png]" in caught.value.hint


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
    assert run_report("heatmap", str(file), "--out", str(html)) == 0
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
    # A mapping is a line, which names the pid of its process.
    lines = printed(capsys, "mappings", file).splitlines()
    rows = [line for line in lines if line.startswith("4 MiB")]
    assert len(rows) == 12
    assert all(any(f" {100 + i} a-" in row for row in rows) for i in range(12))
    assert sum(line.split()[:2] == ["4", "MiB"] for line in lines) == 12


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
def test_invalid_options(argv: tuple[str, ...]) -> None:
    assert main(["report", *argv]) == 2


@pytest.mark.parametrize("kind", ONE_FILE)
def test_a_recording_without_snapshots_is_an_error(tmp_path: Path, kind: str) -> None:
    with Recorder(tmp_path / "r.damon", info()) as recorder:
        with pytest.raises(RecordingError, match="has no snapshots") as caught:
            run_report(kind, str(recorder.path))
        assert "not closed" in caught.value.hint


@pytest.mark.parametrize("kind", ONE_FILE)
def test_a_missing_process_is_an_error(report_path: str, kind: str) -> None:
    with pytest.raises(RecordingError, match="no process 99"):
        run_report(kind, report_path, "--pid", "99")


def test_a_truncated_recording_is_shown_with_a_warning(
    report_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(report_path)
    file.write_bytes(file.read_bytes()[:-8])
    assert run_report("wss", report_path) == 0
    captured = capsys.readouterr()
    assert "working set in" in captured.out
    assert "not complete" in captured.err


def test_a_reader_that_leaves_early_causes_no_error(report_path: str) -> None:
    script = (
        "import sys\n"
        "from pydamon._cli.main import main\n"
        "sys.exit(max(main(['report', *sys.argv[1:]]) for _ in range(20)))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, "regions", report_path, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_slow_reading_shows_progress(
    report_path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run_report("wss", report_path) == 0
    assert capsys.readouterr().err == ""
    for name in ("_PROGRESS_AFTER_S", "_PROGRESS_EVERY_S"):
        monkeypatch.setattr(f"pydamon._cli.streams.{name}", -1.0)
    assert run_report("wss", report_path) == 0
    assert capsys.readouterr().err == f"\r\x1b[Kreading {report_path}: 90 regions\r\x1b[K"
