"""`pydamon bench`, as far as it can be run in a few seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pydamon._bench import accuracy
from pydamon._cli.main import main
from pydamon._workloads import PATTERNS
from tests.integration.conftest import needs


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["bench", *argv, "--quick", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["benchmark"] == argv[0]
    assert found["machine"]["cores"] >= 1
    return found


def test_core(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(capsys, "core")["results"]
    assert [row["regions"] for row in rows] == [10, 100, 1000, 10_000, 100_000]
    assert all(row["merged_to"] < row["regions"] for row in rows)
    # A thousand times the regions cost far less than a thousand times as much.
    assert rows[3]["merge_us"] < 300 * rows[0]["merge_us"]


@pytest.mark.live
@needs("ebpf")
def test_accuracy_of_a_file_of_masim(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "half.cfg"
    path.write_text("hot, 16777216\ncold, 16777216\n\nsteady\n600000\nhot, 0, 4096, 1, ro\n")
    tools = ("pydamon", "exact")
    found = run(capsys, "accuracy", "--seed", "3", "--workload", str(path), "--tool", *tools)
    assert found["seed"] == 3
    pydamon, exact = found["results"]
    assert (pydamon["name"], pydamon["tool"], exact["tool"]) == ("half", "pydamon", "exact")
    assert pydamon["f1"] >= 0.9
    assert exact["f1"] >= 0.99
    assert exact["wss_error"] <= 0.01
    assert pydamon["noticed_ms"] is None  # nothing changed


@pytest.mark.live
@needs("ebpf")
def test_a_working_set_within_the_reach_of_the_tlb() -> None:
    plan = accuracy.Plan(settle_s=2.5, look_s=1.5)
    (row,) = accuracy.measure(PATTERNS["tlb"], ["pydamon"], plan, 1, print)
    # 256 KiB that never leave the TLB: without a flush they look idle.
    assert row.wss_error <= 0.1
    assert row.f1 >= 0.95


@pytest.mark.live
@needs("ebpf")
def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["bench", "accuracy", "--quick", "--workload", "tlb", "--tool", "exact"]
    assert main(argv) == 0
    captured = capsys.readouterr()
    heading, line = captured.out.splitlines()
    assert heading.split()[:3] == ["workload", "tool", "F1"]
    assert line.split()[:2] == ["tlb", "exact"]
    assert "accuracy: tlb with exact" in captured.err


@needs("ebpf")
@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("no-such-thing", None, "no workload"), ("bad.cfg", "a, b", "line 1: not a size")],
)
def test_workloads_that_are_none(
    name: str, text: str | None, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    assert main(["bench", "accuracy", "--workload", str(path) if text else name]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
