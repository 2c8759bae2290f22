"""The colours of access rates and the round numbers of a time axis, the same everywhere."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["PALETTE", "UNSEEN", "colour_index", "rgb", "time_ticks"]

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
"""Red, green, blue of shape (256, 3): dark violet to pale yellow, ever lighter, so that every kind
of colour vision tells them apart."""


UNSEEN = _SHADES
"""The index of what nobody has looked at yet: grey, which no rate has."""
_GREY = (128, 128, 128)


def rgb(index: int) -> tuple[int, int, int]:
    """Red, green and blue of an index in the palette, or of `UNSEEN`."""
    red, green, blue = _GREY if index == UNSEEN else PALETTE[index].tolist()
    return red, green, blue


def colour_index(
    rates: NDArray[np.float64], top: float, unseen: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Where in the palette rates from 0 to *top* are; -1 for NaN. Of the shape of *rates*.

    What is *unseen* has the index of that name.
    """
    shares = np.minimum(rates / top, 1.0) if top else np.zeros_like(rates)
    known = np.nan_to_num(shares * (_SHADES - 1)).round().astype(np.int64)
    found: NDArray[np.int64] = np.where(np.isnan(rates), -1, known)
    return found if unseen is None else np.where(unseen, UNSEEN, found)


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
