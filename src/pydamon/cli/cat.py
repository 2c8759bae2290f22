"""`pydamon cat`: a recording as text on standard output."""

from __future__ import annotations

from pathlib import Path

from pydamon.cli.choices import TEXT_FORMATS
from pydamon.cli.command import Args, Choice, command, option
from pydamon.cli.options import source_argument

__all__ = ["cat"]


@command("cat")
@source_argument
@option("--format", type=Choice(TEXT_FORMATS), default="ndjson", help="default: ndjson")
def cat(args: Args) -> int:
    """Print a recording as text, for pipes: a region a line, or damo's JSON.

    pydamon cat pydamon.damon | jq 'select(.nr_accesses > 10) | .mapping'
    pydamon cat --format csv fleet/ | head
    """
    from pydamon.cli.rewriting import opened, rewrite

    args.target = Path("-")
    return rewrite(opened(args.source), args)
