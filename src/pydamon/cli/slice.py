"""`pydamon slice`: a part of a recording."""

from __future__ import annotations

import argparse

from pydamon.cli.command import duration
from pydamon.cli.rewriting import add_target_arguments, rewrite
from pydamon.recording import open_recording

__all__ = ["Slice"]


class Slice:
    """Write a part of a recording: some of its time, addresses, processes or hosts.

    pydamon slice --from 10s --to 1min pydamon.damon minute.damon
    pydamon slice --pid 1234 --addresses 7f0000000000-800000000000 pydamon.damon part.parquet

    Snapshots and regions that overlap what was asked for are taken whole.
    """

    name = "slice"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add what to read, which part, and what to write."""
        parser.add_argument("source", metavar="SOURCE", help="a recording of any format")
        add_target_arguments(parser)
        for name, what in (("from", "begin"), ("to", "end")):
            parser.add_argument(
                f"--{name}",
                dest=f"{name}_ns",
                type=duration,
                metavar="D",
                help=f"{what} so long after the start, as in 10s",
            )
        parser.add_argument(
            "--addresses", type=_addresses, metavar="START-END", help="only these (hexadecimal)"
        )
        parser.add_argument(
            "--pid", dest="pids", type=int, action="append", help="only this process; repeatable"
        )
        parser.add_argument(
            "--host", dest="hosts", action="append", help="only this host; repeatable"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Cut it out."""
        file = open_recording(args.source)
        begin_ns = file.info.started_ns
        part = file.slice(
            start_ns=None if args.from_ns is None else begin_ns + args.from_ns,
            end_ns=None if args.to_ns is None else begin_ns + args.to_ns,
            addresses=args.addresses,
            pids=args.pids,
            hosts=args.hosts,
        )
        return rewrite(part, args)


def _addresses(text: str) -> tuple[int, int]:
    start, _, end = text.partition("-")
    try:
        bounds = int(start, 16), int(end, 16)
    except ValueError:
        bounds = 0, 0
    if not 0 <= bounds[0] < bounds[1] < 2**63:
        raise argparse.ArgumentTypeError(f"not an address range: {text!r} (as in 1000-2fff)")
    return bounds
