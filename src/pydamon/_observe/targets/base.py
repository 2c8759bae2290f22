"""What sampling asks of a space of targets; and ranges that were given, as in a simulation."""

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


class FixedSpace:
    """One target for each array of ranges; nothing ever changes."""

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
        """Made-up ranges are meant as they are."""
        return False

    @property
    def alive(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing to let go of."""


_LOGGER = logging.getLogger("pydamon")
_MOST = 1000
_said: set[str] = set()


def say_once(key: str, text: str) -> None:
    """Warn by the logger `pydamon`, once for each key while this process lives."""
    if key in _said:
        return
    if len(_said) >= _MOST:
        _said.clear()
    _said.add(key)
    _LOGGER.warning("%s", text)
