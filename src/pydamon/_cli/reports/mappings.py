"""`pydamon report mappings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, Choice, option, print_json
from pydamon._cli.options import idle_option, recording_options
from pydamon._cli.reports import report_command

if TYPE_CHECKING:
    from pydamon._data import analysis

__all__ = ["mapping_document", "mappings"]


@report_command("mappings")
@recording_options
@option(
    "--by",
    type=Choice(("name", "kind")),
    default="name",
    help="group by the name of the mapping, or by its kind: files, heaps, ... (default: name)",
)
@idle_option("fits the recording")
def mappings(args: Args) -> int:
    """List hot, warm, cold and idle bytes of each file, heap, stack and named mapping.

    Bytes are means over the recorded time; mappings of the same name are added up.
    """
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis
    from pydamon._show.results.mappings import KindsView

    mappings = analysis.mappings(open_recording(args), args.idle)
    if args.json:
        print_json({"mappings": [mapping_document(mapping) for mapping in mappings]})
    else:
        show(KindsView(mappings) if args.by == "kind" else mappings)
    return 0


def mapping_document(mapping: analysis.MappingHeat) -> dict[str, Any]:
    """Return a mapping for JSON."""
    from pydamon._cli.reports.base import bytes_document, target_document

    return {
        **target_document(mapping.target),
        "mapping": mapping.name,
        "kind": mapping.kind,
        "access_rate": mapping.rate,
        "bytes": bytes_document(mapping.size),
    }
