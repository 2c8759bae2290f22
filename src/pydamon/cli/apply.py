"""`pydamon apply`: schemes from a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from pydamon.cli.service import add_service_arguments, run_service, target_from, with_given
from pydamon.policies import POLICIES, Config, load_config

__all__ = ["Apply"]


class Apply:
    """Apply the schemes of a file to the memory of processes.

    pydamon apply schemes.toml 1234
    pydamon apply --dry-run damo.json -- ./my-program
    pydamon apply service.toml

    FILE is TOML with tables [[schemes]] or a [policy], or JSON as damo has it. TOML may have tables
    [target] and [monitoring], too; what the command line says wins. It is read again at SIGHUP.
    """

    name = "apply"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the file, and whose memory is meant."""
        targets = "[PID... | -- COMMAND... | --cgroup NAME | --user NAME]"
        parser.usage = f"pydamon apply [OPTIONS] FILE {targets}"
        parser.add_argument("file", type=Path, metavar="FILE", help="schemes, as TOML or JSON")
        parser.add_argument(
            "pids", nargs="*", type=int, default=[], metavar="PID", help="processes"
        )
        add_service_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Run until the targets are gone, the time is up, or somebody presses Ctrl-C."""
        return run_service(args, lambda: _load(args))


def _load(args: argparse.Namespace) -> Config:
    return with_given(load_config(args.file, POLICIES, target=target_from(args)), args)
