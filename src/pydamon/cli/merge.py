"""`pydamon merge`: several recordings as one."""

from __future__ import annotations

import click

from pydamon.cli.command import Args, argument, command
from pydamon.cli.options import target_options

__all__ = ["merge"]


@command("merge")
@argument(
    "sources",
    nargs=-1,
    required=True,
    type=click.Path(),
    metavar="SOURCE...",
    help="recordings of any format; one may be - for standard input",
)
@target_options
def merge(args: Args) -> int:
    """Write several recordings, perhaps of several hosts, as one, in the order of time.

    pydamon merge web1.damon web2.damon web3.damon fleet.parquet

    The column `host` tells them apart. A recording that does not say where it was made gets the
    name of its file as its host.
    """
    from pydamon.cli.rewriting import rewrite, source_path
    from pydamon.recording import merge_recordings

    return rewrite(merge_recordings([source_path(one) for one in args.sources]), args)
