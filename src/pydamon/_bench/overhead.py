"""Overhead of monitoring: CPU time of the monitor, and lost throughput and latency."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Protocol

from pydamon._bench.programs import PROGRAMS
from pydamon._bench.programs.servers import serving
from pydamon._bench.tools import TOOLS
from pydamon._model.page_size import PAGE_SIZE
from pydamon._observe.options import MonitorOptions
from pydamon._observe.start import monitor
from pydamon._workloads import Config, Running, Workload
from pydamon._workloads.masim import Pattern, Phase, Region

__all__ = ["Latency", "Overhead", "measure"]

_MIB = 1 << 20
_SETTLE_S = 3.0
_TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class Latency:
    """A percentile of the latency of requests without a monitor, and its growth with a monitor.

    The growth is a share: the median over all pairs, and its quartiles.
    """

    usual_us: float
    growth: float
    least_growth: float
    most_growth: float


_NO_LATENCY = Latency(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Overhead:
    """The overhead of a tool, by `pairs` of measurements with and without it.

    `cpu` is the share of one CPU that the monitor used, and `empty_loop_cpu` the share of a loop
    that only sleeps 5 ms. `rate_hz` is the speed of the target without a monitor: accesses of the
    program that walks memory, or requests of redis. `slowdown` is the median loss of that rate over
    all pairs, with its quartiles. `cpu_slowdown` is the loss per CPU second of the target, which
    other programs do not change. The latencies are those of requests. `missing` says why a target
    did not run.
    """

    target: str
    tool: str
    missing: str = ""
    pairs: int = 0
    cpu: float = math.nan
    empty_loop_cpu: float = math.nan
    rate_hz: float = math.nan
    slowdown: float = math.nan
    least_slowdown: float = math.nan
    most_slowdown: float = math.nan
    cpu_slowdown: float = math.nan
    least_cpu_slowdown: float = math.nan
    most_cpu_slowdown: float = math.nan
    interruption: float = math.nan
    p50: Latency = _NO_LATENCY
    p99: Latency = _NO_LATENCY
    p999: Latency = _NO_LATENCY


@dataclass(frozen=True, slots=True)
class _Plan:
    """The number and the length of the measurements, and what is the same for all targets."""

    pairs: int
    look_s: float
    empty_loop_cpu: float
    seed: int


class _Target(Protocol):
    """A target that reports its work for each measurement."""

    pid: int

    def begin(self, look_s: float) -> None:
        """Begin a measurement of *look_s* seconds."""
        ...

    def end(self) -> dict[str, float]:
        """Return `rate_hz`, and for requests also `p50_us`, `p99_us` and `p999_us`."""
        ...


class _Walker:
    """A program that walks memory as fast as it can."""

    def __init__(self, running: Running) -> None:
        self.pid = running.pid
        self._truth = running.truth
        self._begin_ns = 0

    def begin(self, look_s: float) -> None:
        self._begin_ns = time.monotonic_ns()

    def end(self) -> dict[str, float]:
        end_ns = time.monotonic_ns()
        accesses = self._truth.accesses(self._begin_ns, end_ns)
        return {"rate_hz": accesses / (end_ns - self._begin_ns) * 1e9}


class _Redis:
    """A redis server that answers one request after the other."""

    def __init__(self, pid: int, client: subprocess.Popen[bytes]) -> None:
        self.pid = pid
        assert client.stdin is not None
        assert client.stdout is not None
        self._commands, self._answers = client.stdin, client.stdout
        self._look_s = 0.0

    def begin(self, look_s: float) -> None:
        self._look_s = look_s
        self._commands.write(f"{look_s}\n".encode())
        self._commands.flush()

    def end(self) -> dict[str, float]:
        figures: dict[str, float] = json.loads(self._answers.readline())
        return figures | {"rate_hz": figures["requests"] / self._look_s}


def workload() -> Workload:
    """Make a workload that walks a quarter of 256 MiB as fast as the machine can."""
    regions = (Region("hot", 64 * _MIB), Region("cold", 192 * _MIB))
    hot = Pattern("hot", random=False, stride=PAGE_SIZE, weight=1, mode="rw")
    config = Config(regions, (Phase("steady", 24 * 3600 * 1000, (hot,)),))
    return Workload("busy", "64 MiB hot of 256 MiB, at full speed", config, period_ms=0)


def measure(quick: bool, seed: int, say: Callable[[str], None]) -> Iterator[Overhead]:
    """Measure each tool at its defaults, on targets that run as fast as they can."""
    say("overhead: an empty loop")
    empty_loop_cpu = _empty_loop(1.0 if quick else 5.0)
    pairs, look_s = (3, 0.8) if quick else (15, 2.0)
    plan = _Plan(pairs, look_s, empty_loop_cpu, seed)

    def all_tools(name: str, target: _Target) -> Iterator[Overhead]:
        for tool, options in TOOLS.items():
            if not quick or tool == "pydamon":
                say(f"overhead: {name} with {tool}, {pairs} pairs of {2 * look_s:g} s")
                yield _pairs(name, target, tool, options, plan)

    with workload().start(seed) as running:
        yield from all_tools("walker", _Walker(running))
    if missing := PROGRAMS["redis-uniform"].missing():
        yield Overhead("redis", "-", missing, empty_loop_cpu=empty_loop_cpu)
        return
    say("overhead: redis starts")
    with serving("uniform", 0, seed) as (pid, client):
        yield from all_tools("redis", _Redis(pid, client))


def _pairs(name: str, target: _Target, tool: str, options: MonitorOptions, plan: _Plan) -> Overhead:
    look_s = plan.look_s
    figures: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    cpus, interruptions = [], []
    settle_s = min(_SETTLE_S, 2 * look_s)
    with monitor(target.pid, engine="sampling", options=replace(options, seed=plan.seed)) as mon:
        target.begin(settle_s)
        for _ in mon.run(f"{settle_s}s"):
            pass
        target.end()
        for number in range(plan.pairs):
            # The order alternates, so that a drift of the machine cancels out.
            for watching in (True, False) if number % 2 else (False, True):
                start_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
                used_ns = _cpu_ns(target.pid)
                target.begin(look_s)
                if watching:
                    costs = [(s.cost.interruption_ns, s.window_ns) for s in mon.run(f"{look_s}s")]
                    cpu_ns = time.process_time_ns() - cpu_ns
                    cpus.append(cpu_ns / (time.monotonic_ns() - start_ns))
                    interruptions.append(
                        sum(cost for cost, _ in costs) / sum(ns for _, ns in costs)
                    )
                else:
                    time.sleep(look_s)
                work = target.end()
                used_s = (_cpu_ns(target.pid) - used_ns) / 1e9
                work["per_cpu_s"] = work["rate_hz"] * look_s / used_s
                figures[watching].append(work)
    with_it, without = figures[True], figures[False]
    growth = _quartiles(with_it, without, "rate_hz")
    cpu_growth = _quartiles(with_it, without, "per_cpu_s")
    return Overhead(
        target=name,
        tool=tool,
        pairs=plan.pairs,
        cpu=median(cpus),
        empty_loop_cpu=plan.empty_loop_cpu,
        rate_hz=median(work["rate_hz"] for work in without),
        slowdown=-growth[1],
        least_slowdown=-growth[2],
        most_slowdown=-growth[0],
        cpu_slowdown=-cpu_growth[1],
        least_cpu_slowdown=-cpu_growth[2],
        most_cpu_slowdown=-cpu_growth[0],
        interruption=median(interruptions),
        p50=_latency(with_it, without, "p50_us"),
        p99=_latency(with_it, without, "p99_us"),
        p999=_latency(with_it, without, "p999_us"),
    )


def _quartiles(
    with_it: Sequence[dict[str, float]], without: Sequence[dict[str, float]], key: str
) -> tuple[float, float, float]:
    """Return the growth of a figure with the tool: lower quartile, median, upper quartile."""
    growth = sorted(a[key] / b[key] - 1 for a, b in zip(with_it, without, strict=True))
    return growth[len(growth) // 4], median(growth), growth[-1 - len(growth) // 4]


def _latency(
    with_it: Sequence[dict[str, float]], without: Sequence[dict[str, float]], key: str
) -> Latency:
    if key not in without[0]:
        return _NO_LATENCY
    least, middle, most = _quartiles(with_it, without, key)
    return Latency(median(work[key] for work in without), middle, least, most)


def _cpu_ns(pid: int) -> int:
    """Return the CPU time of all threads of a process: schedstat counts nanoseconds."""
    return sum(
        int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


def _empty_loop(duration_s: float) -> float:
    """Return the share of one CPU that a Python loop uses to wake up every 5 ms."""
    cpu_s, end_s = time.process_time(), time.monotonic() + duration_s
    while time.monotonic() < end_s:
        time.sleep(_TICK_S)
    return (time.process_time() - cpu_s) / duration_s
