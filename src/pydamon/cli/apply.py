"""`pydamon apply`: schemes from a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from attrs import evolve

from pydamon.cli.service import (
    add_service_arguments,
    monitoring_from,
    names_a_target,
    run_service,
    whom_from,
)
from pydamon.policies import POLICIES, Config, load_config
from pydamon.schemes import read_damo_schemes, read_schemes

__all__ = ["Apply"]


class Apply:
    """Apply the schemes of a file to the memory of processes.

    pydamon apply schemes.toml 1234
    pydamon apply --dry-run damo.json -- ./my-program
    pydamon apply service.toml

    FILE is TOML with tables [[schemes]], or JSON as damo has it. If no process is named, it has a
    table [target], can have a [policy] instead, and is read again after SIGHUP.
    """

    name = "apply"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the file, and whose memory is meant."""
        targets = "[PID... | -- COMMAND... | --cgroup NAME | --user NAME]"
        parser.usage = f"pydamon apply [OPTIONS] FILE {targets}"
        parser.add_argument("file", type=Path, metavar="FILE", help="schemes, as TOML or JSON")
        parser.add_argument("pids", nargs="*", type=int, metavar="PID", help="processes")
        add_service_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Run until the targets are gone, the time is up, or somebody presses Ctrl-C."""
        return run_service(args, lambda: _load(args))


def _load(args: argparse.Namespace) -> Config:
    if not names_a_target(args) and args.file.suffix != ".json":
        config = load_config(args.file, POLICIES)
        return evolve(config, name=args.name or config.name)
    read = read_damo_schemes if args.file.suffix == ".json" else read_schemes
    return Config(
        name=args.name or args.file.stem,
        target=whom_from(args),
        monitoring=monitoring_from(args),
        schemes=tuple(read(args.file)),
    )
