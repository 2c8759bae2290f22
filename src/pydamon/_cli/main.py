"""The `pydamon` command."""

from __future__ import annotations

import errno
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import click

from pydamon._cli.command import Group, eprint
from pydamon._model.errors import PydamonError

__all__ = ["COMMANDS", "PROGRAM", "main", "run"]

COMMANDS = {
    "record": "pydamon._cli.record:record",
    "report": "pydamon._cli.reports.command:report",
    "convert": "pydamon._cli.recordings:convert",
    "slice": "pydamon._cli.recordings:slice_",
    "merge": "pydamon._cli.recordings:merge",
    "cat": "pydamon._cli.recordings:cat",
    "top": "pydamon._cli.live:top",
    "serve": "pydamon._cli.live:serve",
    "export": "pydamon._cli.export:export",
    "apply": "pydamon._cli.policies:apply",
    "reclaim": "pydamon._cli.policies:reclaim",
    "thp": "pydamon._cli.policies:thp",
    "lru-sort": "pydamon._cli.policies:lru_sort",
    "tier": "pydamon._cli.policies:tier",
    "stat": "pydamon._cli.policies:stat",
    "status": "pydamon._cli.policies:status",
    "doctor": "pydamon._cli.doctor:doctor",
    "demo": "pydamon._cli.demo:demo",
    "bench": "pydamon._cli.bench:bench",
}
"""Where each command is. Only the one that is asked for is imported: reports start at once."""

_POLICIES = {
    "reclaim": (
        "Take memory that nobody has touched for a while, before anything runs short of it"
    ),
    "thp": "Back hot memory with huge pages, and split huge pages that lie idle",
    "lru-sort": (
        "Tell the kernel which memory is hot and which is cold, so that it takes cold pages first"
    ),
    "tier": "Promote hot memory to a fast memory node, and demote cold memory to a slow one",
    "stat": (
        "Show how much memory is accessed, and for how long the rest has been idle; change nothing"
    ),
}
"""Their help, for the list of commands not to wait for them: tests compare it with the policies."""

_COMPLETE = "_PYDAMON_COMPLETE"
"""The variable by which a shell asks for completions."""

_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What can be wrong with writing where the error names no file: other files have names."""


def _show_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"pydamon {version('pydamon')}")
    except PackageNotFoundError:
        click.echo("pydamon (not installed)")
    ctx.exit()


PROGRAM = Group(
    "pydamon",
    members=COMMANDS,
    shown=_POLICIES,
    help="Find out which memory a running program really uses.",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        )
    ],
)


def main(argv: Sequence[str]) -> int:
    """Run one command; the exit code: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    try:
        return _run(argv)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "pydamon"
        eprint(f"{path}: {error.format_message()}")
        return 2
    except PydamonError as error:
        eprint(f"pydamon: {error}")
        if error.hint:
            eprint(textwrap.indent(error.hint, "  "))
        return 1
    except MemoryError:
        eprint("pydamon: there is too little memory for that")
        eprint("  take a part of the recording: pydamon slice")
        return 1
    except BrokenPipeError:
        _leave_output()
        return 0
    except OSError as error:
        eprint(f"pydamon: {_told(error)}")
        return 1
    except KeyboardInterrupt:
        return 130


def _run(argv: Sequence[str]) -> int:
    try:
        with PROGRAM.make_context("pydamon", list(argv)) as context:
            code: int = PROGRAM.invoke(context)
    except click.exceptions.Exit as end:  # --help, --version
        code = end.exit_code
    sys.stdout.flush()
    return code


def _leave_output() -> None:
    """Whoever read our output has seen enough: nothing must be written to it at exit either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: OSError) -> str:
    """What failed. If it is the output, nothing must be written to it at exit either."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename:
        return f"{error.filename}: {reason}"
    if error.errno in _OF_OUTPUT:
        _leave_output()
        return f"cannot write the output: {reason}"
    return reason


def run() -> None:
    """The console script."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        else:
            stream.reconfigure(errors="replace")
    if instruction := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(PROGRAM, {}, "pydamon", _COMPLETE, instruction))
    sys.exit(main(sys.argv[1:]))
