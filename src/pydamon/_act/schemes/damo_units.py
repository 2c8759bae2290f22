"""Numbers of damo's scheme files: with the units that damo knows, and no others.

The grammar is damo's (`_model/damo_values.py`). A bare number has the unit that the name of its key
ends in; `"max"` is no bound. Each function takes a value of the JSON, and raises `UsageError` for a
value that damo would not write.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from pydamon._model.damo_values import BYTES, NS, Value, damo_quantities
from pydamon._model.errors import UsageError
from pydamon._model.plain import near, shown
from pydamon._model.rates import Rate
from pydamon._model.schemes.fields import Ns, Share
from pydamon._model.schemes.matching import UNBOUNDED, Age

__all__ = [
    "Value",
    "age",
    "basis_points",
    "bytes_of",
    "flag",
    "ms",
    "permil",
    "rate",
    "size_or_max",
    "thousandths",
    "us",
    "whole",
    "words",
]

_MAX_TEXT = 200
_MAX_DIGITS = 90
_ENDLESS = Ns(2**62)
"""The interval that `"max"` stands for."""
_RATE_UNITS = {"": 1, "%": 1, "percent": 1, "samples": 1, "hz": 1}
_TRUE, _FALSE = ("y", "yes", "true"), ("n", "no", "false")


def _amounts(value: Value, units: Mapping[str, object]) -> list[tuple[Fraction, str]]:
    """The numbers in a value with their units, at least one; all units are known."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UsageError(f"not a number: {shown(value)}")
    text = value.strip() if isinstance(value, str) else ""
    if text.startswith("-") or (not isinstance(value, str) and value < 0):
        raise UsageError(f"cannot be negative: {shown(value)}")
    if not isinstance(value, str):
        return [(Fraction(value), "")]
    amounts = damo_quantities(text) if len(text) <= _MAX_TEXT else []
    for digits, unit in amounts:
        if unit not in units:
            raise _unknown_unit(unit, units, value)
        if len(digits) > _MAX_DIGITS:
            amounts = []
    if not amounts:
        raise UsageError(f"not a number: {shown(value)}")
    return [(Fraction(Decimal(digits)), unit) for digits, unit in amounts]


def _unknown_unit(unit: str, units: Mapping[str, object], value: Value) -> UsageError:
    hint = f"units are {', '.join(filter(None, units)) or 'none'}"
    if not unit:
        return UsageError(f"a unit is missing: {shown(value)}", hint=hint)
    return UsageError(f"no unit is called {shown(unit)} here{near(unit, list(units))}", hint=hint)


def _amount(value: Value, units: Mapping[str, object]) -> tuple[Fraction, str]:
    """The number and the unit of a value that has one of each."""
    amounts = _amounts(value, units)
    if len(amounts) > 1:
        raise UsageError(f"not one number: {shown(value)}")
    return amounts[0]


def _number(value: Value, units: Mapping[str, int | Fraction]) -> Fraction:
    """The number of a value in the smallest unit."""
    number, unit = _amount(value, units)
    return number * units[unit]


def whole(value: Value) -> int:
    """A whole number."""
    number = _number(value, {"": 1})
    if number.denominator != 1:
        raise UsageError(f"not a whole number: {shown(value)}")
    if number > UNBOUNDED:
        raise UsageError(f"too large: {shown(value)}")
    return int(number)


def size_or_max(value: Value) -> int | None:
    """Bytes; `None` for `"max"`, and for more than any memory has."""
    if value in ("min", "max"):
        return 0 if value == "min" else None
    number = _number(value, BYTES)
    return int(number) if number <= UNBOUNDED else None


def bytes_of(value: Value) -> int:
    """Bytes, no more than an address can hold."""
    size_bytes = size_or_max(value)
    if size_bytes is None:
        raise UsageError(f"too large: {shown(value)}")
    return size_bytes


def _duration(value: Value, bare_ns: int) -> Ns:
    """A time, which may be a sum: "2 h 5 m"."""
    if value in ("min", "max"):
        return Ns(0) if value == "min" else _ENDLESS
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
    """A weight in thousandths: bare, or in percent."""
    return round(_number(value, {"": 1, "%": 10}))


def thousandths(value: Value) -> Share:
    """A share in thousandths: bare, or in percent."""
    share = Share(_number(value, {"": Fraction(1, 1000), "%": Fraction(1, 100)}))
    if share > 1:
        raise UsageError(f"more than 100 %: {shown(value)}")
    return share


def basis_points(value: Value) -> int:
    """A share in 10,000ths: bare, or in percent."""
    return round(_number(value, {"": 1, "%": 100}))


def rate(value: Value, unit: str = "percent") -> Rate | None:
    """An access rate; `None` is no bound. A bare number is of *unit*."""
    if value in ("min", "max"):
        return Rate(0) if value == "min" else None
    number, word = _amount(value, _RATE_UNITS)
    if number >= UNBOUNDED:
        return None  # damo writes a rate without a bound so
    word = {"": unit, "%": "percent"}.get(word, word)
    if word == "percent":
        if number > 100:
            raise UsageError(f"more than 100 %: {shown(value)}")
        return Rate(float(number), "%")
    if word == "hz":
        return Rate(float(number), "hz")
    if number.denominator != 1:
        raise UsageError(f"not a whole number of samples: {shown(value)}")
    return Rate(int(number))


def age(value: Value, unit: str = "usec") -> Age | None:
    """An age; `None` is no bound. A bare number is of *unit*."""
    if value in ("min", "max"):
        return Age(0) if value == "min" else None
    text = value.strip() if isinstance(value, str) else ""
    counted = text.removesuffix("aggr_intervals")
    if counted != text or (unit == "aggr_intervals" and not text[-1:].isalpha()):
        number = _number(counted if text else value, {"": 1})
        if number.denominator != 1:
            raise UsageError(f"not a whole number of aggregation intervals: {shown(value)}")
        return None if number > UNBOUNDED else Age(int(number))
    age_ns = _duration(value, 10**3)
    return None if age_ns >= _ENDLESS else Age(age_ns, "ns")


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
