"""A recording for the tests of reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recordings import MIB, record, snapshot
from tests.unit.cli.reports import APP, WORKER


@pytest.fixture
def report_path(tmp_path: Path) -> str:
    """A recording of 30 snapshots: 2 MiB hot, 2 MiB idle, and 1 MiB of another process."""
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
