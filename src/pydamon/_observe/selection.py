"""What to monitor: the memory of processes, or physical memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

from pydamon._observe.linux.procfs import Rule
from pydamon._observe.targets import Members, PaddrSpace, VaddrSpace

__all__ = ["PhysicalMemory", "Processes", "Selection"]


@dataclass(frozen=True, slots=True)
class Processes:
    """The virtual memory of processes, named by pid or by a function that lists their pids.

    With `children`, processes that they start are monitored too. `ranges` limits monitoring to
    these bytes of a single process.
    """

    pids: tuple[int, ...] | Members
    children: bool = True
    ranges: tuple[tuple[int, int], ...] | None = None

    @classmethod
    def of(
        cls,
        pids: int | Iterable[int] | Members,
        *,
        children: bool = True,
        ranges: Sequence[tuple[int, int]] | None = None,
    ) -> Self:
        """A selection that can be opened more than once, even if *pids* is an iterator."""
        if isinstance(pids, int):
            pids = (pids,)
        return cls(
            pids if callable(pids) else tuple(pids),
            children,
            None if ranges is None else tuple(ranges),
        )

    def open(self, rule: Rule) -> VaddrSpace:
        """Find the processes and what they map; raises `TargetError` and `UsageError`."""
        return VaddrSpace(self.pids, rule=rule, children=self.children, ranges=self.ranges)


@dataclass(frozen=True, slots=True)
class PhysicalMemory:
    """Physical memory: all, or that of some nodes.

    With a `cgroup`, only memory that is charged to it counts as touched.
    """

    nodes: tuple[int, ...] = ()
    cgroup: str | None = None

    def open(self) -> PaddrSpace:
        """Find the memory; raises `TargetError` and `UsageError`."""
        return PaddrSpace(self.nodes)


Selection: TypeAlias = Processes | PhysicalMemory
