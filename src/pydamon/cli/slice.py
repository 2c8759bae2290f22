"""`pydamon slice`: a part of a recording."""

from __future__ import annotations

from pydamon.cli.command import Args, Parsed, command, duration, option
from pydamon.cli.options import source_argument, target_options
from pydamon.core.errors import UsageError

__all__ = ["slice_"]


def _addresses(text: str) -> tuple[int, int]:
    start, _, end = text.partition("-")
    try:
        bounds = int(start, 16), int(end, 16)
    except ValueError:
        bounds = 0, 0
    if not 0 <= bounds[0] < bounds[1] < 2**63:
        raise UsageError(f"not an address range: {text!r} (as in 1000-2fff)")
    return bounds


@command("slice")
@source_argument
@target_options
@option(
    "--from",
    "from_ns",
    type=duration,
    metavar="D",
    help="begin so long after the start, as in 10s",
)
@option("--to", "to_ns", type=duration, metavar="D", help="end so long after the start, as in 10s")
@option(
    "--addresses", type=Parsed(_addresses), metavar="START-END", help="only these (hexadecimal)"
)
@option("--pid", "pids", type=int, multiple=True, help="only this process; repeatable")
@option("--host", "hosts", multiple=True, metavar="HOST", help="only this host; repeatable")
def slice_(args: Args) -> int:
    """Write a part of a recording: some of its time, addresses, processes or hosts.

    pydamon slice --from 10s --to 1min pydamon.damon minute.damon
    pydamon slice --pid 1234 --addresses 7f0000000000-800000000000 pydamon.damon part.parquet

    Snapshots and regions that overlap what was asked for are taken whole.
    """
    from pydamon.analysis.contents import never_empty
    from pydamon.cli.rewriting import opened, rewrite

    file = opened(args.source)
    begin_ns = file.began_ns
    part = file.slice(
        start_ns=None if args.from_ns is None else begin_ns + args.from_ns,
        end_ns=None if args.to_ns is None else begin_ns + args.to_ns,
        addresses=args.addresses,
        pids=list(args.pids) or None,
        hosts=list(args.hosts) or None,
    )
    return rewrite(never_empty(part, file), args)
