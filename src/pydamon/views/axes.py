"""Round numbers for the axis of time."""

from __future__ import annotations

import math

__all__ = ["time_ticks"]


def time_ticks(duration_ns: float, most: int) -> list[float]:
    """Times from 0 to below *duration_ns* at a distance that reads well, at most about *most*."""
    step_ns = _round_up(duration_ns / most)
    return [i * step_ns for i in range(most + 1) if i * step_ns < duration_ns]


def _round_up(duration_ns: float) -> float:
    """The next duration of which multiples read well."""
    for unit in (60e9, 3600e9):
        if unit / 2 <= duration_ns <= 30 * unit:
            return unit * next(n for n in (1, 2, 5, 10, 20, 30) if n * unit >= duration_ns)
    power = 10.0 ** math.floor(math.log10(max(duration_ns, 1.0)))
    return float(next(n * power for n in (1, 2, 5, 10) if n * power >= duration_ns))
