"""Watermarks at work: whether a scheme is on."""

from __future__ import annotations

from collections.abc import Callable

from pydamon.schemes.watermarks import Watermarks

__all__ = ["WatermarkState"]


class WatermarkState:
    """Looks at the metric (thousandths) once an interval; see `Watermarks` for when it is on."""

    def __init__(self, marks: Watermarks, metric: Callable[[], float]) -> None:
        self._marks = marks
        self._metric = metric
        self._on = True
        self._next_ns = 0
        self.value = 0.0
        """What the metric was at the last look."""

    def is_on(self, now_ns: int) -> bool:
        """Whether the scheme may act now."""
        marks = self._marks
        if marks.metric == "none":
            return True
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + marks.interval_ns
            self.value = self._metric()
            highest = marks.high if self._on else marks.mid
            self._on = marks.low <= self.value <= highest
        return self._on
