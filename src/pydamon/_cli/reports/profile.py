"""`pydamon report profile`."""

from __future__ import annotations

from pydamon._cli.command import Args, option, print_json
from pydamon._cli.reports import report_command
from pydamon._cli.reports.times import selected_times, times_options

__all__ = ["profile"]


@report_command("profile")
@times_options
@option(
    "--samples",
    metavar="FILE",
    help="samples that perf recorded at the same time (default: those of `record --profile`)",
)
def profile(args: Args) -> int:
    """Compare the functions that ran while memory matched a filter with all other functions.

    pydamon record --profile 1234
    pydamon report profile --where 'mapping = [heap] and rate > 50%'

    perf record -e cpu-clock -k realtime -p PID -o cpu.data      # beside pydamon record
    pydamon report profile --samples cpu.data --where 'mapping = [heap] and rate > 50%'

    FILE may also be output of perf script, or damo's FILE.profile beside its recording FILE.
    """
    from dataclasses import asdict

    from pydamon._cli.reports.base import open_whole, show
    from pydamon._data import analysis

    whole = open_whole(args)
    if args.samples:
        samples = analysis.read_cpu_samples(args.samples)
    else:
        samples = analysis.recorded_samples(whole)
    profile = analysis.profile(selected_times(args, whole), samples)
    if args.json:
        print_json(asdict(profile))
    else:
        show(profile)
    return 0
