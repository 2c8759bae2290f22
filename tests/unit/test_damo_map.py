"""docs/reference/damo.md: everything of damo has a row, and what a row shows works."""

from __future__ import annotations

import re

import pytest

from tests.unit.test_docs import ROOT, commands, parse

PAGE = ROOT / "docs/reference/damo.md"
COMMANDS = (
    *("start", "tune", "stop", "record", "report", "replay", "module", "reclaim", "lru_sort"),
    *("setup_cli_completion", "help", "args damon", "args accesses_filter"),
    *("args accesses_format", "version", "schemes", "monitor", "features", "validate", "adjust"),
    *("convert_record_format", "diagnose", "fmt_json"),
)
"""What `damo --help` of 3.4.3 lists, and one of its earlier commands."""
REPORTS = (
    *("access", "damon", "sysinfo", "record_info", "attrs", "heatmap", "holistic", "trace"),
    *("pa_layout", "wss", "footprints", "profile", "times", "nr_regions", "heats", "raw"),
)

_ROW = re.compile(r"^\| (.+?) \| (.+) \|$", re.MULTILINE)
_CODE = re.compile(r"`(pydamon [^`]+)`")
_PIECE = re.compile(r"`(pydamon [^`]+)`|`--[^`]+`: `(--[^`]+)`")


def rows(title: str) -> dict[str, str]:
    """The rows of the table under a title: what damo calls something, and what it is here."""
    section = PAGE.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return {name.replace("`", ""): text for name, text in _ROW.findall(section)[1:]}


def lines() -> list[str]:
    """The command lines of the tables."""
    texts = [text for title in ("Commands", "Reports") for text in rows(title).values()]
    return [line for text in texts for line in _CODE.findall(text)]


@pytest.mark.parametrize(("title", "names"), [("Commands", COMMANDS), ("Reports", REPORTS)])
def test_everything_of_damo_has_a_row(title: str, names: tuple[str, ...]) -> None:
    assert [name for name in names if name not in rows(title)] == []


@pytest.mark.parametrize("title", ["Commands", "Reports"])
def test_a_row_shows_a_command_or_says_why_there_is_none(title: str) -> None:
    for name, text in rows(title).items():
        says_why = text.startswith(("none:", "none needed:", "none ", "[a line"))
        assert _CODE.search(text) or says_why, name


@pytest.mark.parametrize("line", lines())
def test_a_command_line_can_be_parsed(line: str) -> None:
    (words,) = commands(line)
    parse(words, complete=words != ["report"])


def options() -> list[str]:
    """The options of ours that stand behind options of damo's, with the command before them."""
    translated = []
    for title in ("Commands", "Reports"):
        for text in rows(title).values():
            command = ""
            for line, option in _PIECE.findall(text):
                command = line or command
                if option:
                    translated.append(f"{command} {option}")
    return translated


def test_the_tables_translate_options() -> None:
    assert len(options()) >= 8


@pytest.mark.parametrize("line", options())
def test_an_option_can_be_parsed(line: str) -> None:
    (words,) = commands(line)
    parse(words, complete=True)
