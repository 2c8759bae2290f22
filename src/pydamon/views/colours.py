"""The colours of access rates, the same in the terminal, in pictures and in HTML."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["PALETTE", "UNSEEN", "colour_index", "rgb"]

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
