"""The engines side by side, as `pydamon bench engines` has them."""

from __future__ import annotations

import pytest

from pydamon._bench import engines
from tests.integration.conftest import needs

pytestmark = [pytest.mark.live, needs("ebpf")]


@pytest.mark.long
def test_every_engine_that_works_here_finds_the_hot_quarter() -> None:
    said: list[str] = []
    found = {result.name: result for result in engines.measure(True, 1, said.append)}
    assert "sampling" in found
    for name in {"kernel vaddr", "kernel paddr"} - set(found):
        assert any(line.startswith(f"{name} is left out: ") for line in said)
    for result in found.values():
        # A program that shares a busy CPU does not touch all of its hot part in 25 ms; and all of
        # physical memory is too much to know after so short a look (test_real.py).
        assert result.hot_found >= (0 if result.name == "kernel paddr" else 0.5)
        assert result.cold_right >= 0.9
        assert result.own_cpu > 0
        assert (result.kdamond_cpu > 0) == result.name.startswith("kernel")
