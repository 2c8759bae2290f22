"""Commands: a function with its options, help, signals, and errors for wrong usage."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, TypeVar

import click

from pydamon._model.display import dump_json
from pydamon._model.errors import UsageError
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
    "handling",
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
    """The parsed command line: an attribute for each parameter of the command.

    `command` holds the words behind `--` for commands that start a program, and is `None`
    otherwise.
    """


class _Plain(click.Command):
    """A command whose help keeps the line breaks of its description."""

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
        """Parse options and arguments, in any order; keep the words of a program apart."""
        program = None
        if self._starts_program and "--" in args:
            at = args.index("--")
            args, program = args[:at], args[at + 1 :]
        several = {name for param in self.params if _is_several(param) for name in param.opts}
        rest = super().parse_args(ctx, _with_repeated_flags(args, several))
        ctx.params["command"] = program
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, with NumPy loaded on one thread."""
        _load_numpy()
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the words behind the command's name in the first line of its help."""
        return [self._usage] if self._usage else super().collect_usage_pieces(ctx)


class Group(_Plain, click.Group):
    """A command with subcommands. It imports only the module of the subcommand that runs.

    *members* maps each name to the place of its command, as `"module:attribute"`. *shown* holds
    the first line of help of commands whose modules are slow to import.
    """

    def __init__(
        self, name: str, *, members: dict[str, str], shown: dict[str, str] | None = None, **kw: Any
    ):
        super().__init__(name, context_settings=_SETTINGS, no_args_is_help=False, **kw)
        self.members = members
        self.shown = shown or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help text."""
        return list(self.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command of that name, if there is one."""
        if cmd_name not in self.members:
            return None
        module, _, attribute = self.members[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its first line of help."""
        rows = [
            (name, self.shown.get(name) or self._first_line(ctx, name)) for name in self.members
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _first_line(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return command.get_short_help_str() if command else ""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names, or suggest similar names."""
        if args[0] not in self.members and not ctx.resilient_parsing:
            raise click.NoSuchCommand(args[0], possibilities=self.members, ctx=ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the subcommand's name, and require that name."""
        if not args and not ctx.resilient_parsing:
            metavar = (self.subcommand_metavar or "COMMAND").partition(" ")[0]
            names = ", ".join(self.members)
            raise click.UsageError(f"Missing {metavar}: one of {names}.", ctx=ctx)
        return super().parse_args(ctx, args)


class _Option(click.Option):
    """An option that refuses another option's name as its value, because the value is missing.

    With *several*, the option takes all words up to the next option: `--tool refs plain`.
    """

    def __init__(
        self, names: Sequence[str], *, several: bool = False, multiple: bool = False, **kw: Any
    ):
        super().__init__(names, multiple=several or multiple, **kw)
        self.several = several

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        if isinstance(value, str) and not ctx.resilient_parsing:
            names = [name for param in ctx.command.params for name in param.opts]
            if value.startswith("--") and value in names:
                raise click.BadOptionUsage(
                    self.opts[-1], f"Option {self.opts[-1]!r} requires an argument.", ctx=ctx
                )
        return super().type_cast_value(ctx, value)


def _is_several(param: click.Parameter) -> bool:
    return isinstance(param, _Option) and param.several


def _with_repeated_flags(args: list[str], several: set[str]) -> list[str]:
    """Turn `--tool refs plain` into `--tool refs --tool plain`, the form that click parses."""
    words: list[str] = []
    flag = ""
    for word in args:
        if word.startswith("-"):
            flag = word if word in several else ""
        elif flag and words[-1] != flag:
            words.append(flag)
        words.append(word)
    return words


option = partial(click.option, cls=_Option)
argument = click.argument


def command(
    name: str, *, usage: str = "", epilog: str = "", starts_program: bool = False
) -> Callable[[Callable[[Args], int]], Command]:
    """Make a command of a function that returns the exit code.

    The first line of the function's docstring is the command's short help, and the whole docstring
    its description. With *starts_program*, the words behind `--` are the command line of a program
    (`Args.command`); otherwise they are ordinary arguments. The function raises `PydamonError` for
    errors that the user should read.
    """

    def decorate(function: Callable[[Args], int]) -> Command:
        params = getattr(function, "__click_params__", [])
        return Command(
            name,
            params=params[::-1],
            callback=lambda **values: function(Args(**{"command": None, **values})),
            help=inspect.cleandoc(function.__doc__ or ""),
            epilog=epilog,
            usage=usage,
            starts_program=starts_program,
        )

    return decorate


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Combine options into one decorator, for options that several commands share."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


class Choice(click.Choice[str]):
    """A parameter that takes one of several words, and suggests a word for a misspelt value."""

    def __init__(self, choices: Iterable[str]) -> None:
        super().__init__(tuple(choices))

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Name the choices, and the most similar of them."""
        from difflib import get_close_matches

        near = get_close_matches(str(value), self.choices, 1)
        message = super().get_invalid_choice_message(value, ctx)
        return f"{message} Did you mean {near[0]!r}?" if near else message


class Parsed(click.ParamType[Any]):
    """A parameter whose value *parse* makes of a word; *parse* raises `UsageError` if it cannot."""

    def __init__(self, parse: Callable[[str], Any], name: str = "value") -> None:
        self._parse = parse
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a word; a default is a parsed value already."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except UsageError as error:
            self.fail(f"{error} ({error.hint})" if error.hint else str(error), param, ctx)


class NewFile(click.Path):
    """The path of an output file; `-` (standard output) is refused."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail for `-`."""
        if str(value) == "-":
            self.fail("this cannot be written to standard output: name a file", param, ctx)
        return super().convert(value, param, ctx)


duration = Parsed(parse_duration_ns, "duration")
"""Parameter type of durations, in ns."""
size = Parsed(parse_size, "size")
"""Parameter type of sizes, in bytes."""
percent = Parsed(parse_percent, "percent")
"""Parameter type of percentages, with or without the percent sign."""
address_range = Parsed(parse_address_range, "address range")
"""Parameter type of address ranges: start and end, both hexadecimal."""


def _load_numpy() -> None:
    """Import NumPy without its pool of threads, which takes a third of the import time.

    NumPy uses that pool to multiply matrices, and pydamon never does. The variable is removed
    afterwards, so that programs which a command starts do not inherit it.
    """
    if _BLAS_THREADS in os.environ or "numpy" in sys.modules:
        return
    os.environ[_BLAS_THREADS] = "1"
    try:
        importlib.import_module("numpy")
    finally:
        del os.environ[_BLAS_THREADS]


def eprint(text: str, end: str = "\n") -> None:
    """Print on standard error; a closed or full standard error is not a failure."""
    with contextlib.suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)


def show_warnings() -> None:
    """Print the library's warnings, a line each; on a terminal they replace the progress line."""
    import logging

    class Warnings(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            eprint(f"{clear}{record.getMessage()}")

    logging.getLogger("pydamon").handlers = [Warnings(logging.WARNING)]


def print_json(document: dict[str, Any]) -> None:
    """Print a document as strict JSON, which every parser accepts."""
    sys.stdout.write(dump_json(document) + "\n")


Handler = Callable[[int, FrameType | None], object]


@contextmanager
def handling(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Install signal handlers for the duration of the context; ignored signals stay ignored.

    The parent process ignored them on purpose: `nohup` ignores SIGHUP, and a shell ignores SIGINT
    for programs in the background.
    """
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
