"""Options that select processes: the same in every command, and one of them only."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import pytest

from pydamon._cli.main import PROGRAM, main

COMMANDS = (
    *("record", "top", "serve", "export", "containers"),
    *("apply", "reclaim", "thp", "lru-sort", "tier", "stat"),
)
OPTIONS = {
    *("--user", "--cgroup", "--unit", "--container", "--pod"),
    *("--all-containers", "--process-name", "--host-root"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_watches_has_all_options(name: str) -> None:
    command = PROGRAM.get_command(click.Context(PROGRAM), name)
    assert command is not None
    names = {option for param in command.params for option in param.opts}
    assert names >= OPTIONS
    assert "--name" in names


@pytest.mark.parametrize(
    "words",
    [
        ("record", "--user", "root", "--container", "x"),
        ("record", "--pod", "a/b", "1"),
        ("serve", "--unit", "x", "1"),
        ("export", "--name", "x", "--all-containers"),
        ("reclaim", "--process-name", "x", "--cgroup", "y"),
    ],
)
def test_only_one_of_them_is_given(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    assert "name one of them only" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("record", "--physical", "--name", "x"),
        ("record", "--physical", "--container", "x"),
        ("record", "--name", "("),
        ("record", "--name", "no-program-has-this-name"),
        ("export", "--pod", "no/such"),
        ("stat", "--unit", "no-such-unit"),
        ("containers", "--all", "--user", "root"),
        ("containers", "--unit", ""),
        ("record", "--container", ""),
        ("export", "--pod", "", "--all"),
    ],
)
def test_errors_are_one_line_and_a_hint(
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("pydamon: ")
    assert len(lines) <= 2
    assert not list(tmp_path.iterdir())


def test_containers_are_listed_without_any_right(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYDAMON_HOST_ROOT", "/")
    assert main(["containers", "--list", "--json", "--host-root", str(tmp_path)]) == 0
    assert "containers" in json.loads(capsys.readouterr().out)
    assert os.environ["PYDAMON_HOST_ROOT"] == str(tmp_path)
    assert main(["containers", "--list", "--all", "--host-root", "/"]) == 0
    assert "container" in capsys.readouterr().out
    assert main(["containers", "--list", "--host-root", "/nowhere"]) == 1


@pytest.mark.parametrize("file", [["reclaim"], ["apply", "s.toml"], ["apply", "s.json"]])
def test_the_name_of_a_service_selects_nothing_and_the_error_says_so(
    file: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text('[[schemes]]\naction = "stat"\n')
    Path("s.json").write_text('{"schemes": [{"action": "stat"}]}')
    assert main([*file, "--name", "^redis"]) == 1
    assert "process" in capsys.readouterr().err.splitlines()[1]
