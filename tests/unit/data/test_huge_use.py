"""`analysis.huge_use` and `tune thp`: which access rate makes huge pages that are used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pydamon
from pydamon import Access, Phase, RecordingError, Trace, analysis
from pydamon._model.page_size import PAGE_SIZE
from pydamon.policies import POLICIES, TargetSelection, Thp, load_config
from tests.command_line import PROGRAM

MIB, S = 1 << 20, 10**9
BLOCK = 2 * MIB
DENSE, SPARSE = 32 * MIB, 64 * MIB
"""All of the first is in use; of the rest up to here, one page in 16."""
TRACE = Trace(
    (
        Phase(
            S,
            (
                Access(0, DENSE, rate_hz=500),
                Access(DENSE, SPARSE, rate_hz=50, stride=16 * PAGE_SIZE),
            ),
        ),
    )
)


@pytest.fixture(scope="module")
def recording() -> pydamon.Recording:
    monitor = pydamon.simulate(TRACE, [(0, 128 * MIB)], page_map="5s")
    return pydamon.Recording.from_snapshots(monitor.run("25s"))


def test_used_idle_and_new_memory_make_up_the_blocks(recording: pydamon.Recording) -> None:
    use = analysis.huge_use(recording)
    assert (use.resident_bytes, use.block_bytes) == (128 * MIB, BLOCK)
    for point in use.points:
        whole = point.used_bytes + point.idle_bytes + point.added_bytes
        assert whole == point.blocks * BLOCK
    blocks = [point.blocks for point in use.points]
    assert blocks == sorted(blocks, reverse=True)


def test_the_tolerated_waste_chooses_the_rate(recording: pydamon.Recording) -> None:
    use = analysis.huge_use(recording)
    dense = use.most(0.02)
    assert dense is not None
    assert dense.blocks == pytest.approx(DENSE // BLOCK, abs=1)
    assert dense.wasted_bytes <= 0.02 * use.resident_bytes
    everything = use.most(1.0)
    assert everything is not None
    assert everything.blocks >= SPARSE // BLOCK
    assert everything.used_bytes == pytest.approx(DENSE + (SPARSE - DENSE) / 16, rel=0.02)


def test_the_configuration_is_that_of_the_policy(
    recording: pydamon.Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, policy = str(tmp_path / "a.damon"), tmp_path / "policy.toml"
    pydamon.write_recording(file, recording)
    argv = ["tune", "thp", file, "--max-waste", "2%", "--output", str(policy), "--json"]
    assert PROGRAM.main(argv, "pydamon", standalone_mode=False) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["policy"] == "thp"
    assert figures["huge_pages"] == pytest.approx(DENSE // BLOCK, abs=1)
    loaded = load_config(policy, POLICIES, target=TargetSelection(pids=(1,))).policy
    assert isinstance(loaded, Thp)
    assert str(loaded.hot_rate) == figures["parameters"]["hot_rate"]


def test_without_maps_it_says_how_to_make_them() -> None:
    monitor = pydamon.simulate(TRACE, [(0, 128 * MIB)])
    recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    with pytest.raises(RecordingError, match="no maps of pages") as caught:
        analysis.huge_use(recording)
    assert "--page-map" in caught.value.hint
