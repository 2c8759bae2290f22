"""Running the kdamonds of a whole configuration of damo's: `apply --engine kernel`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from pydamon._act.policies import StatusFile
from pydamon._act.policies.kernel_service import KernelService
from pydamon._act.schemes.damo_kdamonds import kdamonds_of
from pydamon._act.schemes.toml import load
from pydamon._cli.command import Args, eprint, print_json
from pydamon._cli.service import handle_signals
from pydamon._cli.streams import console, show_wrapped
from pydamon._model.errors import UsageError
from pydamon._model.units import format_duration, parse_duration_ns
from pydamon._observe.kernel import KdamondSettings
from pydamon._show.results.schemes import StatusView
from pydamon._show.text import count, printable

__all__ = ["check_kdamonds", "run_kdamonds"]

_IN_FILE = ("sample", "aggr", "update", "max_regions", "cpu_budget_percent")
"""Options that the file says for each kdamond."""


def run_kdamonds(args: Args) -> int:
    """Run the kdamonds of a file until their end, and print what they did."""
    given = [name for name in _IN_FILE if getattr(args, name) is not None]
    if given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} is in {args.file} for each kdamond: change it there"
        )
    duration_ns = parse_duration_ns(args.duration) if args.duration else None
    if duration_ns == 0:
        raise UsageError("the duration must be longer than 0")
    last: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        files: dict[str, StatusFile] = {}

        def report(statuses: dict[str, dict[str, Any]]) -> None:
            last.update(statuses)
            for name, status in statuses.items():
                files[name].write(status)

        service = KernelService(
            args.name or args.file.stem,
            lambda: kdamonds_of(load(args.file)),
            dry_run=args.dry_run,
            duration_ns=duration_ns,
            report=report,
            complain=eprint,
        )
        files |= {name: stack.enter_context(StatusFile(name)) for name in service.names}
        stack.enter_context(handle_signals(service, eprint, reloads=True))
        for name, settings in zip(service.names, service.settings, strict=True):
            eprint(f"{name}: {_in_words(settings)}")
        service.run()
    if args.json:
        print_json(last)
        return 0
    for status in last.values():
        show_wrapped(StatusView(status))
    return 0


def check_kdamonds(args: Args) -> int:
    """Show what a file says of each kdamond."""
    if args.json:
        raise UsageError("--check has no JSON: its exit code says whether the file is sound")
    settings = kdamonds_of(load(args.file))
    console().print(f"{args.file} is sound: {count(len(settings), 'kdamond')}")
    for number, each in enumerate(settings):
        attrs = each.attrs
        intervals = map(format_duration, (attrs.sampling_ns, attrs.aggregation_ns))
        console().print(f"kdamond {number}: {_in_words(each)}, {' / '.join(intervals)}")
        for scheme in each.schemes:
            console().print(f"  {printable(scheme.label)}")
    return 0


def _in_words(settings: KdamondSettings) -> str:
    schemes = count(len(settings.schemes), "scheme")
    memory = "physical memory"
    if settings.operations != "paddr":
        memory = ", ".join(f"process {target.pid}" for target in settings.targets)
    return f"the kernel's DAMON on {memory or 'nothing'}, {schemes}"
