"""`pydamon bench`, the parts that run in a few seconds.

Private names: the benchmarks have no public interface but the command.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pydamon._bench import accuracy
from pydamon.workloads import PATTERNS
from tests.command_line import main
from tests.integration.conftest import needs


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["bench", *argv, "--quick", "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["benchmark"] == argv[0]
    assert document["machine"]["cores"] >= 1
    return document


def test_core(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(capsys, "core")["results"]
    assert [row["regions"] for row in rows] == [10, 100, 1000, 10_000, 100_000]
    assert all(row["merged_to"] < row["regions"] for row in rows)
    # A thousand times the regions cost far less than a thousand times as much.
    assert rows[3]["merge_us"] < 300 * rows[0]["merge_us"]


@pytest.mark.live
@needs("ebpf")
def test_accuracy_on_a_configuration_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "half.cfg"
    path.write_text("hot, 16777216\ncold, 16777216\n\nsteady\n600000\nhot, 0, 4096, 1, ro\n")
    tools = ("pydamon", "exact")
    document = run(capsys, "accuracy", "--seed", "3", "--workload", str(path), "--tool", *tools)
    assert document["seed"] == 3
    pydamon, exact = document["results"]
    assert (pydamon["name"], pydamon["tool"], exact["tool"]) == ("half", "pydamon", "exact")
    assert pydamon["f1"] >= 0.9
    assert exact["f1"] >= 0.99
    assert exact["wss_error"] <= 0.01
    assert pydamon["noticed_ms"] is None  # nothing changed


@pytest.mark.live
@needs("ebpf")
def test_a_working_set_that_fits_into_the_tlb() -> None:
    plan = accuracy.Plan(settle_s=2.5, look_s=1.5)
    (row,) = accuracy.measure(PATTERNS["tlb"], ["pydamon"], plan, 1, print)
    # Without a flush of the TLB, these 256 KiB look idle.
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
def test_invalid_workloads(
    name: str, text: str | None, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    assert main(["bench", "accuracy", "--workload", str(path) if text else name]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
