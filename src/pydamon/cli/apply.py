"""`pydamon apply`: schemes from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pydamon.cli.command import Args, argument, command
from pydamon.cli.options import service_options

if TYPE_CHECKING:
    from pydamon.policies import Config

__all__ = ["apply"]


@command(
    "apply",
    usage="[OPTIONS] FILE [PID... | -- COMMAND... | --cgroup NAME | --user NAME]",
    starts_program=True,
)
@argument("file", type=click.Path(path_type=Path), metavar="FILE", help="schemes, as TOML or JSON")
@argument("pids", nargs=-1, type=int, metavar="[PID]...", help="processes")
@service_options
def apply(args: Args) -> int:
    """Apply the schemes of a file to the memory of processes.

    pydamon apply schemes.toml 1234
    pydamon apply --dry-run damo.json -- ./my-program
    pydamon apply service.toml

    FILE is TOML with tables [[schemes]] or a [policy], or JSON as damo has it. TOML may have tables
    [target] and [monitoring], too; what the command line says wins. It is read again at SIGHUP.
    """
    from pydamon.cli.service import run_service

    return run_service(args, lambda: _load_schemes(args))


def _load_schemes(args: Args) -> Config:
    from pydamon.cli.service import target_from, with_given
    from pydamon.policies import POLICIES, load_config

    return with_given(load_config(args.file, POLICIES, target=target_from(args)), args)
