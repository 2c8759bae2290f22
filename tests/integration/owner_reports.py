"""What tests of owners need: owners as sums, and reports of the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pydamon.owners import Owners


def needs(*programs: str) -> None:
    """Skip a test if the machine lacks a program."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"this machine has no {program}")


def allocated(owners: Owners) -> dict[tuple[str, ...], int]:
    """The bytes of each owner now."""
    ranges = owners.at(time.time_ns())
    sums: dict[tuple[str, ...], int] = {}
    rows = zip(ranges.owner.tolist(), (ranges.end - ranges.start).tolist(), strict=True)
    for owner, size in rows:
        path = owners.paths[owner]
        sums[path] = sums.get(path, 0) + size
    return sums


def needs_page_maps() -> None:
    """Skip a test if single pages cannot be looked at."""
    if os.geteuid() != 0:
        pytest.skip("maps of pages need root")


def pydamon(*words: str, timeout: float = 180) -> str:
    """The output of a command of pydamon, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "pydamon", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def owners_report(recording: Path, *words: str) -> list[dict[str, Any]]:
    """The owners of a recording."""
    document = json.loads(pydamon("report", "owners", str(recording), "--json", *words))
    assert document["by_page"]
    owners: list[dict[str, Any]] = document["owners"]
    return owners


def sum_below(owners: list[dict[str, Any]], label: str, key: str) -> int:
    return sum(use[key] for use in owners if any(label in part for part in use["path"]))
