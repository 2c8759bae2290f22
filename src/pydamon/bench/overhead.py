"""What monitoring costs: CPU time of the monitor, and throughput that the target loses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from pydamon.bench.tools import TOOLS
from pydamon.engine import monitor
from pydamon.workloads import Config, Running, Workload
from pydamon.workloads.masim import Pattern, Phase, Region

__all__ = ["Overhead", "measure"]

_MIB = 1 << 20
_SETTLE_S = 3.0
_TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a tool costs, by `pairs` of measurements, with and without it in turn.

    `cpu` is the share of one CPU that the process of the monitor used, `empty_loop_cpu` what a
    loop that only sleeps 5 ms uses. `slowdown` is the median loss of the target's throughput, over
    all pairs, between `least_slowdown` and `most_slowdown`, its quartiles.
    """

    tool: str
    pairs: int
    cpu: float
    empty_loop_cpu: float
    accesses_hz: float
    slowdown: float
    least_slowdown: float
    most_slowdown: float
    interruption: float


def workload() -> Workload:
    """A quarter of 256 MiB in use, as fast as the machine can."""
    regions = (Region("hot", 64 * _MIB), Region("cold", 192 * _MIB))
    hot = Pattern("hot", random=False, stride=4096, weight=1, mode="rw")
    config = Config(regions, (Phase("steady", 24 * 3600 * 1000, (hot,)),))
    return Workload("busy", "64 MiB hot of 256 MiB, at full speed", config, period_ms=0)


def measure(quick: bool, seed: int, say: Callable[[str], None]) -> Iterator[Overhead]:
    """Each tool's cost at its defaults, on a target that keeps one CPU busy."""
    pairs, look_s = (3, 0.8) if quick else (15, 2.0)
    say("overhead: an empty loop")
    floor = _empty_loop(1.0 if quick else 5.0)
    with workload().start(seed) as running:
        for tool, options in TOOLS.items():
            if quick and tool == "refs":
                continue
            say(f"overhead: {tool}, {pairs} pairs of {2 * look_s:g} s")
            yield _pairs(running, tool, options, pairs, look_s, floor, seed)


def _pairs(
    running: Running,
    tool: str,
    options: dict[str, Any],
    pairs: int,
    look_s: float,
    floor: float,
    seed: int,
) -> Overhead:
    losses, rates, cpus, interruptions = [], [], [], []
    with monitor(running.pid, seed=seed, **options) as mon:
        for _ in mon.run(f"{_SETTLE_S}s"):
            pass
        for number in range(pairs):
            speeds = {}
            # Every other pair the other way round, so that a drift of the machine cancels out.
            for watching in (True, False) if number % 2 else (False, True):
                start_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
                if watching:
                    costs = [(s.cost.interruption_ns, s.window_ns) for s in mon.run(f"{look_s}s")]
                    cpu_ns = time.process_time_ns() - cpu_ns
                    cpus.append(cpu_ns / (time.monotonic_ns() - start_ns))
                    interruptions.append(sum(c for c, _ in costs) / sum(w for _, w in costs))
                else:
                    time.sleep(look_s)
                end_ns = time.monotonic_ns()
                accesses = running.truth.accesses(start_ns, end_ns)
                speeds[watching] = accesses / (end_ns - start_ns) * 1e9
            rates.append(speeds[False])
            losses.append(1 - speeds[True] / speeds[False])
    losses.sort()
    return Overhead(
        tool,
        pairs,
        median(cpus),
        floor,
        median(rates),
        median(losses),
        losses[len(losses) // 4],
        losses[-1 - len(losses) // 4],
        median(interruptions),
    )


def _empty_loop(duration_s: float) -> float:
    """The share of one CPU that waking up every 5 ms costs, in Python."""
    cpu_s, end_s = time.process_time(), time.monotonic() + duration_s
    while time.monotonic() < end_s:
        time.sleep(_TICK_S)
    return (time.process_time() - cpu_s) / duration_s
