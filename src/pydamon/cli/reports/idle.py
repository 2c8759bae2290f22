"""`pydamon report idle`."""

from __future__ import annotations

import argparse

from pydamon import analysis
from pydamon.cli.command import print_json
from pydamon.cli.reports.base import add_recording_arguments, duration, open_recording, show
from pydamon.views import IdleView

__all__ = ["IdleReport"]


class IdleReport:
    """Bytes by idle time: what reclaiming memory of that age would free."""

    name = "idle"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add which recording, and which ages."""
        add_recording_arguments(parser)
        parser.add_argument(
            "--ages",
            type=_ages,
            default=analysis.IDLE_AGES_NS,
            metavar="D,D,...",
            help="idle for at least so long (default: from 0s to a day)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Print the bytes of each age, in the last snapshot and on average."""
        found = analysis.idle(open_recording(args), args.ages)
        if not args.json:
            show(IdleView(found))
            return 0
        print_json(
            {
                "ages_ns": found.ages_ns.tolist(),
                "last_bytes": found.last_bytes.tolist(),
                "mean_bytes": found.mean_bytes.tolist(),
                "total_bytes": found.total_bytes,
                "mean_total_bytes": found.mean_total_bytes,
                "longest_ns": found.longest_ns,
            }
        )
        return 0


def _ages(text: str) -> tuple[int, ...]:
    return tuple(duration(age) for age in text.split(","))
