"""`pydamon report profile`."""

from __future__ import annotations

from pydamon._cli.command import Args, option, print_json
from pydamon._cli.reports.command import report_command
from pydamon._cli.reports.times import times_asked_for, times_options

__all__ = ["profile"]


@report_command("profile")
@times_options
@option("--samples", required=True, metavar="FILE", help="what perf has recorded meanwhile")
def profile(args: Args) -> int:
    """Which functions ran while memory was as a filter says, and which ran otherwise.

    perf record -e cpu-clock -k realtime -p PID -o cpu.data      # beside pydamon record
    pydamon report profile --samples cpu.data --where 'mapping = [heap] and rate > 50%'

    What perf script prints will do too; damo's FILE.profile goes with damo's FILE.
    """
    from dataclasses import asdict

    from pydamon._cli.reports.base import show
    from pydamon._data import analysis

    found = analysis.profile(times_asked_for(args), analysis.read_cpu_samples(args.samples))
    if args.json:
        print_json(asdict(found))
    else:
        show(found)
    return 0
