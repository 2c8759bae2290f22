"""What monitoring costs: CPU time of the monitor; throughput and latency that the target loses."""

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
    """A percentile of the time that requests take without a monitor, and by which share that grows
    with it: the median over all pairs, and its quartiles."""

    usual_us: float
    growth: float
    least_growth: float
    most_growth: float


_NO_LATENCY = Latency(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a tool costs, by `pairs` of measurements, with and without it in turn.

    `cpu` is the share of one CPU that the process of the monitor used, `empty_loop_cpu` what a
    loop that only sleeps 5 ms uses. `rate_hz` is how fast the target is without it: accesses of the
    program that walks memory, requests of redis. `slowdown` is the median loss of that, over all
    pairs, between `least_slowdown` and `most_slowdown`, its quartiles. `cpu_slowdown` is the loss
    by the target's own CPU time, which leaves out what other programs did to it. The latencies are
    those of requests. `missing` says why a target was not run.
    """

    target: str
    tool: str
    missing: str
    pairs: int
    cpu: float
    empty_loop_cpu: float
    rate_hz: float
    slowdown: float
    least_slowdown: float
    most_slowdown: float
    cpu_slowdown: float
    least_cpu_slowdown: float
    most_cpu_slowdown: float
    interruption: float
    p50: Latency = _NO_LATENCY
    p99: Latency = _NO_LATENCY
    p999: Latency = _NO_LATENCY


class _Target(Protocol):
    """A target at work: it is told for how long it will be looked at, and says what it did."""

    pid: int

    def begin(self, look_s: float) -> None: ...

    def end(self) -> dict[str, float]:
        """`rate_hz`, and `p50_us`, `p99_us` and `p999_us` where it has requests."""
        ...


class _Walker:
    """Walks memory as fast as it can."""

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
    """Answers one request after the other."""

    def __init__(self, pid: int, client: subprocess.Popen[bytes]) -> None:
        self.pid = pid
        assert client.stdin is not None
        assert client.stdout is not None
        self._ask, self._answer = client.stdin, client.stdout
        self._look_s = 0.0

    def begin(self, look_s: float) -> None:
        self._look_s = look_s
        self._ask.write(f"{look_s}\n".encode())
        self._ask.flush()

    def end(self) -> dict[str, float]:
        found: dict[str, float] = json.loads(self._answer.readline())
        return found | {"rate_hz": found["requests"] / self._look_s}


def workload() -> Workload:
    """A quarter of 256 MiB in use, as fast as the machine can."""
    regions = (Region("hot", 64 * _MIB), Region("cold", 192 * _MIB))
    hot = Pattern("hot", random=False, stride=4096, weight=1, mode="rw")
    config = Config(regions, (Phase("steady", 24 * 3600 * 1000, (hot,)),))
    return Workload("busy", "64 MiB hot of 256 MiB, at full speed", config, period_ms=0)


def measure(quick: bool, seed: int, say: Callable[[str], None]) -> Iterator[Overhead]:
    """Each tool's cost at its defaults, on targets that are as fast as they can be."""
    pairs, look_s = (3, 0.8) if quick else (15, 2.0)
    say("overhead: an empty loop")
    floor = _empty_loop(1.0 if quick else 5.0)

    def all_tools(name: str, target: _Target) -> Iterator[Overhead]:
        for tool, options in TOOLS.items():
            if not quick or tool == "pydamon":
                say(f"overhead: {name} with {tool}, {pairs} pairs of {2 * look_s:g} s")
                yield _pairs(name, target, tool, options, pairs, look_s, floor, seed)

    with workload().start(seed) as running:
        yield from all_tools("walker", _Walker(running))
    if missing := PROGRAMS["redis-uniform"].missing():
        nan = math.nan
        yield Overhead("redis", "-", missing, 0, nan, floor, nan, nan, nan, nan, nan, nan, nan, nan)
        return
    say("overhead: redis gets ready")
    with serving("uniform", 0, seed) as (pid, client):
        yield from all_tools("redis", _Redis(pid, client))


def _pairs(
    name: str,
    target: _Target,
    tool: str,
    options: MonitorOptions,
    pairs: int,
    look_s: float,
    floor: float,
    seed: int,
) -> Overhead:
    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    cpus, interruptions = [], []
    settle_s = min(_SETTLE_S, 2 * look_s)
    with monitor(target.pid, engine="sampling", options=replace(options, seed=seed)) as mon:
        target.begin(settle_s)
        for _ in mon.run(f"{settle_s}s"):
            pass
        target.end()
        for number in range(pairs):
            # Every other pair the other way round, so that a drift of the machine cancels out.
            for watching in (True, False) if number % 2 else (False, True):
                start_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
                used_ns = _cpu_ns(target.pid)
                target.begin(look_s)
                if watching:
                    costs = [(s.cost.interruption_ns, s.window_ns) for s in mon.run(f"{look_s}s")]
                    cpu_ns = time.process_time_ns() - cpu_ns
                    cpus.append(cpu_ns / (time.monotonic_ns() - start_ns))
                    interruptions.append(sum(c for c, _ in costs) / sum(w for _, w in costs))
                else:
                    time.sleep(look_s)
                did = target.end()
                used_s = (_cpu_ns(target.pid) - used_ns) / 1e9
                did["per_cpu_s"] = did["rate_hz"] * look_s / used_s
                found[watching].append(did)
    with_it, without = found[True], found[False]
    growth = _quartiles(with_it, without, "rate_hz")
    cpu_growth = _quartiles(with_it, without, "per_cpu_s")
    return Overhead(
        name,
        tool,
        "",
        pairs,
        median(cpus),
        floor,
        median(one["rate_hz"] for one in without),
        -growth[1],
        -growth[2],
        -growth[0],
        -cpu_growth[1],
        -cpu_growth[2],
        -cpu_growth[0],
        median(interruptions),
        _latency(with_it, without, "p50_us"),
        _latency(with_it, without, "p99_us"),
        _latency(with_it, without, "p999_us"),
    )


def _quartiles(
    with_it: Sequence[dict[str, float]], without: Sequence[dict[str, float]], key: str
) -> tuple[float, float, float]:
    """By which share a figure grows with the tool, pair by pair: lower quartile, median, upper."""
    growth = sorted(a[key] / b[key] - 1 for a, b in zip(with_it, without, strict=True))
    return growth[len(growth) // 4], median(growth), growth[-1 - len(growth) // 4]


def _latency(
    with_it: Sequence[dict[str, float]], without: Sequence[dict[str, float]], key: str
) -> Latency:
    if key not in without[0]:
        return _NO_LATENCY
    least, middle, most = _quartiles(with_it, without, key)
    return Latency(median(one[key] for one in without), middle, least, most)


def _cpu_ns(pid: int) -> int:
    """CPU time that all threads of a process have used: schedstat counts it to the nanosecond."""
    return sum(
        int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


def _empty_loop(duration_s: float) -> float:
    """The share of one CPU that waking up every 5 ms costs, in Python."""
    cpu_s, end_s = time.process_time(), time.monotonic() + duration_s
    while time.monotonic() < end_s:
        time.sleep(_TICK_S)
    return (time.process_time() - cpu_s) / duration_s
