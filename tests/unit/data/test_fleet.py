from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import open_recording, read_recording
from pydamon._data.recording import Recorder
from tests.recordings import MIB, info, snapshot, target

HOSTS = 30
APP = target(7, "app", (MIB, 9 * MIB, "rw-p", "[heap]"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of each host, as Parquet."""
    folder = tmp_path_factory.mktemp("fleet")
    rng = np.random.default_rng(1)
    for host in range(HOSTS):
        touched = rng.integers(0, 257, (12, 8)) * 4096
        taken = [
            snapshot(
                (APP,),
                [(0, n * MIB, (n + 1) * MIB, n, number) for n in range(1, 9)],
                number,
                touched=row,
            )
            for number, row in enumerate(touched.tolist())
        ]
        described = dataclasses.replace(info(), hostname=f"host{host:03}")
        with Recorder(folder / "r.damon", described, force=True) as recorder:
            for each in taken:
                recorder.write(each)
        write_recording(folder / f"{described.hostname}.parquet", open_recording(recorder.path))
    recorder.path.unlink()
    return folder


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[3] / "examples" / "fleet.py"))


def test_a_directory_is_one_recording(fleet: Path) -> None:
    recording = read_recording(fleet)
    assert len(recording.hosts) == HOSTS
    assert len(recording) == 12, "windows of all hosts at the same time are one snapshot"
    assert len(recording.snapshot(0).targets) == HOSTS


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # dask of pandas
@pytest.mark.parametrize("engine", ["duckdb", "polars", "dask"])
def test_every_engine_finds_the_same(fleet: Path, example: dict[str, Any], engine: str) -> None:
    if engine == "dask":
        pytest.importorskip("distributed", reason="dask is not installed")
    reports = example["ENGINES"][engine](fleet)
    assert len(reports) == HOSTS
    assert reports == example["ENGINES"]["pydamon"](fleet)
