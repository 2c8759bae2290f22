"""The targets of a kdamond, in the kernel's numbering."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetError
from pydamon._model.snapshot import Footprint, Target
from pydamon._observe.kernel.kdamond import KernelTarget
from pydamon._observe.targets import Layout, Space

__all__ = ["KernelTargets"]

_MAX_TARGETS = 1000
_NO_FOOTPRINT = Footprint()


class KernelTargets:
    """Follows a space, and keeps the number that the kernel has for each target.

    A target that has exited keeps its number until `drop` or `renumber`. *operations* are
    ``"vaddr"``, ``"fvaddr"`` or ``"paddr"``. Raises `TargetError` where there is no target.
    """

    def __init__(self, space: Space, operations: str) -> None:
        self._space = space
        self.operations = operations
        self.layout: Layout = space.update(_MAX_TARGETS)
        """The targets that live."""
        if not self.layout.targets:
            raise TargetError("there is nothing to watch: every target has exited")
        self.numbered: tuple[Target, ...] = self.layout.targets
        """All targets that the kernel has, by number."""
        self.footprints: tuple[Footprint, ...] = ()
        """The size of each numbered process, as of `measure`; 0 for one that has exited."""

    def __len__(self) -> int:
        return len(self.numbered)

    @property
    def alive(self) -> bool:
        """Whether any target lives."""
        return self._space.alive

    @property
    def node_borders(self) -> NDArray[np.int64]:
        """Where one memory node follows another without a gap: kernel regions may cross there."""
        if self.operations != "paddr":
            return np.zeros(0, np.int64)
        nodes = pairwise(self.layout.mappings[0].mappings)
        return np.array([high.start for low, high in nodes if low.end == high.start], np.int64)

    def refresh(self) -> bool:
        """Look at the space again and number new targets; return whether there are new ones."""
        layout = self._space.update(_MAX_TARGETS)
        if layout is self.layout:
            return False
        self.layout = layout
        by_pid = {target.pid: target for target in layout.targets}
        known = {target.pid for target in self.numbered}
        new = [target for target in layout.targets if target.pid not in known]
        self.numbered = (*(by_pid.get(t.pid, t) for t in self.numbered), *new)
        return bool(new)

    def renumber(self) -> bool:
        """Number the targets that live from 0 on; return whether there are any."""
        self.layout = self._space.update(_MAX_TARGETS)
        self.numbered = self.layout.targets
        return bool(self.numbered)

    def exited(self) -> list[int]:
        """The numbers of targets that have exited: the kernel takes no settings with them."""
        alive = {process.pid for process in self.layout.processes if process.alive}
        return [
            number
            for number, target in enumerate(self.numbered)
            if target.pid and target.pid not in alive
        ]

    def drop(self, numbers: Sequence[int]) -> None:
        """Forget some targets; those after them get lower numbers."""
        self.numbered = tuple(t for n, t in enumerate(self.numbered) if n not in numbers)
        self.measure()

    def measure(self) -> None:
        """Update `footprints`."""
        by_pid = {process.pid: process.footprint() for process in self.layout.processes}
        self.footprints = tuple(
            by_pid.get(target.pid, _NO_FOOTPRINT) for target in self.numbered if target.pid
        )

    def settings(self) -> tuple[KernelTarget, ...]:
        """The targets as a kdamond is told about them."""
        if self.operations == "vaddr":
            return tuple(KernelTarget(target.pid) for target in self.numbered)
        return tuple(
            KernelTarget(target.pid, tuple((int(start), int(end)) for start, end in ranges))
            for target, ranges in zip(self.numbered, self.layout.ranges, strict=True)
        )
