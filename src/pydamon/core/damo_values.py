"""Numbers as damo writes them: as such, as digits, with commas between them, or with units."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Value", "amount_of", "bytes_of", "integers", "ns_of", "number_of"]

Value: TypeAlias = int | float | str | None

_PART = re.compile(r"\s*([0-9][0-9,]*(?:\.[0-9]*)?)\s*([A-Za-z%]*)")
_BYTES = {"": 1, "B": 1} | {
    letter + ending: 1024**power
    for power, letter in enumerate("KMGTPE", 1)
    for ending in ("", "B", "iB")
}
_NS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_WORDS = {"min": 0, "max": 2**64 - 1}


def number_of(value: Value) -> int:
    """A plain number, rounded down; raises `ValueError` for what is none."""
    return amount_of(value, {"": 1, "%": 1})


def bytes_of(value: Value) -> int:
    """Bytes of a size such as `"4,096"` or `"1.5 GiB"`; raises `ValueError`."""
    return amount_of(value, _BYTES)


def ns_of(value: Value, bare_ns: int = 1) -> int:
    """Nanoseconds of a time such as `"1 m 3.5 s"`; raises `ValueError`.

    What has no unit is in units of *bare_ns*.
    """
    return amount_of(value, {**_NS, "": bare_ns})


def amount_of(value: Value, units: dict[str, int]) -> int:
    """The sum of numbers with units, of which `""` is that of a bare one; raises `ValueError`."""
    if isinstance(value, int | float):
        return int(value * units[""])
    if value in _WORDS:
        return _WORDS[value]
    text = (value or "").strip()
    negative = text.startswith("-")
    at, total = int(negative), 0
    while match := _PART.match(text, at):
        digits, at = match[1].replace(",", ""), match.end()
        unit = units.get(match[2])
        if unit is None:
            break
        total += round(float(digits) * unit) if "." in digits else int(digits) * unit
        if at == len(text):
            return -total if negative else total
    raise ValueError(f"not a number: {str(value)[:40]!r}")


def integers(values: list[Value], parse: Callable[[Value], int]) -> NDArray[np.int64]:
    """All of a column: shape (len(values),); raises `ValueError` or `OverflowError`."""
    kinds = set(map(type, values))
    if kinds == {str}:
        text = " ".join(values).replace(",", "")  # type: ignore[arg-type]
        if text.isascii() and text.replace(" ", "").isdigit():
            found = np.fromstring(text, np.int64, sep=" ")
            if len(found) == len(values):
                return found
    if kinds != {int}:
        values = [parse(value) for value in values]
    return np.array(values, np.int64)
