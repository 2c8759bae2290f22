"""`pydamon convert`: a recording in another format."""

from __future__ import annotations

from pydamon.cli.command import Args, command
from pydamon.cli.options import source_argument, target_options

__all__ = ["convert"]


@command("convert")
@source_argument
@target_options
def convert(args: Args) -> int:
    """Write a recording in another format, such as Parquet or damo's.

    pydamon convert pydamon.damon redis.parquet
    pydamon convert damon.data redis.damon
    pydamon convert --format csv pydamon.damon -

    The format of SOURCE is found out from what is in it.
    """
    from pydamon.cli.rewriting import opened, rewrite

    return rewrite(opened(args.source), args)
