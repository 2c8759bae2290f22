"""Ranges that were given: of nothing real, as in a simulation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pydamon.core.mappings import MappingTable
from pydamon.core.regions import Ranges
from pydamon.core.snapshot import Target
from pydamon.spaces.base import Layout

__all__ = ["FixedSpace"]


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
