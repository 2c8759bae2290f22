"""What a command is: a function, the options it takes, and how wrong usage is refused."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import click

from pydamon._model.errors import UsageError
from pydamon._model.names import dump_json
from pydamon._model.units import (
    parse_address_range,
    parse_duration_ns,
    parse_percent,
    parse_size,
)

__all__ = [
    "Args",
    "Choice",
    "Command",
    "Group",
    "NewFile",
    "Parsed",
    "address_range",
    "argument",
    "command",
    "duration",
    "eprint",
    "option",
    "options",
    "percent",
    "print_json",
    "show_warnings",
    "size",
]

F = TypeVar("F", bound=Callable[..., Any])

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_SETTINGS = {"help_option_names": ["-h", "--help"]}


class Args(SimpleNamespace):
    """What a command line says, by the names of the command's parameters.

    `command` are the words behind `--`, for commands that start a program; else `None`.
    """


class _Plain(click.Command):
    """Shows its description as it is written, examples included."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.help:
            formatter.write(f"\n{self.help}\n")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write(f"\n{self.epilog}\n")

    def get_short_help_str(self, limit: int = 45) -> str:
        return (self.help or "").partition("\n")[0].rstrip(".")


class Command(_Plain):
    """A command, made by the decorator `command`."""

    def __init__(self, name: str, *, usage: str = "", starts_program: bool = False, **kw: Any):
        super().__init__(name, context_settings=_SETTINGS, **kw)
        self._usage = usage
        self._starts_program = starts_program

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse options and arguments, in any order."""
        program = None
        if self._starts_program and "--" in args:
            at = args.index("--")
            args, program = args[:at], args[at + 1 :]
        several = {name for one in self.params if _is_several(one) for name in one.opts}
        rest = super().parse_args(ctx, _repeated(args, several))
        ctx.params["command"] = program
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        _load_numpy()
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What stands behind the command's name in the first line of its help."""
        return [self._usage] if self._usage else super().collect_usage_pieces(ctx)


class Group(_Plain, click.Group):
    """Commands under one name; only the module of the command that is asked for is imported.

    *members* has, for each name, where the command is: `"module:attribute"`; *shown* the first
    line of help of commands whose modules take long to import.
    """

    def __init__(
        self, name: str, *, members: dict[str, str], shown: dict[str, str] | None = None, **kw: Any
    ):
        super().__init__(name, context_settings=_SETTINGS, no_args_is_help=False, **kw)
        self.members = members
        self.shown = shown or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which help shows them."""
        return list(self.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in self.members:
            return None
        module, _, attribute = self.members[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its first line of help."""
        rows = [
            (name, self.shown.get(name) or self._first_line(ctx, name)) for name in self.members
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _first_line(self, ctx: click.Context, name: str) -> str:
        found = self.get_command(ctx, name)
        return found.get_short_help_str() if found else ""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; wrong names are answered with near ones."""
        if args[0] not in self.members and not ctx.resilient_parsing:
            raise click.NoSuchCommand(args[0], possibilities=self.members, ctx=ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the options in front of the command's name."""
        if not args and not ctx.resilient_parsing:
            metavar = (self.subcommand_metavar or "COMMAND").partition(" ")[0]
            names = ", ".join(self.members)
            raise click.UsageError(f"Missing {metavar}: one of {names}.", ctx=ctx)
        return super().parse_args(ctx, args)


class _Option(click.Option):
    """Refuses the name of another option as its value: it has been forgotten.

    One of *several* values takes all words up to the next option: `--tool refs plain`.
    """

    def __init__(
        self, names: Sequence[str], *, several: bool = False, multiple: bool = False, **kw: Any
    ):
        super().__init__(names, multiple=several or multiple, **kw)
        self.several = several

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        if isinstance(value, str) and not ctx.resilient_parsing:
            names = [name for one in ctx.command.params for name in one.opts]
            if value.startswith("--") and value in names:
                raise click.BadOptionUsage(
                    self.opts[-1], f"Option {self.opts[-1]!r} requires an argument.", ctx=ctx
                )
        return super().type_cast_value(ctx, value)


def _is_several(one: click.Parameter) -> bool:
    return isinstance(one, _Option) and one.several


def _repeated(args: list[str], several: set[str]) -> list[str]:
    """`--tool refs plain` as `--tool refs --tool plain`, which is what click takes."""
    words: list[str] = []
    name = ""
    for word in args:
        if word.startswith("-"):
            name = word if word in several else ""
        elif name and words[-1] != name:
            words.append(name)
        words.append(word)
    return words


option = partial(click.option, cls=_Option)
argument = click.argument


def command(
    name: str, *, usage: str = "", epilog: str = "", starts_program: bool = False
) -> Callable[[Callable[[Args], int]], Command]:
    """Make a command of a function, which returns the exit code.

    The first line of the function's docstring is the command's help; the whole docstring its
    description. Where it *starts_program*, words behind `--` are the command line of a program
    (`Args.command`); else they are arguments as all others. The function raises `PydamonError`
    for what a person should read.
    """

    def decorate(function: Callable[[Args], int]) -> Command:
        params = getattr(function, "__click_params__", [])
        return Command(
            name,
            params=params[::-1],
            callback=lambda **given: function(Args(**{"command": None, **given})),
            help=inspect.cleandoc(function.__doc__ or ""),
            epilog=epilog,
            usage=usage,
            starts_program=starts_program,
        )

    return decorate


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, for what commands have in common."""

    def decorate(function: F) -> F:
        for one in reversed(decorators):
            function = one(function)
        return function

    return decorate


class Choice(click.Choice[str]):
    """One of some words; what is nearly one of them is answered with that."""

    def __init__(self, choices: Iterable[str]) -> None:
        super().__init__(tuple(choices))

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What is said of another word."""
        from difflib import get_close_matches

        near = get_close_matches(str(value), self.choices, 1)
        message = super().get_invalid_choice_message(value, ctx)
        return f"{message} Did you mean {near[0]!r}?" if near else message


class Parsed(click.ParamType[Any]):
    """What a function makes of a word; it raises `UsageError` for one that makes no sense."""

    def __init__(self, parse: Callable[[str], Any], name: str = "value") -> None:
        self._parse = parse
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a word; a default is a value already."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except UsageError as error:
            self.fail(f"{error} ({error.hint})" if error.hint else str(error), param, ctx)


class NewFile(click.Path):
    """A file to write, which standard output cannot be."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, unless it is `-`."""
        if str(value) == "-":
            self.fail("it cannot be written to standard output: name a file", param, ctx)
        return super().convert(value, param, ctx)


duration = Parsed(parse_duration_ns, "duration")
"""A duration, in ns."""
size = Parsed(parse_size, "size")
"""A size, in bytes."""
percent = Parsed(parse_percent, "percent")
"""A percentage, with or without its sign."""
address_range = Parsed(parse_address_range, "address range")
"""Start and end of an address range, both hexadecimal."""


def _load_numpy() -> None:
    """Import NumPy without a thread for each CPU, whose start is a third of the time it takes.

    They are for products of matrices, of which there are none here. What a command starts must not
    find the variable in its environment.
    """
    if _BLAS_THREADS in os.environ or "numpy" in sys.modules:
        return
    os.environ[_BLAS_THREADS] = "1"
    try:
        importlib.import_module("numpy")
    finally:
        del os.environ[_BLAS_THREADS]


def eprint(text: str, end: str = "\n") -> None:
    """Say something on standard error; nobody may be there to hear it, which is no failure."""
    with contextlib.suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)


def show_warnings() -> None:
    """Show what the library warns of, a line each; on a terminal in place of what stands there."""
    import logging

    class Warnings(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            eprint(f"{clear}{record.getMessage()}")

    logging.getLogger("pydamon").handlers = [Warnings(logging.WARNING)]


def print_json(document: dict[str, Any]) -> None:
    """Print a document that every JSON parser takes."""
    sys.stdout.write(dump_json(document) + "\n")
