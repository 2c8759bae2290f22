"""`pydamon module` switches and sets the kernel's modules, on files like theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pydamon._act.kernel import LruSortModule, ReclaimModule, StatModule
from pydamon._cli import module as command
from tests.command_line import main
from tests.unit.act.test_kernel_modules import FILES, places, says

__all__ = ["places"]


@pytest.fixture(autouse=True)
def _modules(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: dict[str, Any] = {
        "reclaim": ReclaimModule,
        "lru-sort": LruSortModule,
        "stat": StatModule,
    }
    monkeypatch.setattr(command, "module_named", lambda name: kinds[name](**places))


def test_a_module_is_switched_on_set_and_off(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = says(places, "damon_reclaim")
    assert main(["module", "reclaim", "on", "min_age=1min", "quota-bytes=64M", "high=60%"]) == 0
    now = says(places, "damon_reclaim")
    assert (now["enabled"], now["min_age"], now["quota_sz"]) == ("Y", "60000000", str(64 << 20))
    assert (now["wmarks_high"], now["wmarks_low"], now["skip_anon"]) == ("600", "200", "N")
    assert "DAMON_RECLAIM: on, by pydamon" in capsys.readouterr().out
    assert main(["module", "reclaim", "set", "skip_anon=yes", "max_regions=50", "--json"]) == 0
    now = says(places, "damon_reclaim")
    assert (now["skip_anon"], now["max_nr_regions"], now["min_age"]) == ("Y", "50", "60000000")
    document = json.loads(capsys.readouterr().out)["reclaim"]
    assert document["parameters"]["min_age"] == 60 * 10**9
    assert document["counters"]["nr_reclaimed_regions"] == 3
    assert main(["module", "reclaim", "off"]) == 0
    assert says(places, "damon_reclaim") == before | {"commit_inputs": "Y"}


def test_all_modules_are_shown(places: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["module", "stat", "on"]) == 0
    capsys.readouterr()
    root = places["modules"] / "damon_stat/parameters/memory_idle_ms_percentiles"
    root.write_text(",".join(map(str, range(-500, 9600, 100))) + "\n")
    assert main(["module"]) == 0
    shown = capsys.readouterr().out
    assert "DAMON_RECLAIM: off\n" in shown
    assert "min_age=2min quota_bytes=128MiB" in shown.replace("\n", " ").replace("  ", " ")
    assert "DAMON_STAT: on" in shown
    assert "0 % -500ms, 50 % 4.5s" in shown
    assert set(FILES) == {"damon_reclaim", "damon_lru_sort", "damon_stat"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["reclaim", "on", "min_aeg=1s"], "did you mean min_age?"),
        (["reclaim", "on", "min_age"], "not a parameter and its value"),
        (["reclaim", "on", "min_age=soon"], "soon"),
        (["reclaim", "set"], "set needs a parameter"),
        (["reclaim", "set", "min_age=1s"], "somebody else"),
        (["reclaim", "off", "min_age=1s"], "off takes no parameters"),
        (["stat", "on", "min_age=1s"], "has no parameters"),
        (["zram"], "zram"),
    ],
)
def test_mistakes_change_nothing(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    before = {name: _says(places, name) for name in FILES}
    assert main(["module", *words]) != 0
    assert says in capsys.readouterr().err
    assert {name: _says(places, name) for name in FILES} == before


_says = says
