"""The scales that all pictures share: the colours of access rates, and round times on an axis."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["PALETTE", "UNSEEN", "colour_index", "rgb", "time_ticks", "top_rate"]

_ANCHORS = np.array(
    [
        (16, 10, 46),
        (66, 10, 104),
        (125, 30, 109),
        (180, 48, 92),
        (222, 81, 58),
        (246, 130, 22),
        (251, 190, 50),
        (252, 253, 170),
    ],
    np.float64,
)
_SHADES = 256


def _palette() -> NDArray[np.uint8]:
    place = np.linspace(0, len(_ANCHORS) - 1, _SHADES)
    mixed = [np.interp(place, np.arange(len(_ANCHORS)), _ANCHORS[:, i]) for i in range(3)]
    return np.stack(mixed, axis=1).round().astype(np.uint8)


PALETTE = _palette()
"""Red, green, blue of shape (256, 3): dark violet to pale yellow. Lightness only grows, so that
colour-blind readers can tell the rates apart."""


UNSEEN = _SHADES
"""The index of memory that no probe has looked at yet: grey, which no rate has."""
_GREY = (128, 128, 128)


def rgb(index: int) -> tuple[int, int, int]:
    """Red, green and blue of an index in the palette, or of `UNSEEN`."""
    red, green, blue = _GREY if index == UNSEEN else PALETTE[index].tolist()
    return red, green, blue


def top_rate(rates: NDArray[np.float64]) -> float:
    """The highest access rate, which the end of the scale stands for; 0 where none is known."""
    return float(np.nanmax(rates)) if np.isfinite(rates).any() else 0.0


def colour_index(
    rates: NDArray[np.float64], top: float, unseen: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The index in the palette of rates from 0 to *top*, and -1 for NaN: the shape of *rates*.

    Where *unseen* is true the index is `UNSEEN`.
    """
    shares = np.minimum(rates / top, 1.0) if top else np.zeros_like(rates)
    shades = np.nan_to_num(shares * (_SHADES - 1)).round().astype(np.int64)
    indices: NDArray[np.int64] = np.where(np.isnan(rates), -1, shades)
    return indices if unseen is None else np.where(unseen, UNSEEN, indices)


def time_ticks(duration_ns: float, most: int) -> list[float]:
    """Times from 0 to below *duration_ns* in round steps; about *most* of them at the most."""
    step_ns = _round_up(duration_ns / most)
    return [i * step_ns for i in range(most + 1) if i * step_ns < duration_ns]


def _round_up(duration_ns: float) -> float:
    """The next longer duration whose multiples are round numbers."""
    for unit in (60e9, 3600e9):
        if unit / 2 <= duration_ns <= 30 * unit:
            return unit * next(n for n in (1, 2, 5, 10, 20, 30) if n * unit >= duration_ns)
    power = 10.0 ** math.floor(math.log10(max(duration_ns, 1.0)))
    return float(next(n * power for n in (1, 2, 5, 10) if n * power >= duration_ns))
