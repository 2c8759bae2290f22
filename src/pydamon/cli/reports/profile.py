"""`pydamon report profile`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from pydamon import analysis
from pydamon.cli.command import print_json
from pydamon.cli.reports.base import show
from pydamon.cli.reports.times import add_times_arguments, times_asked_for
from pydamon.recording import read_cpu_samples
from pydamon.views import profile_table

__all__ = ["ProfileReport"]


class ProfileReport:
    """Which functions ran while memory was as a filter says, and which ran otherwise.

    perf record -e cpu-clock -k realtime -p PID -o cpu.data      # beside pydamon record
    pydamon report profile --samples cpu.data --where 'mapping = [heap] and rate > 50%'

    What perf script prints will do too; damo's FILE.profile goes with damo's FILE.
    """

    name = "profile"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add which recording and times, and the samples."""
        add_times_arguments(parser)
        parser.add_argument(
            "--samples", required=True, metavar="FILE", help="what perf has recorded meanwhile"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Print functions from the largest share of the samples in these times on."""
        found = analysis.profile(times_asked_for(args), read_cpu_samples(args.samples))
        if args.json:
            print_json(asdict(found))
        else:
            show(profile_table(found))
        return 0
