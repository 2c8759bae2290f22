"""`pydamon report mappings`."""

from __future__ import annotations

import argparse
from typing import Any

from pydamon import analysis
from pydamon.cli.command import print_json
from pydamon.cli.reports.base import (
    add_recording_arguments,
    bytes_document,
    duration,
    open_recording,
    show,
    target_document,
)
from pydamon.views import kind_table, mapping_table

__all__ = ["MappingsReport", "mapping_document"]


class MappingsReport:
    """Hot, warm, cold and idle bytes of each file, heap, stack and named mapping.

    Bytes are means over the time that was recorded; all mappings of one name count together.
    """

    name = "mappings"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add which recording, and how to group."""
        add_recording_arguments(parser)
        parser.add_argument(
            "--by",
            choices=("name", "kind"),
            default="name",
            help="each name by itself, or files, heaps, stacks... (default: %(default)s)",
        )
        parser.add_argument(
            "--idle",
            type=duration,
            metavar="D",
            help="for how long what is idle has not been accessed (default: fits the recording)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Print the mappings from the most hot bytes to the fewest."""
        found = analysis.mappings(open_recording(args), args.idle)
        if args.json:
            print_json({"mappings": [mapping_document(one) for one in found]})
        else:
            show(kind_table(found) if args.by == "kind" else mapping_table(found))
        return 0


def mapping_document(one: analysis.MappingHeat) -> dict[str, Any]:
    """A mapping in JSON."""
    return {
        **target_document(one.target),
        "mapping": one.name,
        "kind": one.kind,
        "access_rate": one.rate,
        "bytes": bytes_document(one.size),
    }
