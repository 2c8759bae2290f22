"""`pydamon bench`: how right, how cheap and how large, on this machine."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pydamon._cli.command import Args, Choice, Command, Group, command, option, options, print_json
from pydamon._cli.options import PROGRAMS, TOOLS, WORKLOADS, json_option
from pydamon._model.errors import ProbeUnavailable, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pydamon._bench import accuracy, core, engines, overhead, real, scale
    from pydamon._bench import scores as compare
    from pydamon._bench.programs import Program
    from pydamon._bench.tools import Machine
    from pydamon._workloads import Workload

__all__ = ["bench"]

Say: TypeAlias = Callable[[str], None]
Measure: TypeAlias = Callable[[Args, Say], Iterable[Any]]

_NARROWEST = 190

_common = options(
    option("--quick", is_flag=True, help="less of it, in under a minute"),
    json_option,
    option("--seed", type=int, default=1, metavar="N", help="default: 1"),
)


def _benchmark(name: str, text: str, measure: Measure, *own: Callable[[Any], Any]) -> Command:
    """The command of one benchmark."""

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
            # What was measured is not lost where the next measurement fails, or is interrupted.
            if rows:
                _report(name, args, machine, rows)
        return 0

    run.__doc__ = text[0].upper() + text[1:] + "."
    return command(name)(_common(options(*own)(run)))


def _interrupt(number: int, frame: object) -> None:
    """Whoever ends the benchmark ends the programs that it has started."""
    del number, frame
    raise KeyboardInterrupt


def _report(name: str, args: Args, machine: Machine, rows: Sequence[Any]) -> None:
    from dataclasses import asdict

    from pydamon._bench import tables

    if not args.json:
        _print(getattr(tables, f"{name}_table")(rows))
        if pairs := _compared(name, rows):
            print("\npydamon beside plain DAMON:")
            _print(tables.comparison_table(pairs))
        return
    found = {
        "benchmark": name,
        "quick": args.quick,
        "seed": args.seed,
        "machine": asdict(machine),
        "results": [_plain(asdict(row)) for row in rows],
    }
    if pairs := _compared(name, rows):
        found["comparison"] = [
            _plain(asdict(pair))
            | {"as_accurate": pair.as_accurate, "half_the_error": pair.half_the_error}
            for pair in pairs
        ]
    print_json(found)


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


def _real(args: Args, say: Callable[[str], None]) -> Iterator[real.Real]:
    from pydamon._bench import real
    from pydamon._bench.programs import PROGRAMS
    from pydamon._bench.tools import TOOLS

    plan = real.Plan.of(args.quick)
    programs = [_program(name) for name in args.program or (real.QUICK if args.quick else PROGRAMS)]
    tools = _tools(args.tool or (("pydamon",) if args.quick else tuple(TOOLS)), say)
    for program in programs:
        yield from real.measure(program, tools, plan, args.seed, say)


def _overhead(args: Args, say: Callable[[str], None]) -> Iterator[overhead.Overhead]:
    from pydamon._bench import overhead

    _tools((), say)
    return overhead.measure(args.quick, args.seed, say)


def _scale(args: Args, say: Callable[[str], None]) -> Iterator[scale.Scale]:
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
    """Those of the tools that work here; raises `ProbeUnavailable` where the main one does not."""
    from pydamon._bench.tools import KERNEL, TOOLS, unavailable_tools

    missing = unavailable_tools()
    if "ebpf" in missing:
        raise ProbeUnavailable(
            f"the benchmark needs the ebpf probe, which does not work here: {missing['ebpf']}",
            hint="run it as root; `pydamon doctor` says more",
        )
    tools = []
    for tool in wanted:
        probe = TOOLS[tool].probe if tool in TOOLS else {KERNEL: KERNEL}.get(tool, "ebpf")
        if probe in missing:
            say(f"{tool} is left out: {missing[probe]}")
        else:
            tools.append(tool)
    return tools


def _workload(name: str) -> Workload:
    """A shipped workload, or that of a configuration file."""
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
    """A program by name."""
    from pydamon._bench.programs import PROGRAMS

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
    from pydamon._cli.screen import console, show

    screen = console()
    if not screen.is_terminal:
        screen.width = _NARROWEST
    show(table, screen)


def _plain(value: Any) -> Any:
    """JSON has no NaN (`null`: not measured) and no infinity (`"never"`)."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return "never" if math.isinf(value) else value


def _which(flag: str, names: Sequence[str], *, others: str = "") -> Callable[[Any], Any]:
    """An option that takes some of these names, or other words too."""
    return option(
        flag,
        several=True,
        type=str if others else Choice(names),
        metavar="NAME...",
        help=f"which, of {', '.join(names)}{others} (default: all)",
    )


accuracy_bench = _benchmark(
    "accuracy",
    "what is found, against the truth",
    _accuracy,
    _which("--workload", WORKLOADS, others="; or files with others"),
    _which("--tool", TOOLS),
)
real_bench = _benchmark(
    "real",
    "the same on real programs, against an exact judge",
    _real,
    _which("--program", PROGRAMS),
    _which("--tool", TOOLS[:3]),
)
overhead_bench = _benchmark("overhead", "CPU time, and what the target loses", _overhead)
scale_bench = _benchmark("scale", "small targets against large ones", _scale)
engines_bench = _benchmark("engines", "the kernel's DAMON beside sampling", _engines)
core_bench = _benchmark("core", "ageing, merging and splitting of regions", _core)

bench = Group(
    "bench",
    members={
        name: f"pydamon._cli.bench:{name}_bench"
        for name in ("accuracy", "real", "overhead", "scale", "engines", "core")
    },
    subcommand_metavar="BENCH [ARGS]...",
    help=(
        "Measure accuracy and cost of monitoring on this machine, against exact ground truth.\n\n"
        "pydamon bench accuracy                    # every shipped workload, with every tool\n"
        "pydamon bench accuracy --workload my.cfg  # a configuration file of masim's\n"
        "pydamon bench overhead --quick --json\n\n"
        "Machines are noisy: figures are medians, and a busy machine still makes them worse."
    ),
)
