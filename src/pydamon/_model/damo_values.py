"""Numbers in damo's dialect: commas between thousands, sums such as `1 m 3.5 s`, damo's units.

The grammar is that of `_model/units.py`. Recordings (`_data/formats`) and scheme files
(`_act/schemes`) of damo both read their numbers here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.units import DECIMAL, UNIT, quantities

__all__ = [
    "BYTES",
    "NS",
    "Misread",
    "Value",
    "amount_of",
    "bytes_of",
    "damo_quantities",
    "integers",
    "ns_of",
    "number_of",
]

Value: TypeAlias = int | float | str | None
"""A number in a file of damo's."""

BYTES = {"": 1, "B": 1} | {
    letter + ending: 1024**power
    for power, letter in enumerate("KMGTPE", 1)
    for ending in ("", "B", "iB")
}
NS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}

_SEPARATORS = ", '\u00a0\u2009\u202f"
"""Between thousands. What other locales write there could also be a decimal point."""
_GROUPS = rf"[0-9]{{1,3}}(?:[{_SEPARATORS}][0-9]{{3}})+(?![{_SEPARATORS}]?[0-9])(?:\.[0-9]*)?"
_QUANTITY = re.compile(rf"\s*({_GROUPS}|{DECIMAL})\s*({UNIT}|)\s*")
_NO_SEPARATORS = str.maketrans("", "", _SEPARATORS)
_INTEGER_WITH_COMMAS = re.compile("[0-9]{1,3}(?:,[0-9]{3}){0,5}")
_MAX_INT64_DIGITS = 18
"""Numbers of so many digits fit into int64, whatever the digits are."""
_MAX_DIGITS = 40
_WORDS = {"min": 0, "max": 2**64 - 1}


class Misread(ValueError):  # noqa: N818
    """A value of a column that cannot be read: `index` says which."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def damo_quantities(text: str) -> list[tuple[str, str]]:
    """The numbers, without separators, and units in a text; empty where it is something else."""
    return [
        (digits.translate(_NO_SEPARATORS), unit) for digits, unit in quantities(text, _QUANTITY)
    ]


def number_of(value: Value) -> int:
    """A plain number, rounded down; raises `ValueError` for anything else."""
    return amount_of(value, {"": 1, "%": 1})


def bytes_of(value: Value) -> int:
    """Bytes of a size such as `"4,096"` or `"1.5 GiB"`; raises `ValueError`."""
    return amount_of(value, BYTES)


def ns_of(value: Value, bare_ns: int = 1) -> int:
    """Nanoseconds of a time such as `"1 m 3.5 s"`; raises `ValueError`.

    A number without a unit counts units of *bare_ns*.
    """
    return amount_of(value, {**NS, "": bare_ns})


def amount_of(value: Value, units: dict[str, int]) -> int:
    """The sum of numbers with units, of which `""` is a bare number's; raises `ValueError`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return int(value * units[""])
    if value in _WORDS:
        return _WORDS[value]
    text = value.strip() if isinstance(value, str) else ""
    terms = damo_quantities(text.removeprefix("-"))
    # A number without a unit is no term of a sum.
    is_sound = len(terms) == 1 or all(unit for _, unit in terms)
    if not (terms and is_sound and all(_is_known(*term, units) for term in terms)):
        raise ValueError(f"not a number: {str(value)[:40]!r}")
    total = sum(_product(digits, units[unit]) for digits, unit in terms)
    return -total if text.startswith("-") else total


def _is_known(digits: str, unit: str, units: dict[str, int]) -> bool:
    return unit in units and len(digits) <= _MAX_DIGITS


def _product(digits: str, factor: int) -> int:
    return round(float(digits) * factor) if "." in digits else int(digits) * factor


def integers(values: list[Value], parse: Callable[[Value], int]) -> NDArray[np.int64]:
    """A whole column: shape (len(values),); raises `Misread` for a value that int64 cannot hold."""
    kinds = set(map(type, values))
    column = _plain_integers(values) if kinds == {str} else None  # type: ignore[arg-type]
    if column is not None:
        return column
    if kinds != {int}:
        values = [_parsed(value, index, parse) for index, value in enumerate(values)]
    try:
        return np.array(values, np.int64)
    except OverflowError:
        index = next(i for i, value in enumerate(values) if not -(2**63) <= value < 2**63)  # type: ignore[operator]
        raise Misread(f"too large: {str(values[index])[:40]}", index) from None


def _plain_integers(texts: list[str]) -> NDArray[np.int64] | None:
    """A column of plain digits, or of digits with commas, read at once; `None` for other texts."""
    text = " ".join(texts)
    if "," in text and all(map(_INTEGER_WITH_COMMAS.fullmatch, texts)):
        text = text.replace(",", "")
    elif max(map(len, texts)) > _MAX_INT64_DIGITS:
        return None
    if not (text.isascii() and text.replace(" ", "").isdigit()):
        return None
    column = np.fromstring(text, np.int64, sep=" ")
    return column if len(column) == len(texts) else None


def _parsed(value: Value, index: int, parse: Callable[[Value], int]) -> int:
    try:
        return parse(value)
    except ValueError as error:
        raise Misread(str(error), index) from None
