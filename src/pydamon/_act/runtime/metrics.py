"""What goals and watermarks are about: figures of the machine, its nodes and its cgroups."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pydamon._model.errors import SchemeError
from pydamon._model.schemes.quota import Goal
from pydamon._observe.linux import procfs
from pydamon._observe.targets.members import CGROUPS

__all__ = ["GoalScore", "free_mem_rate", "stalled_ns"]

_NODES = Path("/sys/devices/system/node")
_PRESSURE = Path("/proc/pressure/memory")
_LISTS = ("inactive_anon", "active_anon", "inactive_file", "active_file")
_TEN_THOUSAND = 10_000


def free_mem_rate() -> float:
    """The machine's free memory, in thousandths of all."""
    info = procfs.meminfo_of(procfs.read("/proc/meminfo"))
    return 1000 * info["MemFree"] / info["MemTotal"]


def stalled_ns(pressure: Path = _PRESSURE) -> int:
    """For how long some task stalled for memory since the start (pressure stall information).

    *pressure* is a cgroup's `memory.pressure`, or the machine's. Raises `SchemeError` where the
    kernel does not tell.
    """
    try:
        total = re.search(r"^some .*total=(\d+)", pressure.read_text(), re.MULTILINE)
    except OSError as error:
        raise SchemeError(
            f"this kernel does not tell how long tasks stall for memory: {error.strerror}",
            hint="it needs CONFIG_PSI, and psi=1 on the kernel's command line",
        ) from None
    return 1000 * int(total[1]) if total else 0


class GoalScore:
    """How near some goals are: 10,000 where they are met; the one that is nearest counts.

    Raises `SchemeError` for a goal that cannot be measured here.
    """

    def __init__(self, goals: tuple[Goal, ...]) -> None:
        self._goals = [(goal, _reader(goal)) for goal in goals]
        for _, read in self._goals:
            read()

    def __call__(self) -> float:
        return max(read() * _TEN_THOUSAND / goal.target for goal, read in self._goals)


def _reader(goal: Goal) -> Callable[[], float]:
    if goal.metric == "user_input":
        value = goal.value
        return value if callable(value) else lambda: float(value)
    if goal.metric == "some_mem_psi_us":
        return _Stalls()
    if goal.metric == "node_eligible_mem_bp":
        raise SchemeError(f"the goal {goal.metric} can only be met by the kernel's DAMON")
    return lambda: _MEMORY[goal.metric](goal)


class _Stalls:
    """The time stalled since it was last asked, in microseconds."""

    def __init__(self) -> None:
        self._last_ns = stalled_ns()

    def __call__(self) -> float:
        now_ns = stalled_ns()
        since_ns, self._last_ns = now_ns - self._last_ns, now_ns
        return since_ns / 1000


def _node_free(goal: Goal) -> float:
    info = _node(goal)
    return _TEN_THOUSAND * info["MemFree"] / info["MemTotal"]


def _of_cgroup(goal: Goal) -> float:
    """The memory of a cgroup in a node, as a share of the node's."""
    path = CGROUPS / (goal.memcg_path or "").lstrip("/") / "memory.numa_stat"
    try:
        text = path.read_text()
    except OSError as error:
        raise SchemeError(f"cannot read {path}: {error.strerror}") from None
    found = re.findall(rf"^(\w+) .*\bN{goal.node}=(\d+)", text, re.MULTILINE)
    used = sum(int(number) for name, number in found if name in _LISTS)
    return _TEN_THOUSAND * used / _node(goal)["MemTotal"]


def _active() -> float:
    info = procfs.meminfo_of(procfs.read("/proc/meminfo"))
    return _TEN_THOUSAND * info["Active"] / max(1, info["Active"] + info["Inactive"])


_MEMORY: dict[str, Callable[[Goal], float]] = {
    "node_mem_free_bp": _node_free,
    "node_mem_used_bp": lambda goal: _TEN_THOUSAND - _node_free(goal),
    "node_memcg_used_bp": _of_cgroup,
    "node_memcg_free_bp": lambda goal: _TEN_THOUSAND - _of_cgroup(goal),
    "active_mem_bp": lambda _: _active(),
    "inactive_mem_bp": lambda _: _TEN_THOUSAND - _active(),
}


def _node(goal: Goal) -> dict[str, int]:
    path = _NODES / f"node{goal.node}" / "meminfo"
    try:
        return procfs.meminfo_of(procfs.read(str(path)))
    except OSError:
        raise SchemeError(f"there is no memory node {goal.node}") from None
