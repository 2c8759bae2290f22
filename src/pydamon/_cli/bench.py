"""`pydamon bench`: accuracy, cost and scale of monitoring on this machine."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pydamon._cli.command import Args, Choice, Command, Group, command, option, options, print_json
from pydamon._cli.options import (
    PROGRAMS,
    RATE_PATTERNS,
    RATE_TOOLS,
    TOOLS,
    WORKLOADS,
    json_option,
)
from pydamon._model.errors import ProbeUnavailable, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pydamon._bench import (
        accuracy,
        core,
        engines,
        idle,
        overhead,
        rates,
        real,
        scale,
        spinning,
    )
    from pydamon._bench import scores as compare
    from pydamon._bench.programs import Program
    from pydamon._bench.tools import Machine
    from pydamon._workloads import Workload

__all__ = ["bench"]

Say: TypeAlias = Callable[[str], None]
Measure: TypeAlias = Callable[[Args, Say], Iterable[Any]]

_NARROWEST = 190

_common = options(
    option("--quick", is_flag=True, help="a smaller benchmark, in under a minute"),
    json_option,
    option("--seed", type=int, default=1, metavar="N", help="seed of random numbers (default: 1)"),
)


def _benchmark(name: str, text: str, measure: Measure, *own: Callable[[Any], Any]) -> Command:
    """Make the command of a benchmark."""

    def run(args: Args) -> int:
        from pydamon._bench.tools import Machine

        machine = Machine.here()
        rows: list[Any] = []
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            rows.extend(measure(args, _progress(sys.stderr.isatty())))
        finally:
            if sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr)
            # Keep the finished measurements if the next one fails, or is interrupted.
            if rows:
                _report(name, args, machine, rows)
        return 0

    run.__doc__ = text[0].upper() + text[1:] + "."
    return command(name)(_common(options(*own)(run)))


def _interrupt(number: int, frame: object) -> None:
    """Turn a signal into Ctrl-C, so that the programs of the benchmark end with it."""
    del number, frame
    raise KeyboardInterrupt


def _report(name: str, args: Args, machine: Machine, rows: Sequence[Any]) -> None:
    from dataclasses import asdict

    from pydamon._bench import tables

    rows, all_in = _split(rows)
    if not args.json:
        _print(getattr(tables, f"{name}_table")(rows))
        if all_in:
            print("\nWhat spinning loops lose:")
            _print(tables.all_in_table(all_in))
        if pairs := _compared(name, rows):
            print("\npydamon beside plain DAMON:")
            _print(tables.comparison_table(pairs))
        return
    document = {
        "benchmark": name,
        "quick": args.quick,
        "seed": args.seed,
        "machine": asdict(machine),
        "results": [_plain(asdict(row)) for row in rows],
    }
    if all_in:
        document["all_in"] = [_plain(asdict(row)) for row in all_in]
    if pairs := _compared(name, rows):
        document["comparison"] = [
            _plain(asdict(pair))
            | {"as_accurate": pair.as_accurate, "half_the_error": pair.half_the_error}
            for pair in pairs
        ]
    print_json(document)


def _split(rows: Sequence[Any]) -> tuple[list[Any], list[spinning.AllIn]]:
    """Return the rows of a benchmark, and those about what spinning loops lost."""
    from pydamon._bench.spinning import AllIn

    all_in = [row for row in rows if isinstance(row, AllIn)]
    return [row for row in rows if not isinstance(row, AllIn)], all_in


def _compared(name: str, rows: Sequence[Any]) -> list[compare.Comparison]:
    from pydamon._bench import scores as compare

    return list(compare.compare(rows)) if name in ("accuracy", "real") else []


def _accuracy(args: Args, say: Callable[[str], None]) -> Iterator[accuracy.Accuracy]:
    from pydamon._bench import accuracy
    from pydamon._bench.tools import EXACT, KERNEL, TOOLS
    from pydamon._workloads import PATTERNS

    plan = accuracy.Plan.of(args.quick)
    names = args.workload or (accuracy.QUICK if args.quick else tuple(PATTERNS))
    workloads = [_workload(name) for name in names]
    tools = _tools(
        args.tool or (accuracy.QUICK_TOOLS if args.quick else (*TOOLS, EXACT, KERNEL)), say
    )
    for workload in workloads:
        yield from accuracy.measure(workload, tools, plan, args.seed, say)


def _real(args: Args, say: Callable[[str], None]) -> Iterator[real.ProgramAccuracy]:
    from pydamon._bench import real
    from pydamon._bench.programs import PROGRAMS
    from pydamon._bench.tools import TOOLS

    plan = real.Plan.of(args.quick)
    programs = [_program(name) for name in args.program or (real.QUICK if args.quick else PROGRAMS)]
    tools = _tools(args.tool or (("pydamon",) if args.quick else tuple(TOOLS)), say)
    for program in programs:
        yield from real.measure(program, tools, plan, args.seed, say)


def _idle(args: Args, say: Callable[[str], None]) -> Iterator[idle.IdleAccuracy]:
    from pydamon._bench import idle
    from pydamon._bench.programs import PROGRAMS

    plan = idle.Plan.of(args.quick)
    _tools((), say)
    programs = [_program(name) for name in args.program or (idle.QUICK if args.quick else PROGRAMS)]
    for program in programs:
        yield from idle.measure(program, plan, args.seed, say)


def _rates(args: Args, say: Callable[[str], None]) -> Iterator[rates.RateAccuracy]:
    from pydamon._bench import rates

    plan = rates.Plan.of(args.quick)
    tools = _tools(args.tool or (rates.QUICK_TOOLS if args.quick else RATE_TOOLS), say)
    for name in args.pattern or (rates.QUICK if args.quick else RATE_PATTERNS):
        yield from rates.measure(name, tools, plan, args.seed, say)


def _overhead(
    args: Args, say: Callable[[str], None]
) -> Iterator[overhead.Overhead | spinning.AllIn]:
    from pydamon._bench import overhead, spinning

    _tools((), say)
    yield from overhead.measure(args.quick, args.seed, say)
    yield from spinning.measure(args.quick, args.seed, say)


def _scale(args: Args, say: Callable[[str], None]) -> Iterator[scale.ScaleResult]:
    from pydamon._bench import scale

    _tools((), say)
    return scale.measure(args.quick, args.seed, say)


def _engines(args: Args, say: Callable[[str], None]) -> Iterator[engines.EngineResult]:
    from pydamon._bench import engines

    _tools((), say)
    return engines.measure(args.quick, args.seed, say)


def _core(args: Args, say: Callable[[str], None]) -> Iterator[core.CoreCost]:
    from pydamon._bench import core

    return core.measure(args.quick, args.seed, say)


def _tools(wanted: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Return the tools that work here; raise `ProbeUnavailable` if the ebpf probe does not."""
    from pydamon._bench.tools import KERNEL, TOOLS, unavailable_tools

    unavailable = unavailable_tools()
    if "ebpf" in unavailable:
        raise ProbeUnavailable(
            f"the benchmark needs the ebpf probe, which does not work here: {unavailable['ebpf']}",
            hint="run it as root; `pydamon doctor` explains the requirements",
        )
    tools = []
    for tool in wanted:
        probe = TOOLS[tool].probe if tool in TOOLS else {KERNEL: KERNEL}.get(tool, "ebpf")
        if probe in unavailable:
            say(f"{tool} is left out: {unavailable[probe]}")
        else:
            tools.append(tool)
    return tools


def _workload(name: str) -> Workload:
    """Return a shipped workload, or the workload of a configuration file."""
    from dataclasses import replace

    from pydamon._workloads import PATTERNS, parse, pattern

    path = Path(name)
    if name in PATTERNS or not path.is_file():
        return pattern(name)
    try:
        config = parse(path.read_text(), name)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {name}: {error}") from None
    return replace(PATTERNS["stairs"], name=path.stem, about=name, config=config)


def _program(name: str) -> Program:
    """Return a program by its name."""
    from pydamon._bench.programs import PROGRAMS

    if name not in PROGRAMS:
        raise UsageError(f"there is no program {name!r}", hint=f"choose from {', '.join(PROGRAMS)}")
    return PROGRAMS[name]


def _progress(terminal: bool) -> Callable[[str], None]:
    """Return a function that prints progress on standard error: in one line on a terminal."""

    def say(text: str) -> None:
        begin, end = ("\r\x1b[K", "") if terminal else ("", "\n")
        print(f"{begin}{text}", end=end, file=sys.stderr, flush=True)

    return say


def _print(table: RenderableType) -> None:
    from pydamon._cli.streams import console, show

    screen = console()
    if not screen.is_terminal:
        screen.width = _NARROWEST
    show(table, screen)


def _plain(value: Any) -> Any:
    """Replace numbers that JSON lacks: NaN by `null` (not measured), infinity by `"never"`."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return "never" if math.isinf(value) else value


def _names_option(flag: str, names: Sequence[str], *, others: str = "") -> Callable[[Any], Any]:
    """Make an option that takes some of these names, and with *others* other words too."""
    return option(
        flag,
        several=True,
        type=str if others else Choice(names),
        metavar="NAME...",
        help=f"names, of {', '.join(names)}{others} (default: all)",
    )


accuracy_bench = _benchmark(
    "accuracy",
    "accuracy on workloads whose accesses are known exactly",
    _accuracy,
    _names_option("--workload", WORKLOADS, others="; or configuration files"),
    _names_option("--tool", TOOLS),
)
real_bench = _benchmark(
    "real",
    "accuracy on real programs, against exact scans",
    _real,
    _names_option("--program", PROGRAMS),
    _names_option("--tool", TOOLS[:3]),
)
rates_bench = _benchmark(
    "rates",
    "accuracy of access rates and their uncertainty, on pages accessed at known rates",
    _rates,
    _names_option("--pattern", RATE_PATTERNS),
    _names_option("--tool", RATE_TOOLS),
)
idle_bench = _benchmark(
    "idle",
    "accuracy of idle pages of real programs, page by page, against exact scans",
    _idle,
    _names_option("--program", PROGRAMS),
)
overhead_bench = _benchmark(
    "overhead", "CPU time of the monitor, and slowdown of the target", _overhead
)
scale_bench = _benchmark("scale", "accuracy and cost by the size of the target", _scale)
engines_bench = _benchmark("engines", "the kernel's DAMON compared with sampling", _engines)
core_bench = _benchmark("core", "time to age, merge and split regions", _core)

bench = Group(
    "bench",
    members={
        name: f"pydamon._cli.bench:{name}_bench"
        for name in ("accuracy", "real", "idle", "rates", "overhead", "scale", "engines", "core")
    },
    subcommand_metavar="BENCH [ARGS]...",
    help=(
        "Measure accuracy and cost of monitoring on this machine, against ground truth.\n\n"
        "pydamon bench accuracy                    # every shipped workload, with every tool\n"
        "pydamon bench accuracy --workload my.cfg  # a configuration file of masim's\n"
        "pydamon bench overhead --quick --json\n\n"
        "Figures are medians. Run benchmarks on a quiet machine: load makes the figures worse."
    ),
)
