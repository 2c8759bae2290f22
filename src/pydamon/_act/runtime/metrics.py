"""The metrics of goals and watermarks: figures of the machine, its nodes and its cgroups."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pydamon._model.errors import SchemeError
from pydamon._model.schemes.limits import Goal
from pydamon._observe.linux import procfs
from pydamon._observe.linux.cgroups import cgroup_file

__all__ = ["GoalScore", "free_memory_share", "stalled_ns"]

_NODES = Path("/sys/devices/system/node")
_PRESSURE = Path("/proc/pressure/memory")
_LISTS = ("inactive_anon", "active_anon", "inactive_file", "active_file")
_BASIS_POINTS = 10_000


def free_memory_share() -> float:
    """The share of the machine's memory that is free."""
    info = procfs.meminfo_of(procfs.read("/proc/meminfo"))
    return info["MemFree"] / info["MemTotal"]


def stalled_ns(pressure: Path = _PRESSURE) -> int:
    """How long some task has stalled for memory since boot (pressure stall information).

    *pressure* is the `memory.pressure` of a cgroup, or the machine's. Raises `SchemeError` where
    the kernel does not tell.
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
    """How near the goals of a quota are: 1 where one is met; the nearest goal counts.

    Raises `SchemeError` for a goal that cannot be measured here.
    """

    def __init__(self, goals: tuple[Goal, ...]) -> None:
        self._goals = [(goal, _reader(goal)) for goal in goals]
        for _, read in self._goals:
            read()

    def __call__(self) -> float:
        return max(read() / goal.target for goal, read in self._goals)


def _reader(goal: Goal) -> Callable[[], float]:
    """A function that reads the metric of a goal, in the unit of the metric."""
    if goal.metric == "user_input":
        value = goal.value
        return value if callable(value) else lambda: float(value)
    if goal.metric == "some_mem_psi_us":
        return _Stalls()
    if goal.metric == "node_eligible_mem_bp":
        raise SchemeError(f"the goal {goal.metric} can only be met by the kernel's DAMON")
    return lambda: _BASIS_POINTS * _SHARES[goal.metric](goal)


class _Stalls:
    """The microseconds stalled since the last call."""

    def __init__(self) -> None:
        self._last_ns = stalled_ns()

    def __call__(self) -> float:
        now_ns = stalled_ns()
        since_ns, self._last_ns = now_ns - self._last_ns, now_ns
        return since_ns / 1000


def _node_free(goal: Goal) -> float:
    info = _node(goal)
    return info["MemFree"] / info["MemTotal"]


def _used_by_cgroup(goal: Goal) -> float:
    """The memory of a cgroup in a node, as a share of the node's."""
    group = goal.memcg_path or "/"
    path = cgroup_file(group, "memory.numa_stat")
    if path is None:
        raise SchemeError(f"the cgroup {group!r} has no memory.numa_stat")
    try:
        text = path.read_text()
    except OSError as error:
        raise SchemeError(f"cannot read {path}: {error.strerror}") from None
    counts = re.findall(rf"^(\w+) .*\bN{goal.node}=(\d+)", text, re.MULTILINE)
    if not counts:  # with cgroups of version 1 it counts pages, in another form
        raise SchemeError(f"{path} does not tell how many bytes are in node {goal.node}")
    used_bytes = sum(int(number) for name, number in counts if name in _LISTS)
    return used_bytes / _node(goal)["MemTotal"]


def _active() -> float:
    info = procfs.meminfo_of(procfs.read("/proc/meminfo"))
    return info["Active"] / max(1, info["Active"] + info["Inactive"])


_SHARES: dict[str, Callable[[Goal], float]] = {
    "node_mem_free_bp": _node_free,
    "node_mem_used_bp": lambda goal: 1 - _node_free(goal),
    "node_memcg_used_bp": _used_by_cgroup,
    "node_memcg_free_bp": lambda goal: 1 - _used_by_cgroup(goal),
    "active_mem_bp": lambda _: _active(),
    "inactive_mem_bp": lambda _: 1 - _active(),
}


def _node(goal: Goal) -> dict[str, int]:
    path = _NODES / f"node{goal.node}" / "meminfo"
    try:
        return procfs.meminfo_of(procfs.read(str(path)))
    except OSError:
        raise SchemeError(f"there is no memory node {goal.node}") from None
