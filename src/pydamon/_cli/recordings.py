"""`pydamon convert`, `slice`, `merge` and `cat`: recordings in other forms."""

from __future__ import annotations

from pathlib import Path

import click

from pydamon._cli.command import (
    Args,
    Choice,
    address_range,
    argument,
    command,
    duration,
    option,
    show_warnings,
)
from pydamon._cli.options import TEXT_FORMATS, source_argument, target_options

__all__ = ["cat", "convert", "merge", "slice_"]


@command("convert")
@source_argument
@target_options
def convert(args: Args) -> int:
    """Write a recording in another format, such as Parquet or damo's.

    pydamon convert pydamon.damon redis.parquet
    pydamon convert damon.data redis.damon
    pydamon convert --format csv pydamon.damon -

    pydamon recognises the format of SOURCE by its content.
    """
    from pydamon._cli.streams import open_source, rewrite

    return rewrite(open_source(args.source), args)


@command("slice")
@source_argument
@target_options
@option(
    "--from",
    "from_ns",
    type=duration,
    metavar="D",
    help="begin at this time after the start, as in 10s",
)
@option(
    "--to", "to_ns", type=duration, metavar="D", help="end at this time after the start, as in 1min"
)
@option(
    "--addresses",
    type=address_range,
    metavar="START-END",
    help="only these addresses (hexadecimal)",
)
@option(
    "--skip",
    "skipped",
    type=click.IntRange(0, 10**9),
    default=0,
    metavar="N",
    help="leave out the first N snapshots, in which regions are still being found",
)
@option(
    "--aggr",
    "aggr_ns",
    type=duration,
    metavar="D",
    help="take snapshots together that lie within this time, as in 1s",
)
@option("--pid", "pids", type=int, multiple=True, help="only this process; repeatable")
@option("--host", "hosts", multiple=True, metavar="HOST", help="only this host; repeatable")
def slice_(args: Args) -> int:
    """Cut a part out of a recording: by time, addresses, processes or hosts.

    pydamon slice --from 10s --to 1min pydamon.damon minute.damon
    pydamon slice --pid 1234 --addresses 7f0000000000-800000000000 pydamon.damon part.parquet
    pydamon slice --skip 20 --aggr 1s damon.data seconds.data

    Snapshots and regions that overlap the selected part are kept whole. --aggr makes snapshots
    longer: rates become means over their time, memory counts as touched where any of them touched
    it, ages are those of the last, and ages of pages are dropped.
    """
    from pydamon._cli.streams import open_source, rewrite
    from pydamon._data.analysis import aggregate, skip
    from pydamon._data.analysis.where import never_empty

    file = open_source(args.source)
    begin_ns = file.began_ns
    part = file.slice(
        start_ns=None if args.from_ns is None else begin_ns + args.from_ns,
        end_ns=None if args.to_ns is None else begin_ns + args.to_ns,
        addresses=args.addresses,
        pids=list(args.pids) or None,
        hosts=list(args.hosts) or None,
    )
    if args.skipped:
        part = skip(part, args.skipped)
    part = never_empty(part, file)
    if args.aggr_ns is not None:
        show_warnings()
        part = aggregate(part, args.aggr_ns)
    return rewrite(part, args)


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
    """Merge recordings of one or several hosts into one.

    pydamon merge web1.damon web2.damon web3.damon fleet.parquet

    Snapshots are in the order of time. The column `host` tells the hosts apart. A recording without
    a host name gets the name of its file as its host.
    """
    from pydamon._cli.streams import rewrite, source_path
    from pydamon._data.formats.reader import merge_recordings

    return rewrite(merge_recordings([source_path(source) for source in args.sources]), args)


@command("cat")
@source_argument
@option("--format", type=Choice(TEXT_FORMATS), default="ndjson", help="default: ndjson")
def cat(args: Args) -> int:
    """Print a recording as text: one region a line, or damo's JSON.

    pydamon cat pydamon.damon | jq 'select(.nr_accesses > 10) | .mapping'
    pydamon cat --format csv fleet/ | head
    """
    from pydamon._cli.streams import open_source, rewrite

    args.target = Path("-")
    return rewrite(open_source(args.source), args)
