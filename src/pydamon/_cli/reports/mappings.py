"""`pydamon report mappings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, Choice, option, print_json
from pydamon._cli.options import idle_option, recording_options
from pydamon._cli.reports.command import report_command

if TYPE_CHECKING:
    from pydamon._data import analysis

__all__ = ["mapping_document", "mappings"]


@report_command("mappings")
@recording_options
@option(
    "--by",
    type=Choice(("name", "kind")),
    default="name",
    help="each name by itself, or files, heaps, stacks... (default: name)",
)
@idle_option("fits the recording")
def mappings(args: Args) -> int:
    """Hot, warm, cold and idle bytes of each file, heap, stack and named mapping.

    Bytes are means over the time that was recorded; all mappings of one name count together.
    """
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis
    from pydamon._show.results.mappings import KindsView

    found = analysis.mappings(open_recording(args), args.idle)
    if args.json:
        print_json({"mappings": [mapping_document(one) for one in found]})
    else:
        show(KindsView(found) if args.by == "kind" else found)
    return 0


def mapping_document(one: analysis.MappingHeat) -> dict[str, Any]:
    """A mapping in JSON."""
    from pydamon._cli.reports.base import bytes_document, target_document

    return {
        **target_document(one.target),
        "mapping": one.name,
        "kind": one.kind,
        "access_rate": one.rate,
        "bytes": bytes_document(one.size),
    }
