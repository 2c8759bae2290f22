"""`pydamon convert`: a recording in another format."""

from __future__ import annotations

import argparse

from pydamon.cli.rewriting import add_target_arguments, rewrite
from pydamon.recording import open_recording

__all__ = ["Convert"]


class Convert:
    """Write a recording in another format, such as Parquet or damo's.

    pydamon convert pydamon.damon redis.parquet
    pydamon convert damon.data redis.damon

    The format of SOURCE is found out from what is in it.
    """

    name = "convert"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add what to read, and what to write."""
        parser.add_argument("source", metavar="SOURCE", help="a recording of any format")
        add_target_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Convert."""
        return rewrite(open_recording(args.source), args)
