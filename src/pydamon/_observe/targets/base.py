"""The seam between engines and targets, and targets with fixed ranges, as in a simulation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pydamon._model.mappings import MappingTable
from pydamon._model.regions import Ranges
from pydamon._model.snapshot import Target
from pydamon._observe.linux.process import Process

__all__ = ["FixedSpace", "Layout", "Space", "say_once"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The targets as they are now: sequences of one length, with one entry a target.

    `processes` is empty if no processes are behind the targets. A process that is still there at
    the next update has the same object in `processes`.
    """

    targets: tuple[Target, ...]
    processes: Sequence[Process]
    mappings: Sequence[MappingTable]
    ranges: Sequence[Ranges]


class Space(Protocol):
    """The memory to monitor."""

    def update(self, max_ranges: int) -> Layout:
        """Read the targets and their mappings again; each has at most *max_ranges* ranges.

        The result is the same object as long as nothing has changed.
        """
        ...

    @property
    def follows_memory(self) -> bool:
        """Whether to monitor only mapped addresses that have memory, or all of them."""
        ...

    @property
    def alive(self) -> bool:
        """Whether any target is left, or may still come."""
        ...

    def close(self) -> None:
        """Release the targets."""
        ...


class FixedSpace:
    """One target for each array of ranges, which never change."""

    def __init__(self, *ranges: Ranges | Sequence[tuple[int, int]]) -> None:
        self._layout = Layout(
            tuple(Target(pid=0, name=f"target {index}") for index in range(len(ranges))),
            (),
            [MappingTable()] * len(ranges),
            [np.array(r, np.int64).reshape(-1, 2) for r in ranges],
        )

    def update(self, max_ranges: int) -> Layout:
        del max_ranges
        return self._layout

    @property
    def follows_memory(self) -> bool:
        """Fixed ranges are monitored as they are."""
        return False

    @property
    def alive(self) -> bool:
        return True

    def close(self) -> None:
        """There is nothing to release."""


_LOGGER = logging.getLogger("pydamon")
_MOST = 1000
"""The most keys that are remembered."""
_said: set[str] = set()


def say_once(key: str, text: str) -> None:
    """Log a warning to the logger `pydamon`, once for each key."""
    if key in _said:
        return
    if len(_said) >= _MOST:
        _said.clear()
    _said.add(key)
    _LOGGER.warning("%s", text)
