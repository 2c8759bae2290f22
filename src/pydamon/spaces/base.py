"""What the engine asks of an address space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydamon.core.mappings import MappingTable
from pydamon.core.regions import Ranges
from pydamon.core.snapshot import Target
from pydamon.probes.process import Process

__all__ = ["Layout", "Space"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The targets as they are now: lists of one length, one entry a target.

    `processes` is empty where there are none behind the targets. A target that is still there
    later has the same object in `targets[i].pid` and `processes[i]`.
    """

    targets: tuple[Target, ...]
    processes: Sequence[Process]
    mappings: Sequence[MappingTable]
    ranges: Sequence[Ranges]


class Space(Protocol):
    """The memory to monitor."""

    def update(self, max_ranges: int) -> Layout:
        """Look again at who is there and what is mapped: at most *max_ranges* ranges each."""
        ...

    @property
    def follows_memory(self) -> bool:
        """Whether only what has memory is meant, not all addresses that are mapped."""
        ...

    @property
    def alive(self) -> bool:
        """Whether anything is left to monitor."""
        ...

    def close(self) -> None:
        """Let go of the targets."""
        ...
