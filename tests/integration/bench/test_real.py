"""Real programs, and the judge, whose own accuracy must be right.

Private names: the benchmarks have no public interface but the command.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import psutil
import pytest

from pydamon._bench import real
from pydamon._bench.judge import ExactTruth, judge
from pydamon._bench.programs import PROGRAMS
from pydamon._model.regions import PAGE_SIZE
from pydamon._observe.linux.monitors import other_monitor
from pydamon.workloads import pattern
from tests.command_line import main
from tests.integration.conftest import needs


@pytest.mark.live
@needs("ebpf")
@pytest.mark.parametrize("name", ["shared", "huge"])
def test_the_judge_finds_the_truth(name: str) -> None:
    with pattern(name).start(seed=1) as running:
        judged = judge([running.pid], 3e8, 2)
        at = next(iter(running.truth.phases)).start_ns
        truth = running.truth.pages(at, at + 3 * 10**8)
        pages = {page.start: page for page in judged.pages(running.pid)}
    chances = np.concatenate([page.chance for page in pages.values()])
    starts = np.concatenate(
        [page.start + PAGE_SIZE * np.arange(len(page.chance)) for page in pages.values()]
    )
    # Of shared pages, what another monitor takes of one process counts for the others, too.
    taken = 0.003 if other_monitor() else 0.0
    for part in truth:
        first, last = np.searchsorted(starts, (part.start, part.end))
        wrong = np.abs(chances[first:last] - part.chance).sum()
        most = 0.01 * max(part.chance.sum(), 100) + taken * len(part.chance)
        assert wrong <= most, (part.region, wrong)


@pytest.mark.live
@needs("ebpf")
def test_a_program() -> None:
    plan = real.Plan(settle_s=1.0, look_s=1.0, judge_s=1.0, rounds=1)
    messages: list[str] = []
    mine, exact = real.measure(PROGRAMS["sqlite"], ["pydamon"], plan, 1, messages.append)
    assert (mine.tool, exact.tool) == ("pydamon", "exact")
    assert mine.missing == ""
    assert 150 << 20 < mine.resident_bytes < 400 << 20
    assert 0 < mine.hot_bytes < mine.resident_bytes / 4
    assert 0 < exact.wss_error < 0.2
    assert exact.f1 > 0.6
    assert mine.wss_bytes == pytest.approx(exact.wss_bytes, rel=0.7)
    assert 0 < mine.cpu < 0.2
    assert messages == ["real: sqlite starts", "real: sqlite with pydamon, 1 of 1"]


@pytest.mark.live
@needs("ebpf")
def test_the_programs_end_with_the_benchmark() -> None:
    argv = [sys.executable, "-m", "pydamon", "bench", "real", "--quick"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr is not None
        while "with pydamon" not in bench.stderr.readline():
            assert bench.poll() is None
        (program,) = psutil.Process(bench.pid).children()
        bench.terminate()
        assert bench.wait(20) == 130
    assert not program.is_running()


@needs("ebpf")
def test_a_missing_program_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["bench", "real", "--program", "redis-hot", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["missing"] == "redis-server is not installed"
    assert row["f1"] is None
    assert main(["bench", "real", "--program", "redis-hot"]) == 0
    assert "redis-server is not installed" in capsys.readouterr().out


def test_an_unknown_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "real", "--program", "oracle"]) == 2
    assert "oracle" in capsys.readouterr().err


def test_a_window_against_the_others() -> None:
    rows = np.array([[True, True, False, False], [True, True, False, True]])
    truth = ExactTruth(((7, 0, 4),), rows, 4 * PAGE_SIZE, 1e9, 0.0)
    assert truth.accessed_bytes == 2.5 * PAGE_SIZE
    assert truth.hot_bytes == 3 * PAGE_SIZE
    first, second = truth.agreement()
    assert math.isclose(first.f1, 0.8)
    assert second.wss_error == 0.5
