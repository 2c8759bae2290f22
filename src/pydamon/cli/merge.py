"""`pydamon merge`: several recordings as one."""

from __future__ import annotations

import argparse

from pydamon.cli.rewriting import add_target_arguments, rewrite
from pydamon.recording import merge_recordings

__all__ = ["Merge"]


class Merge:
    """Write several recordings, perhaps of several hosts, as one, in the order of time.

    pydamon merge web1.damon web2.damon web3.damon fleet.parquet

    The column `host` tells them apart. A recording that does not say where it was made gets the
    name of its file as its host.
    """

    name = "merge"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add what to read, and what to write."""
        parser.add_argument("sources", metavar="SOURCE", nargs="+", help="recordings of any format")
        add_target_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Merge."""
        return rewrite(merge_recordings(args.sources), args)
