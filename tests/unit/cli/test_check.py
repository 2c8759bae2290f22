"""`pydamon apply --check FILE`: what a file says, or where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import main

_SCHEMES = """
[[schemes]]
action = "pageout"
pattern = { max_rate = "0%", min_age = "2min", min_size = "64K" }
quota = { time = "10ms", bytes = "128M" }
filters = [ { kind = "anon", allow = false } ]
grain = "page"

[[schemes]]
name = "to the slow node"
action = "migrate_cold"
target_node = 1
"""


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def check(path: Path, *words: str) -> int:
    return main(["apply", "--check", str(path), *words])


def test_a_sound_file_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "schemes.toml"
    path.write_text(_SCHEMES)
    assert check(path) == 0
    text = capsys.readouterr().out
    for part in (
        "schemes.toml: 2 schemes",
        "none in it: name pids, a command",
        "sampled every 5 ms, aggregated every 100 ms",
        "pageout of pages; size 64 KiB or more, rate 0%, age 2 min or more; "
        "quota 128 MiB, 10 ms / 1 s; filters anon",
        "to the slow node",
        "migrate_cold to node 1 of regions; all of them; quota none",
    ):
        assert part in text


def test_targets_and_options_of_the_command_line_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "service.toml"
    path.write_text('[target]\nuser = "root"\n[policy]\nname = "reclaim"\nmin_age = "5min"\n')
    assert check(path, "--aggr", "2s") == 0
    text = capsys.readouterr().out
    assert "user root" in text
    assert "aggregated every 2 s" in text
    assert "age 5 min or more" in text
    assert check(path, "1234") == 0
    assert "pid 1234" in capsys.readouterr().out


def test_damos_files_are_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "damo.json"
    context = {
        "ops": "vaddr",
        "targets": [{"pid": 7}],
        "schemes": [{"action": "stat", "access_pattern": {"nr_accesses": {"min": "5 %"}}}],
    }
    path.write_text(json.dumps({"contexts": [context]}))
    assert check(path) == 0
    text = capsys.readouterr().out
    assert "pid 7" in text
    assert "stat of regions; rate 5% or more" in text
    context["schemes"] = []
    path.write_text(json.dumps({"contexts": [context]}))
    assert check(path) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[schemes]]\naction = "pagout"\n', "schemes[0].action: there is no 'pagout'"),
        ("[[schemes]]\naction = \n", "is not TOML"),
        ('[target]\nuser = 3\n[[schemes]]\naction = "stat"\n', "target.user"),
        ("", "say either [policy] or [[schemes]]"),
    ],
)
def test_a_mistake_is_one_line_and_the_exit_code(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "schemes.toml"
    path.write_text(text)
    assert check(path) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.splitlines()[0]


def test_a_whole_configuration_for_the_kernel_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    physical = {"ops": "paddr", "schemes": [{"action": "lru_prio"}, {"action": "stat"}]}
    intervals = {"sample_us": "10 ms", "aggr_us": "1 s"}
    processes = {"targets": [{"pid": 7}], "intervals": intervals, "schemes": [{"action": "stat"}]}
    path = tmp_path / "kdamonds.json"
    path.write_text(json.dumps({"kdamonds": [{"contexts": [c]} for c in (physical, processes)]}))
    assert check(path, "--engine", "kernel") == 0
    shown = capsys.readouterr().out
    assert "kdamond 0: the kernel's DAMON on physical memory, 2 schemes, 5 ms / 100 ms" in shown
    assert "kdamond 1: the kernel's DAMON on process 7, 1 scheme, 10 ms / 1 s" in shown
    # pydamon's own engine cannot do that, and says who can.
    assert check(path) != 0
    assert "--engine kernel" in capsys.readouterr().err
    assert main(["apply", "--engine", "kernel", "--aggr", "1s", str(path)]) != 0
    assert "change it there" in capsys.readouterr().err
