"""Where migration puts pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pydamon import Destination, Scheme, SchemeError
from pydamon._act.actions import migrate
from pydamon._observe.linux.arch import HUGE_BYTES


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "_NODES", tmp_path)
    for number in (0, 1, 2):
        (tmp_path / f"node{number}").mkdir()


def _scheme(*weights: int) -> Scheme:
    nodes = [Destination(node=number, weight=weight) for number, weight in enumerate(weights)]
    return Scheme("migrate_cold", destinations=nodes)


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("weights", [(3, 1), (3000, 1000), (3 * 2**60, 2**60)])
def test_blocks_take_turns_by_weight(weights: tuple[int, ...]) -> None:
    action = migrate.MigrateCold(_scheme(*weights))
    blocks = np.arange(8, dtype=np.int64) * HUGE_BYTES
    assert action._wanted(blocks + 4096).tolist() == [0, 0, 0, 1, 0, 0, 0, 1]


@pytest.mark.usefixtures("nodes")
def test_a_node_without_weight_gets_nothing() -> None:
    action = migrate.MigrateCold(_scheme(0, 1, 1))
    blocks = np.arange(4, dtype=np.int64) * HUGE_BYTES
    assert action._wanted(blocks).tolist() == [1, 2, 1, 2]
    with pytest.raises(SchemeError, match="weight of 0"):
        migrate.MigrateCold(_scheme(0, 0))
