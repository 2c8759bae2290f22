"""`pydamon report profile`."""

from __future__ import annotations

from pydamon._cli.command import Args, option, print_json
from pydamon._cli.reports import report_command
from pydamon._cli.reports.times import selected_times, times_options

__all__ = ["profile"]


@report_command("profile")
@times_options
@option(
    "--samples", required=True, metavar="FILE", help="samples that perf recorded at the same time"
)
def profile(args: Args) -> int:
    """Compare the functions that ran while memory matched a filter with all other functions.

    perf record -e cpu-clock -k realtime -p PID -o cpu.data      # beside pydamon record
    pydamon report profile --samples cpu.data --where 'mapping = [heap] and rate > 50%'

    FILE may also be output of perf script, or damo's FILE.profile beside its recording FILE.
    """
    from dataclasses import asdict

    from pydamon._cli.reports.base import show
    from pydamon._data import analysis

    profile = analysis.profile(selected_times(args), analysis.read_cpu_samples(args.samples))
    if args.json:
        print_json(asdict(profile))
    else:
        show(profile)
    return 0
