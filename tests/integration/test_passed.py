"""Kinds of pages of real processes, by pydamon's own sampling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import pydamon
from pydamon import MonitorOptions, Snapshot, UsageError
from pydamon._cli.main import main
from tests.integration.conftest import MIB, needs
from tests.integration.kinds import running_kinds, total

pytestmark = pytest.mark.live


@pytest.fixture
def program() -> Iterator[int]:
    with running_kinds() as pid:
        yield pid


def last_of(pid: int, passed: str, probe: str = "auto") -> Snapshot:
    options = MonitorOptions(passed=passed, probe=probe)
    with pydamon.monitor(pid, engine="sampling", options=options) as mon:
        *_, last = mon.run("3s")
    return last


def test_anonymous_and_other_memory(program: int) -> None:
    last = last_of(program, "anon,file")
    assert 32 * MIB <= total(last, "anon") < 48 * MIB
    assert 16 * MIB <= total(last, "file") < 48 * MIB
    assert last.passed is not None
    assert (last.passed.size_bytes.sum(axis=0) <= last.size).all()


@needs("ebpf")
def test_young_pages_are_those_in_use(program: int) -> None:
    last = last_of(program, "young,active", "ebpf")
    assert 7 * MIB < total(last, "young") < 48 * MIB
    assert total(last, "active") < 96 * MIB


def test_young_needs_a_probe_that_sees_single_pages(program: int) -> None:
    with pytest.raises(UsageError, match="young needs a probe"):
        last_of(program, "young", "refs")


def test_the_command_line_records_and_shows_them(
    program: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "passed.damon"
    argv = ["record", "--engine", "sampling", "--passed", "anon,file", "-d", "2s", "-o", str(out)]
    assert main([*argv, str(program)]) == 0
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["report", "access", str(out)]) == 0
    heading = capsys.readouterr().out.splitlines()[1]
    assert "anon" in heading
    assert "file" in heading
    assert main(["report", "heatmap", str(out), "--where", "anon > 1MiB"]) == 0
    part = pydamon.analysis.where(pydamon.read_recording(out), "anon > 1MiB")
    assert part.table.num_rows > 0
    assert main(["report", "access", str(out), "--where", "huge > 0"]) != 0
    assert "--passed huge" in capsys.readouterr().err
