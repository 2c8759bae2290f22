"""The `pydamon` command."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydamon.cli.command import Command, complain
from pydamon.core.errors import PydamonError

__all__ = ["COMMANDS", "main", "run"]

COMMANDS = {
    "record": "pydamon.cli.record:Record",
    "report": "pydamon.cli.report:Report",
    "convert": "pydamon.cli.convert:Convert",
    "slice": "pydamon.cli.slice:Slice",
    "merge": "pydamon.cli.merge:Merge",
    "cat": "pydamon.cli.cat:Cat",
    "top": "pydamon.cli.top:Top",
    "serve": "pydamon.cli.serve:Serve",
    "export": "pydamon.cli.export:Export",
    "apply": "pydamon.cli.apply:Apply",
    "reclaim": "pydamon.cli.policy:ReclaimCommand",
    "thp": "pydamon.cli.policy:ThpCommand",
    "lru-sort": "pydamon.cli.policy:LruSortCommand",
    "tier": "pydamon.cli.policy:TierCommand",
    "stat": "pydamon.cli.policy:StatCommand",
    "status": "pydamon.cli.status:Status",
    "doctor": "pydamon.cli.doctor:Doctor",
    "demo": "pydamon.cli.demo:Demo",
    "bench": "pydamon.cli.bench:Bench",
}
"""The class of each command. Only the one that is asked for is imported: reports start at once."""


_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What can be wrong with writing where the error names no file: other files have names."""


def main(argv: Sequence[str]) -> int:
    """Run one command; the exit code: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C.

    Everything behind a `--` is the command line of a program to start.
    """
    words, command = _split(list(argv))
    try:
        parser = _parser(words[:1] if words[:1] and words[0] in COMMANDS else list(COMMANDS))
        args = parser.parse_args(words)
        args.command = command
        chosen: Command = args.chosen
        code = chosen.run(args)
        sys.stdout.flush()
        return code
    except PydamonError as error:
        complain(f"pydamon: {error}")
        if error.hint:
            complain(textwrap.indent(error.hint, "  "))
        return 1
    except MemoryError:
        complain("pydamon: there is too little memory for that")
        complain("  take a part of the recording: pydamon slice")
        return 1
    except BrokenPipeError:
        # Whoever read our output has seen enough. Nothing must be written to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        complain(f"pydamon: {_told(error)}")
        return 1
    except KeyboardInterrupt:
        return 130


def _told(error: OSError) -> str:
    """What failed. If it is the output, nothing must be written to it at exit either."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename:
        return f"{error.filename}: {reason}"
    if error.errno in _OF_OUTPUT:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
    sys.exit(main(sys.argv[1:]))


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of some of the commands."""
    parser = argparse.ArgumentParser(
        prog="pydamon", description="Find out which memory a running program really uses."
    )
    parser.add_argument("--version", action="version", version=f"pydamon {_version()}")
    if len(names) == len(COMMANDS):
        import shtab  # noqa: PLC0415  (of no use to a command)

        shtab.add_argument_to(parser, "--print-completion", help="print a script for your shell")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Mixing)
    for name in names:
        module, _, kind = COMMANDS[name].partition(":")
        command: Command = getattr(importlib.import_module(module), kind)()
        text = (type(command).__doc__ or "").strip()
        subparser = subparsers.add_parser(
            command.name,
            help=text.splitlines()[0].rstrip("."),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.set_defaults(chosen=command)
        command.configure(subparser)
    return parser


class _Mixing(argparse.ArgumentParser):
    """Takes options between positional arguments, too: `apply FILE --dry-run PID`."""

    _inside = False

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        if self._inside or self._subparsers:
            return super().parse_known_args(args, namespace)
        self._inside = True  # it comes here for either kind of arguments
        return self.parse_known_intermixed_args(args, namespace)


def _split(argv: list[str]) -> tuple[list[str], list[str] | None]:
    if "--" not in argv:
        return argv, None
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _version() -> str:
    try:
        return version("pydamon")
    except PackageNotFoundError:
        return "(not installed)"
