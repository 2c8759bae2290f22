"""`pydamon report footprint`."""

from __future__ import annotations

import argparse
from typing import Any

from pydamon import analysis
from pydamon.cli.command import print_json
from pydamon.cli.reports.base import (
    add_recording_arguments,
    open_recording,
    show,
    target_document,
)
from pydamon.views import FootprintView

__all__ = ["FootprintReport"]


class FootprintReport:
    """What is mapped (VSZ), in memory (RSS) and in use (WSS), over time."""

    name = "footprint"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add which recording."""
        add_recording_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Print them for everything together, then for each target."""
        found = analysis.footprint(open_recording(args))
        if args.json:
            print_json({"total": _series(found[0]), "targets": [_series(one) for one in found[1:]]})
        else:
            show(FootprintView(found))
        return 0


def _series(one: analysis.FootprintSeries) -> dict[str, Any]:
    known = one.known
    return {
        **(target_document(one.target) if one.target else {}),
        "end_ns": one.end_ns.tolist(),
        "vsz_bytes": one.vsz_bytes.tolist() if known else None,
        "rss_bytes": one.rss_bytes.tolist() if known else None,
        "wss_bytes": one.wss_bytes.tolist(),
    }
