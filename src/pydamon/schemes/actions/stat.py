"""`stat`: do nothing but count."""

from __future__ import annotations

from typing import ClassVar

from pydamon.core.ranges import size_of
from pydamon.core.regions import Ranges
from pydamon.schemes.actions.base import Action
from pydamon.schemes.memory import TargetMemory

__all__ = ["Stat"]


class Stat(Action):
    """Counts what the scheme is about; regions keep their age."""

    name = "stat"
    hot_first: ClassVar[bool] = True
    changes: ClassVar[bool] = False

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        return ranges

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        return size_of(ranges)
