"""Running a report, and the targets of the recording in `conftest.py`."""

from __future__ import annotations

import pytest

from pydamon import Target
from tests.command_line import run_report
from tests.recordings import MIB, target

__all__ = ["APP", "WORKER", "printed"]

APP = target(7, "app", (MIB, 5 * MIB, "rw-p", "[heap]"))
WORKER = Target(8, "worker")


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a report that must succeed without warnings, and return its output."""
    assert run_report(*argv) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out
