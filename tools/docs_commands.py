"""The command line as Markdown: usage, description and options of each command, from the program.

A page names a command in a comment, `<!-- command: report wss -->`, which `docs_site` replaces.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import click

from pydamon._cli.main import PROGRAM

__all__ = ["MARKER", "command_names", "render"]

MARKER = re.compile(r"^<!-- command: (?P<name>[\w -]+?) -->$", re.MULTILINE)
_SPECIAL = re.compile(r"([\\`*_~|\[\]#])")


def command_names() -> set[str]:
    """The names of all commands, as in `report wss`."""
    return set(_names(PROGRAM, ""))


def _names(command: click.Command, name: str) -> Iterator[str]:
    if name:
        yield name
    if isinstance(command, click.Group):
        context = click.Context(command)
        for member in command.list_commands(context):
            found = command.get_command(context, member)
            assert found is not None
            yield from _names(found, f"{name} {member}".strip())


def render(name: str) -> str:
    """The section of one command; raises `KeyError` for a name that no command has."""
    context = _context(name)
    command = context.command
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [
        f"## pydamon {name} {{ #pydamon-{name.replace(' ', '-')} }}",
        f"```text\n{usage}\n```",
        _description(command.help or ""),
        _options(context),
    ]
    return "\n\n".join(part for part in parts if part)


def _context(name: str) -> click.Context:
    context = click.Context(PROGRAM, info_name="pydamon")
    for word in name.split():
        assert isinstance(context.command, click.Group)
        member = context.command.get_command(context, word)
        if member is None:
            raise KeyError(name)
        context = click.Context(member, info_name=word, parent=context)
    return context


def _description(text: str) -> str:
    """A docstring: paragraphs of command lines become a block of code, all others text."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(map(_paragraph, paragraphs))


def _paragraph(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    if all(re.match(r"(sudo )?pydamon ", line) for line in lines):
        return "```console\n" + "\n".join(f"$ {line}" for line in lines) + "\n```"
    return _escaped(" ".join(lines))


def _options(context: click.Context) -> str:
    rows = [
        record
        for parameter in context.command.params
        if (record := parameter.get_help_record(context)) is not None
    ]
    if not rows:
        return ""
    table = ["| | |", "|---|---|"]
    for names, text in rows:
        table.append(f"| {_code(names)} | {_escaped(text)} |")
    return "\n".join(table)


def _code(text: str) -> str:
    # A bar would end the cell, even in Markdown's own code.
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def _escaped(text: str) -> str:
    """Plain text as Markdown; what stands in backquotes stays code."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(
        piece
        if piece.startswith("`") and len(piece) > 1
        else _SPECIAL.sub(r"\\\1", html.escape(piece, quote=False))
        for piece in pieces
    )
