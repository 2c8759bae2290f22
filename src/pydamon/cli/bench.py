"""`pydamon bench`: how right, how cheap and how large, on this machine."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from pydamon.bench import accuracy, compare, core, engines, overhead, real, scale, tables
from pydamon.bench.machine import Machine
from pydamon.bench.programs import PROGRAMS, Program
from pydamon.bench.tools import EXACT, KERNEL, TOOLS, usable
from pydamon.cli.command import print_json
from pydamon.core.errors import ProbeUnavailable, UsageError
from pydamon.workloads import PATTERNS, Workload, parse, pattern

__all__ = ["Bench"]

_NARROWEST = 190


class Bench:
    """Measure accuracy and cost of monitoring on this machine, against exact ground truth.

    pydamon bench accuracy                    # every shipped workload, with every tool
    pydamon bench accuracy --workload my.cfg  # a configuration file of masim's
    pydamon bench overhead --quick --json

    Machines are noisy: figures are medians, and a busy machine still makes them worse.
    """

    name = "bench"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the benchmarks."""
        benches = parser.add_subparsers(dest="bench", metavar="BENCH", required=True)
        for name, measure, table, text in (
            ("accuracy", _accuracy, tables.accuracy_table, "what is found, against the truth"),
            ("real", _real, tables.real_table, "the same on real programs, against an exact judge"),
            ("overhead", _overhead, tables.overhead_table, "CPU time, and what the target loses"),
            ("scale", _scale, tables.scale_table, "small targets against large ones"),
            ("engines", _engines, tables.engines_table, "the kernel's DAMON beside sampling"),
            ("core", _core, tables.core_table, "ageing, merging and splitting of regions"),
        ):
            one = benches.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
            one.set_defaults(measure=measure, table=table)
            one.add_argument("--quick", action="store_true", help="less of it, in under a minute")
            one.add_argument("--json", action="store_true", help="print JSON for programs")
            one.add_argument("--seed", type=int, default=1, help="default: %(default)s")
            if name == "accuracy":
                one.add_argument(
                    "--workload",
                    nargs="+",
                    metavar="NAME",
                    help=f"which, of {', '.join(PATTERNS)}; or files with others",
                )
                one.add_argument(
                    "--tool",
                    nargs="+",
                    choices=(*TOOLS, EXACT, KERNEL),
                    help="which (default: all)",
                )
            if name == "real":
                one.add_argument(
                    "--program", nargs="+", metavar="NAME", help=f"which, of {', '.join(PROGRAMS)}"
                )
                one.add_argument(
                    "--tool", nargs="+", choices=tuple(TOOLS), help="which (default: all)"
                )

    def run(self, args: argparse.Namespace) -> int:
        """Measure, and print what was found."""
        machine = Machine.here()
        rows: list[Any] = []
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            rows.extend(args.measure(args, _progress(sys.stderr.isatty())))
        finally:
            if sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr)
            # What was measured is not lost where the next measurement fails, or is interrupted.
            if rows:
                _report(args, machine, rows)
        return 0


def _interrupt(number: int, frame: object) -> None:
    """Whoever ends the benchmark ends the programs that it has started."""
    del number, frame
    raise KeyboardInterrupt


def _report(args: argparse.Namespace, machine: Machine, rows: Sequence[Any]) -> None:
    if not args.json:
        _print(args.table(rows))
        if pairs := _compared(args, rows):
            print("\npydamon beside plain DAMON:")
            _print(tables.comparison_table(pairs))
        return
    found = {
        "benchmark": args.bench,
        "quick": args.quick,
        "seed": args.seed,
        "machine": asdict(machine),
        "results": [_plain(asdict(row)) for row in rows],
    }
    if pairs := _compared(args, rows):
        found["comparison"] = [
            _plain(asdict(pair))
            | {"as_accurate": pair.as_accurate, "half_the_error": pair.half_the_error}
            for pair in pairs
        ]
    print_json(found)


def _compared(args: argparse.Namespace, rows: Sequence[Any]) -> list[compare.Comparison]:
    return list(compare.compare(rows)) if args.bench in ("accuracy", "real") else []


def _accuracy(args: argparse.Namespace, say: Callable[[str], None]) -> Iterator[accuracy.Accuracy]:
    plan = accuracy.Plan.of(args.quick)
    names = args.workload or (accuracy.QUICK if args.quick else tuple(PATTERNS))
    workloads = [_workload(name) for name in names]
    tools = _tools(
        args.tool or (accuracy.QUICK_TOOLS if args.quick else (*TOOLS, EXACT, KERNEL)), say
    )
    for workload in workloads:
        yield from accuracy.measure(workload, tools, plan, args.seed, say)


def _real(args: argparse.Namespace, say: Callable[[str], None]) -> Iterator[real.Real]:
    plan = real.Plan.of(args.quick)
    programs = [_program(name) for name in args.program or (real.QUICK if args.quick else PROGRAMS)]
    tools = _tools(args.tool or (("pydamon",) if args.quick else tuple(TOOLS)), say)
    for program in programs:
        yield from real.measure(program, tools, plan, args.seed, say)


def _overhead(args: argparse.Namespace, say: Callable[[str], None]) -> Iterator[overhead.Overhead]:
    _tools((), say)
    return overhead.measure(args.quick, args.seed, say)


def _scale(args: argparse.Namespace, say: Callable[[str], None]) -> Iterator[scale.Scale]:
    _tools((), say)
    return scale.measure(args.quick, args.seed, say)


def _engines(
    args: argparse.Namespace, say: Callable[[str], None]
) -> Iterator[engines.EngineResult]:
    _tools((), say)
    return engines.measure(args.quick, args.seed, say)


def _core(args: argparse.Namespace, say: Callable[[str], None]) -> Iterator[core.CoreCost]:
    return core.measure(args.quick, args.seed, say)


def _tools(wanted: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Those of the tools that work here; raises `ProbeUnavailable` where the main one does not."""
    missing = usable()
    if "ebpf" in missing:
        raise ProbeUnavailable(
            f"the benchmark needs the ebpf probe, which does not work here: {missing['ebpf']}",
            hint="run it as root; `pydamon doctor` says more",
        )
    tools = []
    for tool in wanted:
        probe = TOOLS[tool]["probe"] if tool in TOOLS else {KERNEL: KERNEL}.get(tool, "ebpf")
        if probe in missing:
            say(f"{tool} is left out: {missing[probe]}")
        else:
            tools.append(tool)
    return tools


def _workload(name: str) -> Workload:
    """A shipped workload, or that of a configuration file."""
    path = Path(name)
    if name in PATTERNS or not path.is_file():
        return pattern(name)
    try:
        config = parse(path.read_text(), name)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {name}: {error}") from None
    return replace(PATTERNS["stairs"], name=path.stem, about=name, config=config)


def _program(name: str) -> Program:
    """A program by name."""
    if name not in PROGRAMS:
        raise UsageError(f"there is no program {name!r}", hint=f"choose from {', '.join(PROGRAMS)}")
    return PROGRAMS[name]


def _progress(terminal: bool) -> Callable[[str], None]:
    """Says on standard error what is under way: on a terminal in one line."""

    def say(text: str) -> None:
        begin, end = ("\r\x1b[K", "") if terminal else ("", "\n")
        print(f"{begin}{text}", end=end, file=sys.stderr, flush=True)

    return say


def _print(table: RenderableType) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_NARROWEST)
    console.print(table)


def _plain(value: Any) -> Any:
    """JSON has no NaN (`null`: not measured) and no infinity (`"never"`)."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return "never" if math.isinf(value) else value
