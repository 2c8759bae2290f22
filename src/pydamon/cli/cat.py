"""`pydamon cat`: a recording as text on standard output."""

from __future__ import annotations

import argparse
import sys

from pydamon.cli.rewriting import Watched
from pydamon.recording import FORMATS, open_recording

__all__ = ["Cat"]

_TEXTS = {one.name: one for one in FORMATS if one.is_text}


class Cat:
    """Print a recording as text, for pipes: a region a line, or damo's JSON.

    pydamon cat pydamon.damon | jq 'select(.nr_accesses > 10) | .mapping'
    pydamon cat --format csv fleet/ | head
    """

    name = "cat"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add what to print, and as what."""
        parser.add_argument("source", metavar="SOURCE", help="a recording of any format")
        parser.add_argument(
            "--format", choices=list(_TEXTS), default="ndjson", help="default: %(default)s"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Print."""
        watched = Watched(open_recording(args.source))
        _TEXTS[args.format].write(sys.stdout.buffer, watched.info, watched.sorted())
        watched.finish()
        return 0
