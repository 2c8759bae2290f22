"""`report trace` shows what a file of events says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pydamon import KernelEvents
from pydamon._cli.main import main
from pydamon._data.recording.events import EventRecorder
from tests.recordings import busy, record


@pytest.fixture
def file(tmp_path: Path) -> str:
    column = np.array([4096, 8 << 20], np.int64)
    values = {"scheme_idx": np.zeros(2, np.int64), "sz_tried": column, "nr_tried": column // 4096}
    times = np.array([10**9, 3 * 10**9])
    events = KernelEvents("damos_stat_after_apply_interval", times, times // 10**9, values)
    with EventRecorder(tmp_path / "e", tuple(values)) as recorder:
        recorder.write([events])
    return str(tmp_path / "e")


def test_the_table_has_units(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "trace", file]) == 0
    shown = capsys.readouterr().out
    assert "2 events" in shown
    assert "8 MiB" in shown
    assert "2,048" in shown


def test_json_has_every_value(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "trace", "--json", file]) == 0
    sums = json.loads(capsys.readouterr().out)["sums"]
    assert [(row["kdamond"], row["scheme"], row["count"]) for row in sums] == [(1, 0, 1), (3, 0, 1)]
    assert sums[1]["fields"]["sz_tried"]["last"] == 8 << 20


def test_other_files_lead_to_the_commands_that_write_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "r.damon", busy(2))
    (tmp_path / "e").write_text("hello")
    for name in ("r.damon", "e"):
        assert main(["report", "trace", str(tmp_path / name)]) == 1
        assert "`pydamon trace --out FILE`" in capsys.readouterr().err
