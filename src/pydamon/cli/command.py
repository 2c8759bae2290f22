"""What a subcommand is."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from typing import Any, Protocol

from pydamon.core.errors import UsageError
from pydamon.core.units import parse_duration_ns

__all__ = ["Command", "add_cpu_budget", "complain", "duration", "print_json"]

_LONE_SURROGATE = re.compile(
    r"(\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|\\(ud[89a-f][0-9a-f]{2})"
)


class Command(Protocol):
    """A subcommand: one module, registered in `cli.main.COMMANDS`.

    The first line of the class's docstring is its help; the whole docstring its description.
    """

    name: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit code. Raises `PydamonError` for what a person should read."""
        ...


def add_cpu_budget(parser: argparse.ArgumentParser) -> None:
    """The argument that says what monitoring may cost."""
    parser.add_argument(
        "--cpu-budget",
        type=float,
        default=1.0,
        metavar="PERCENT",
        help="how much of one CPU monitoring may cost (default: 1)",
    )


def duration(text: str) -> int:
    """An argument that is a duration, in ns."""
    try:
        return parse_duration_ns(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(f"{error} ({error.hint})") from None


def complain(text: str, end: str = "\n") -> None:
    """Say something on standard error; nobody may be there to hear it, which is no failure."""
    with contextlib.suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)


def print_json(document: dict[str, Any]) -> None:
    """Print a document that every JSON parser takes.

    A byte of a name that is not UTF-8 is a lone surrogate in Python, which JSON must not hold: it
    becomes the six characters `\\udcff`, as in recordings.
    """
    text = json.dumps(document)
    if "\\ud" in text:
        text = _LONE_SURROGATE.sub(lambda found: found[1] or "\\\\" + found[2], text)
    sys.stdout.write(text + "\n")
