"""Numbers of damo's scheme files: with the units that damo knows, and no others.

A bare number has the unit that the name of its key ends in; `"max"` is no bound. Each function
takes what JSON holds, and raises `UsageError` for what damo would not write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from pydamon._model.damo_values import BYTES, NS, Value
from pydamon._model.errors import UsageError
from pydamon._model.plain import near, shown
from pydamon._model.schemes.fields import Ns
from pydamon._model.schemes.pattern import Age, Rate

__all__ = [
    "UNBOUNDED",
    "Value",
    "age",
    "basis_points",
    "bytes_of",
    "flag",
    "ms",
    "permil",
    "rate",
    "size_or_max",
    "us",
    "whole",
    "words",
]

UNBOUNDED = 2**63 - 1
_PART = re.compile(r"([0-9][0-9,]{0,60}(?:\.[0-9]{0,30})?)\s*([A-Za-z_%]*)\s*")
_LONGEST = 200
_ENDLESS = Ns(2**62)
"""What `"max"` is for an interval."""
_TRUE, _FALSE = ("y", "yes", "true"), ("n", "no", "false")


def _amounts(value: Value, units: Mapping[str, object]) -> list[tuple[Fraction, str]]:
    """The numbers in a value, and their units; one at least."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UsageError(f"not a number: {shown(value)}")
    text = str(value).strip() if isinstance(value, str) else ""
    if (value < 0) if isinstance(value, int | float) else text.startswith("-"):
        raise UsageError(f"cannot be negative: {shown(value)}")
    if isinstance(value, int | float):
        return [(Fraction(value), "")]
    at, found = 0, []
    while len(text) <= _LONGEST and (match := _PART.match(text, at)):
        number, unit, at = Decimal(match[1].replace(",", "")), match[2], match.end()
        if unit not in units:
            names = ", ".join(filter(None, units)) or "none"
            raise UsageError(
                f"no unit is called {shown(unit)} here{near(unit, list(units))}"
                if unit
                else f"a unit is missing: {shown(value)}",
                hint=f"units are {names}",
            )
        found.append((Fraction(number), unit))
        if at == len(text):
            return found
    raise UsageError(f"not a number: {shown(value)}")


def _one(value: Value, units: Mapping[str, int | Fraction]) -> Fraction:
    """A number of one part, in the smallest unit."""
    amounts = _amounts(value, units)
    if len(amounts) > 1:
        raise UsageError(f"not one number: {shown(value)}")
    ((number, unit),) = amounts
    return number * units[unit]


def whole(value: Value) -> int:
    """A whole number."""
    number = _one(value, {"": 1})
    if number.denominator != 1:
        raise UsageError(f"not a whole number: {shown(value)}")
    if number > UNBOUNDED:
        raise UsageError(f"too large: {shown(value)}")
    return int(number)


def size_or_max(value: Value) -> int | None:
    """Bytes; `None` for `"max"`, and for what no memory has."""
    if value in ("min", "max"):
        return 0 if value == "min" else None
    number = _one(value, BYTES)
    return int(number) if number <= UNBOUNDED else None


def bytes_of(value: Value) -> int:
    """Bytes, of which there can be so many."""
    found = size_or_max(value)
    if found is None:
        raise UsageError(f"too large: {shown(value)}")
    return found


def _duration(value: Value, bare_ns: int) -> Ns:
    if value in ("min", "max"):
        return Ns(0) if value == "min" else _ENDLESS
    # Beyond hours there are parts: "2 h 5 m".
    units = NS | {"": bare_ns}
    amounts = _amounts(value, units)
    if len(amounts) > 1 and any(not unit for _, unit in amounts):
        raise UsageError(f"a unit is missing: {shown(value)}", hint=f"units are {', '.join(NS)}")
    return Ns(min(_ENDLESS, sum(int(number * units[unit]) for number, unit in amounts)))


def us(value: Value) -> Ns:
    """A time; a bare number is microseconds."""
    return _duration(value, 10**3)


def ms(value: Value) -> Ns:
    """A time; a bare number is milliseconds."""
    return _duration(value, 10**6)


def permil(value: Value) -> int:
    """A share in thousandths: bare, or in percent."""
    return round(_one(value, {"": 1, "%": 10}))


def basis_points(value: Value) -> int:
    """A share in 10,000ths: bare, or in percent."""
    return round(_one(value, {"": 1, "%": 100}))


def rate(value: Value, unit: str = "percent") -> Rate | None:
    """An access rate; `None` is no bound. A bare number is of *unit*, which is a percentage."""
    if value in ("min", "max"):
        return Rate(0) if value == "min" else None
    ((number, named),) = _single(value, {"": 0, "%": 0, "percent": 0, "samples": 0, "hz": 0})
    if number >= UNBOUNDED:
        return None  # as damo writes what has no bound
    named = {"": unit, "%": "percent"}.get(named, named)
    if named == "percent":
        if number > 100:
            raise UsageError(f"more than 100 %: {shown(value)}")
        return Rate(float(number), "%")
    if named == "samples" and number.denominator != 1:
        raise UsageError(f"not a whole number of samples: {shown(value)}")
    return Rate(int(number)) if named == "samples" else Rate(float(number), "hz")


def age(value: Value, unit: str = "usec") -> Age | None:
    """An age; `None` is no bound. A bare number is of *unit*, which is microseconds."""
    if value in ("min", "max"):
        return Age(0) if value == "min" else None
    text = value.strip() if isinstance(value, str) else ""
    counted = text.removesuffix("aggr_intervals")
    if counted != text or (unit == "aggr_intervals" and not text[-1:].isalpha()):
        number = _one(counted if text else value, {"": 1})
        if number.denominator != 1:
            raise UsageError(f"not a whole number of aggregation intervals: {shown(value)}")
        return None if number > UNBOUNDED else Age(int(number))
    found = _duration(value, 10**3)
    return None if found >= _ENDLESS else Age(found, "ns")


def _single(value: Value, units: Mapping[str, int]) -> list[tuple[Fraction, str]]:
    amounts = _amounts(value, units)
    if len(amounts) > 1:
        raise UsageError(f"not one number: {shown(value)}")
    return amounts


def flag(value: object) -> bool:
    """True or false, or a word for it."""
    word = value.lower() if isinstance(value, str) else value
    if word is True or word in _TRUE:
        return True
    if word is False or word in _FALSE:
        return False
    raise UsageError(f"not true or false: {shown(value)}")


def words(value: object) -> str:
    """Text."""
    if not isinstance(value, str) or "\0" in value:
        raise UsageError(f"not text: {shown(value)}")
    return value
