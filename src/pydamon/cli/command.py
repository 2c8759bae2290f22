"""What a subcommand is."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Protocol

__all__ = ["Command", "complain"]


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


def complain(text: str, end: str = "\n") -> None:
    """Say something on standard error; nobody may be there to hear it, which is no failure."""
    with contextlib.suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)
