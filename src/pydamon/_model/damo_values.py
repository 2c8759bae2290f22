"""Read numbers as damo writes them: plain, as digits, with thousands separators or with units."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BYTES",
    "NS",
    "Misread",
    "Value",
    "amount_of",
    "bytes_of",
    "integers",
    "ns_of",
    "number_of",
]

Value: TypeAlias = int | float | str | None

_SEPARATORS = ", '\u00a0\u2009\u202f"
"""Separators of thousands. Those of other locales (`.`) could also be a decimal point."""

_PART = re.compile(
    rf"\s*((?:[0-9]{{1,3}}(?:[{_SEPARATORS}][0-9]{{3}})+(?![{_SEPARATORS}]?[0-9])|[0-9]+)"
    r"(?:\.[0-9]*)?)\s*([A-Za-z%]*)"
)
"""One number of a sum, and its unit."""
_GROUPED = re.compile("[0-9]{1,3}(?:,[0-9]{3}){0,5}")
_NO_SEPARATORS = str.maketrans("", "", _SEPARATORS)
_MOST_DIGITS = 18
"""Any number of so many digits fits into int64."""
_MOST_WRITTEN = 40
"""A number with more digits is refused."""

BYTES = {"": 1, "B": 1} | {
    letter + ending: 1024**power
    for power, letter in enumerate("KMGTPE", 1)
    for ending in ("", "B", "iB")
}
"""Bytes of each of damo's units of size."""

NS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
"""Nanoseconds of each of damo's units of time."""

_WORDS = {"min": 0, "max": 2**64 - 1}


class Misread(ValueError):  # noqa: N818
    """A value of a column that cannot be read: the one at `index`."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def number_of(value: Value) -> int:
    """A plain number, rounded down; raises `ValueError` for any other text."""
    return amount_of(value, {"": 1, "%": 1})


def bytes_of(value: Value) -> int:
    """Bytes of a size such as `"4,096"` or `"1.5 GiB"`; raises `ValueError`."""
    return amount_of(value, BYTES)


def ns_of(value: Value, bare_ns: int = 1) -> int:
    """Nanoseconds of a time such as `"1 m 3.5 s"`; raises `ValueError`.

    A number without a unit is in units of *bare_ns*.
    """
    return amount_of(value, {**NS, "": bare_ns})


def amount_of(value: Value, units: dict[str, int]) -> int:
    """The sum of numbers with units; raises `ValueError`. The unit `""` is for plain numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return int(value * units[""])
    if value in _WORDS:
        return _WORDS[value]
    text = value.strip() if isinstance(value, str) else ""
    negative = text.startswith("-")
    at, total = int(negative), 0
    while match := _PART.match(text, at):
        digits, at = match[1].translate(_NO_SEPARATORS), match.end()
        unit = units.get(match[2])
        if unit is None or len(digits) > _MOST_WRITTEN:
            break
        if not match[2] and match[0] != text[int(negative) :]:
            break  # a number without a unit stands alone
        total += round(float(digits) * unit) if "." in digits else int(digits) * unit
        if at == len(text):
            return -total if negative else total
    raise ValueError(f"not a number: {str(value)[:40]!r}")


def integers(values: list[Value], parse: Callable[[Value], int]) -> NDArray[np.int64]:
    """Parse a column: shape (len(values),). Raises `Misread` for values that int64 cannot hold."""
    kinds = set(map(type, values))
    if kinds == {str}:
        text = " ".join(values)  # type: ignore[arg-type]
        if "," in text and all(map(_GROUPED.fullmatch, values)):  # type: ignore[arg-type]
            text = text.replace(",", "")
            fitting = True
        else:
            fitting = max(map(len, values)) <= _MOST_DIGITS  # type: ignore[arg-type]
        if fitting and text.isascii() and text.replace(" ", "").isdigit():
            numbers = np.fromstring(text, np.int64, sep=" ")
            if len(numbers) == len(values):
                return numbers
    if kinds != {int}:
        values = [_parsed(value, index, parse) for index, value in enumerate(values)]
    try:
        return np.array(values, np.int64)
    except OverflowError:
        index = next(i for i, value in enumerate(values) if not -(2**63) <= value < 2**63)  # type: ignore[operator]
        raise Misread(f"too large: {str(values[index])[:40]}", index) from None


def _parsed(value: Value, index: int, parse: Callable[[Value], int]) -> int:
    try:
        return parse(value)
    except ValueError as error:
        raise Misread(str(error), index) from None
