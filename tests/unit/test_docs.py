"""What the pages show works: command lines parse, Python compiles and uses names that exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import pydamon
from pydamon._cli.main import PROGRAM

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
PUBLIC = (
    *("analysis", "containers", "export", "live", "notebook", "objects", "policies", "probes"),
    *("top", "web", "workloads"),
)

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:sudo )?pydamon [^`]+)`")
_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
_PLACEHOLDER = re.compile(r"[\[\]]|\.\.\.|\b[A-Z]{2,}\b")
_NAMES = sorted(set(pydamon.__all__) - set(PUBLIC))


def blocks(page: Path, language: str) -> Iterator[str]:
    """The blocks of code of a page that are in this language."""
    for name, text in _BLOCK.findall(page.read_text()):
        if name == language:
            yield text


def commands(line: str) -> Iterator[list[str]]:
    """The calls of pydamon in a line of a shell: their words behind its name."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    call: list[str] = []
    for word in [*lexer, "|"]:
        if word.strip("|&;"):
            call.append(word)
            continue
        if ">" in call:
            call = call[: call.index(">")]
        words = call[1:] if call[:1] == ["sudo"] else call
        call = []
        if words and words[0] == "pydamon":
            yield words[1:]


def shown() -> Iterator[tuple[str, list[str], bool]]:
    """Each command line in the pages: where, its words, and whether it stands in running text."""
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        for text in blocks(page, "console"):
            for line in text.replace("\\\n", "").splitlines():
                if line.startswith("$ "):
                    yield from ((name, words, False) for words in commands(line[2:]))
        for line in _INLINE.findall(_BLOCK.sub("", page.read_text())):
            if not _PLACEHOLDER.search(line):
                yield from ((name, words, True) for words in commands(line))


SHOWN = list(shown())


def parse(words: list[str], *, complete: bool) -> None:
    """Parse a command line as the program does, and run nothing."""
    command: click.Command = PROGRAM
    context: click.Context | None = None
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        # With its settings: a command remembers what its help option is called.
        settings = command.context_settings
        context = click.Context(command, info_name=words[0], parent=context, **settings)
        _, member, words = command.resolve_command(context, words)
        assert member is not None
        command = member
    if isinstance(command, click.Group) and not words and not complete:
        return
    try:
        command.make_context(command.name, list(words), parent=context)
    except click.exceptions.Exit:  # --help, --version
        pass
    except click.MissingParameter:
        if complete:
            raise


def test_pages_show_many_commands() -> None:
    assert len(SHOWN) > 100


@pytest.mark.parametrize(
    ("words", "inline"),
    [words_and_place for _, *words_and_place in SHOWN],
    ids=[f"{page}: {' '.join(words)}" for page, words, _ in SHOWN],
)
def test_a_command_line_that_is_shown_can_be_parsed(words: list[str], inline: bool) -> None:
    parse(words, complete=not inline)


@pytest.mark.parametrize("words", [["recrod", "1"], ["record", "--durration", "1s", "1"], ["cat"]])
def test_a_wrong_command_line_would_be_noticed(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words, complete=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_compiles_and_names_of_the_library_exist(page: Path) -> None:
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pydamon"):
                assert node.module is not None
                module = importlib.import_module(node.module)
                assert [n.name for n in node.names if not hasattr(module, n.name)] == []
            elif isinstance(node, ast.Attribute) and (name := dotted(node)).startswith("pydamon."):
                value: object = pydamon
                for part in name.split(".")[1:3]:
                    assert hasattr(value, part), name
                    value = getattr(value, part)
                    if part not in PUBLIC:
                        break


def dotted(node: ast.expr) -> str:
    """`a.b.c` of attributes of a name; else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def test_links_of_pages_outside_the_site_lead_somewhere() -> None:
    for page in PAGES[:2]:
        for target in _LINK.findall(page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_name_of_the_library_is_in_the_reference() -> None:
    pages = [path.read_text() for path in (ROOT / "docs/reference/python").glob("*.md")]
    text = "\n".join(pages)
    if "<!-- other names -->" not in text:
        assert [name for name in _NAMES if f"::: pydamon.{name}\n" not in text] == []
    assert [name for name in PUBLIC if f"pydamon.{name}" not in text] == []
