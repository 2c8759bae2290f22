"""The command line as a whole: help, words behind `--`, standard input, completion, documents.

Private names: the choices of options repeat names of other packages, and a test compares them.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from pydamon import PROBES, analysis, read_recording
from pydamon._act.policies import POLICIES
from pydamon._bench.programs import PROGRAMS
from pydamon._bench.tools import EXACT, KERNEL, TOOLS
from pydamon._cli import options as choices
from pydamon._observe.start import AUTO, ENGINES
from pydamon.workloads import PATTERNS
from tests.command_line import PROGRAM, Group, main
from tests.recordings import busy, record

_ROOT = Path(__file__).parents[3]
_DOCUMENTS = (_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md")))
_HEAVY = {"numpy", "pyarrow", "rich", "psutil", "textual", "msgspec", "cattrs"}


def _commands(group: Group = PROGRAM, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words that name each command, report and benchmark."""
    yield path
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, Group):
                yield from _commands(command, (*path, name))
            else:
                yield (*path, name)


COMMANDS = list(_commands())


def _python(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=60, **options
    )


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording in the current directory, which is empty otherwise."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "other.damon"
    record(file, busy(30))
    return file


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_everything_has_help(
    words: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, option]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"Usage: {' '.join(('pydamon', *words))}")
    assert "--help" in captured.out
    assert captured.err == ""


def test_help_imports_no_slow_package() -> None:
    code = (
        "import sys; from pydamon._cli.main import main\n"
        f"for words in {COMMANDS!r}:\n"
        "    assert main([*words, '--help']) == 0\n"
        f"    assert not {_HEAVY!r}.intersection(sys.modules), words\n"
    )
    done = _python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


@cache
def _cpu_s(*words: str) -> float:
    """Return the least CPU time of several runs, since other programs share the machine."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert _python(*words).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.mark.parametrize("words", [(), ("reclaim",), ("record",)])
def test_help_takes_at_most_15_times_an_empty_python(words: tuple[str, ...]) -> None:
    assert _cpu_s("-m", "pydamon", *words, "--help") <= 15 * _cpu_s("-c", "pass")


def test_choices_of_options_match_the_packages() -> None:
    assert (AUTO, *ENGINES) == choices.ENGINES
    assert ("auto", *(probe.name for probe in PROBES)) == choices.PROBES  # under their own names
    assert get_args(analysis.By) == choices.HISTOGRAMS
    assert tuple(analysis.SORT_KEYS) == choices.SORT_KEYS
    assert (*TOOLS, EXACT, KERNEL) == choices.TOOLS
    assert tuple(PATTERNS) == choices.WORKLOADS
    assert tuple(PROGRAMS) == choices.PROGRAMS


def test_help_lists_policies_with_their_first_lines() -> None:
    first_lines = {n: (k.__doc__ or "").partition("\n")[0].rstrip(".") for n, k in POLICIES.items()}
    assert PROGRAM.shown == first_lines


def _resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that the first words name, and the other words."""
    command: click.Command = PROGRAM
    while isinstance(command, Group) and words and words[0] in command.members:
        command = command.get_command(click.Context(command), words[0]) or command
        words = words[1:]
    return command, words


def _words(line: str) -> list[str]:
    """Return the words behind `pydamon`, up to a comment, a pipe or a redirection."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|>")
    lexer.whitespace_split = True
    words = list(lexer)[1:]
    return words[: next((at for at, word in enumerate(words) if word in "|>"), len(words))]


def _lines() -> Iterator[str]:
    """Yield the command lines in the documents and in help texts."""
    for document in _DOCUMENTS:
        text = document.read_text()
        yield from re.findall(r"^\$ (?:sudo )?(pydamon .*)$", text, re.MULTILINE)
    for words in COMMANDS:
        for line in (_resolve(list(words))[0].help or "").splitlines():
            if re.match(r"(?:sudo )?pydamon [a-z-]+ ", line) and line.split()[1] in PROGRAM.members:
                yield line.removeprefix("sudo ")


@pytest.mark.parametrize("line", sorted(set(_lines())))
def test_documented_command_lines_parse(line: str) -> None:
    command, words = _resolve(_words(line))
    # Raises `UsageError` for an unknown option, or for a value that does not parse.
    command.make_context(command.name, words)


def _mentions() -> Iterator[str]:
    """Yield the commands that the documents mention in their text."""
    for document in _DOCUMENTS:
        yield from re.findall(r"`(pydamon [a-z][^`]*)`", document.read_text())


@pytest.mark.parametrize("line", sorted(set(_mentions())))
def test_documented_options_exist(line: str) -> None:
    command, words = _resolve(_words(line))
    assert command is not PROGRAM
    known = {name for param in command.get_params(click.Context(command)) for name in param.opts}
    assert {word for word in words if word.startswith("--") and word != "--"} <= known


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["recrod"], "pydamon: No such command 'recrod'. Did you mean 'record'?"),
        (["report", "wsss"], "pydamon report: No such command 'wsss'. Did you mean 'wss'?"),
        (["report", "wss", "--percentile", "5"], "Did you mean '--percentiles'?"),
        (["record", "--probe", "epbf", "1"], "Did you mean 'ebpf'?"),
        (["record", "--out", "--force", "1"], "Option '--out' requires an argument."),
        (["record", "--out", "-", "1"], "cannot be written to standard output"),
        (["bench", "accuracy", "--tool", "plain", "refz"], "Did you mean 'refs'?"),
        (["reclaim", "--high", "much", "1"], "not a percentage: 'much'"),
        (["slice", "a"], "Missing argument 'TARGET'."),
        (["doctor", "extra"], "Got unexpected extra argument (extra)"),
        (["report"], "Missing REPORT: one of summary, access, heatmap"),
        ([], "Missing COMMAND: one of record, report"),
    ],
)
def test_wrong_usage_is_one_line(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("pydamon")
    assert message in line
    assert captured.out == ""


def _total(capsys: pytest.CaptureFixture[str], *argv: str) -> int:
    assert main(argv) == 0
    return len(json.loads(capsys.readouterr().out)["total"]["bytes"])


def test_words_behind_two_dashes_are_arguments_of_commands_that_start_no_program(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _total(capsys, "report", "wss", "--json", "--", path.name) == 30
    assert _total(capsys, "report", "--", "wss", path.name, "--json") == 30
    assert _total(capsys, "--", "report", "wss", path.name, "--json") == 30
    odd = path.rename(path.with_name("--json"))
    assert _total(capsys, "report", "wss", "--json", "--", odd.name) == 30
    assert main(["convert", "--", odd.name, "-o.csv"]) == 0
    assert len(read_recording(path.parent / "-o.csv")) == 30
    assert main(["report", "diff", "--json", "--", odd.name, "-o.csv"]) == 0
    capsys.readouterr()
    assert main(["export", "--", "nobody"]) == 2
    assert "'nobody' is not a valid integer" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["record", "serve", "apply", "reclaim", "stat"])
def test_words_behind_two_dashes_are_the_program_to_start(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text('[[schemes]]\naction = "stat"\n')
    file = [str(tmp_path / "s.toml")] if command == "apply" else []
    assert main([command, *file, "--", "no-such-command-anywhere", "--version"]) == 1
    assert "cannot start 'no-such-command-anywhere'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--duration", "1s"], ["--probe", "auto"], ["--owners", "proc"]])
def test_nobody_monitors_a_recording(
    words: list[str], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", path.name, *words]) == 1
    assert f"{words[0]} is for live processes" in capsys.readouterr().err


def test_options_may_stand_anywhere(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _total(capsys, "report", "wss", path.name, "--json", "--percentiles", "50") == 30
    assert main(["slice", path.name, "--from", "1s", "part.csv", "--to=2s", "--force"]) == 0
    assert len(read_recording("part.csv")) == 10
    assert main(["report", "access", "--sort", "-age", path.name]) == 0


@pytest.mark.parametrize(
    "name",
    [
        *("native", "csv", "json"),
        *(pytest.param(name, marks=pytest.mark.long) for name in ("parquet", "json_compressed")),
    ],
)
def test_recordings_go_through_pipes(path: Path, name: str) -> None:
    run = f"{sys.executable} -m pydamon"
    line = f"{run} convert --format {name} {path} - | {run} slice - part.damon --from 1s"
    done = subprocess.run(line, shell=True, check=True, capture_output=True)
    messages = done.stderr.decode().splitlines()
    assert [line for line in messages if not line.startswith("- cannot hold: ")] == []
    assert bool(messages) == name.startswith("json")
    # damo's format has no place for the first 100 ms, before the first snapshot.
    assert len(read_recording("part.damon")) == pytest.approx(20, abs=1)


def test_standard_input_in_every_form(path: Path) -> None:
    wss = ("-m", "pydamon", "report", "wss", "--json", "-")
    with path.open() as file:
        assert len(json.loads(_python(*wss, stdin=file).stdout)["total"]["bytes"]) == 30
    mine, its = socket.socketpair()
    with mine, its:
        mine.sendall(path.read_bytes())
        mine.shutdown(socket.SHUT_WR)
        assert len(json.loads(_python(*wss, stdin=its).stdout)["total"]["bytes"]) == 30
    for line, message in (
        ("yes | {}", "/dev/stdin is not a recording"),
        (": | {}", "/dev/stdin is empty"),
        ("{} <&-", "standard input is closed"),
    ):
        command = line.format(f"{sys.executable} {' '.join(wss)}")
        done = subprocess.run(
            command, shell=True, check=False, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr


def test_a_pipe_larger_than_the_free_disk_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = type("Usage", (), {"free": 2000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    os.mkfifo("pipe")
    with subprocess.Popen(["/bin/sh", "-c", f"cat {path} {path} > pipe"], stderr=subprocess.PIPE):
        assert main(["report", "wss", "pipe"]) == 1
    assert "set TMPDIR" in capsys.readouterr().err


def test_standard_output_needs_a_format(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", path.name, "-"]) == 1
    assert "name it with --format" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "1", "-7", "²", "many", "9" * 30, ""])
def test_odd_sizes_of_terminals_are_ignored(
    size: str, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    for name in ("summary", "access", "heatmap"):
        monkeypatch.delenv("COLUMNS", raising=False)
        monkeypatch.delenv("LINES", raising=False)
        assert main(["report", name, path.name]) == 0
        usual = capsys.readouterr().out
        monkeypatch.setenv("COLUMNS", size)
        assert main(["report", name, path.name]) == 0
        assert capsys.readouterr().out == usual
        monkeypatch.setenv("LINES", size)
        assert main(["report", name, path.name]) == 0
        assert capsys.readouterr().out.splitlines()[0] == usual.splitlines()[0]
        assert main(["report", name, "--help"]) == 0
        capsys.readouterr()
    # pytest itself prints before the fixture gives the sizes back.
    monkeypatch.delenv("COLUMNS")
    monkeypatch.delenv("LINES")


def _completed(line: str) -> list[str]:
    words = line.split(" ")
    done = _python(
        "-m",
        "pydamon",
        env={
            **os.environ,
            "_PYDAMON_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_completion() -> None:
    assert _completed("pydamon re") == ["record", "report", "reclaim", "replay"]
    assert _completed("pydamon report hea") == ["heatmap"]
    assert _completed("pydamon report wss --per") == ["--percentiles"]
    assert _completed("pydamon record --probe e") == ["ebpf", "exact"]
    for shell in ("bash", "zsh", "fish"):
        environment = {**os.environ, "_PYDAMON_COMPLETE": f"{shell}_source"}
        done = _python("-m", "pydamon", env=environment)
        assert "_PYDAMON_COMPLETE" in done.stdout


@pytest.mark.live
def test_a_started_program_gets_the_environment_of_the_user(tmp_path: Path) -> None:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("OPENBLAS")}
    script = tmp_path / "s.sh"
    script.write_text('#!/bin/sh\nenv > "$1"\nexec sleep 1\n')
    script.chmod(0o755)
    words = ("--probe", "refs", "-o", str(tmp_path / "r.damon"), "--", str(script))
    done = _python("-m", "pydamon", "record", *words, str(tmp_path / "env"), env=environment)
    assert done.returncode == 0, done.stderr
    assert "OPENBLAS" not in (tmp_path / "env").read_text()


@pytest.mark.live
@pytest.mark.parametrize("words", [(), pytest.param(("--json",), marks=pytest.mark.long)])
def test_a_service_whose_reader_leaves_reports_no_error(words: tuple[str, ...]) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as target:
        try:
            command = f"{sys.executable} -m pydamon stat {target.pid} -d 1s --engine sampling"
            done = subprocess.run(
                f"{command} {' '.join(words)} | true",
                shell=True,
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            target.kill()
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
