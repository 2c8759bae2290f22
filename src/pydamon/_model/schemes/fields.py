"""Fields of schemes: what people may write for them, and errors that name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import attrs

from pydamon._model.errors import UsageError
from pydamon._model.plain import near, shown
from pydamon._model.units import parse_duration_ns, parse_size

__all__ = [
    "Ns",
    "all_of",
    "basis_points",
    "count",
    "duration_ns",
    "flag",
    "is_inherited",
    "naming",
    "one_of",
    "optional_count",
    "optional_size",
    "optional_text",
    "permil",
    "share",
    "size",
    "text",
]

T = TypeVar("T")
_MOST = 2**63 - 1
_PERCENT = "write it like 40%"
_PERCENTAGE = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{0,20})?)\s*%\s*")


def naming(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Make the converters of a class put the field's name before what they complain about."""
    return [
        f if is_inherited(f) else f.evolve(converter=_named(f.alias or f.name, f.converter))
        for f in fields
    ]


def is_inherited(one: attrs.Attribute[Any]) -> bool:
    """Whether a field is of a base class (attrs' stubs do not know that it tells)."""
    return bool(one.inherited)  # type: ignore[attr-defined]


def _named(name: str, converter: Any) -> Callable[[Any], Any] | None:
    if converter is None:
        return None

    def convert(value: Any) -> Any:
        try:
            return converter(value)
        except UsageError as error:
            raise UsageError(f"{name}: {error}", hint=error.hint) from None
        except (TypeError, AttributeError, ValueError, ArithmeticError):
            raise UsageError(f"{name}: cannot be {shown(value)}") from None

    return convert


def size(value: str | int) -> int:
    """Bytes, as in 4096 or "4KiB"."""
    _not(bool, value)
    return parse_size(value)


def optional_size(value: str | int | None) -> int | None:
    """The same; `None` is no bound."""
    return None if value is None else size(value)


class Ns(int):
    """Nanoseconds: a number that needs no unit any more."""


def duration_ns(value: str | timedelta | Ns) -> Ns:
    """Nanoseconds, of "10ms" or a timedelta."""
    if isinstance(value, Ns):
        return value
    if not isinstance(value, (str, timedelta)):
        raise UsageError(
            f"not a duration: {shown(value)}", hint='write it like "5ms", "1.5s" or "2min"'
        )
    return Ns(parse_duration_ns(value))


def count(value: int) -> int:
    """A whole number that is not negative."""
    _not(bool, value)
    if not isinstance(value, int) or value < 0:
        raise UsageError(f"not a whole number of 0 or more: {shown(value)}")
    if value > _MOST:
        raise UsageError(f"too large: {shown(value)}")
    return value


def permil(value: str | int) -> int:
    """A share in thousandths, or text in percent: "50%"."""
    if isinstance(value, str):
        return _percent_in(value, 1000)
    if count(value) > 1000:
        raise UsageError(f"a share in thousandths is at most 1000: {shown(value)}", hint=_PERCENT)
    return value


def basis_points(value: str | int) -> int:
    """A share in 10,000ths, or text in percent: "99.7%"."""
    return _percent_in(value, 10_000) if isinstance(value, str) else count(value)


def share(value: str | float) -> float:
    """A share from 0 to 1, or text in percent: "10%"."""
    _not(bool, value)
    if isinstance(value, str):
        return _percent_in(value, 10**9) / 10**9
    if not 0 <= value <= 1:
        raise UsageError(f"not a share from 0 to 1: {shown(value)}", hint=_PERCENT)
    return float(value)


def _percent_in(value: str, whole: int) -> int:
    """So many parts of *whole* as a percentage says."""
    match = _PERCENTAGE.fullmatch(value)
    if match is None or Decimal(match[1]) > 100:
        raise UsageError(f"not a percentage from 0% to 100%: {shown(value)}", hint=_PERCENT)
    return round(Decimal(match[1]) * whole / 100)


def flag(value: bool) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise UsageError(f"not true or false: {shown(value)}")
    return value


def optional_count(value: int | None) -> int | None:
    """A whole number, or nothing."""
    return None if value is None else count(value)


def text(value: str) -> str:
    """Text."""
    if not isinstance(value, str):
        raise UsageError(f"not text: {shown(value)}")
    if "\0" in value:
        raise UsageError(f"cannot be {shown(value)}")
    return value


def optional_text(value: str | None) -> str | None:
    """Text, or nothing."""
    return None if value is None else text(value)


def all_of(kind: type[T], values: Iterable[T]) -> tuple[T, ...]:
    """Some objects of a kind."""
    found = tuple(values)
    for value in found:
        if not isinstance(value, kind):
            raise UsageError(f"not a {kind.__name__}: {shown(value)}")
    return found


def one_of(value: str, names: Collection[str]) -> str:
    """One of some names."""
    hint = f"choose from {', '.join(names)}"
    if not isinstance(value, str):
        raise UsageError(f"not a word: {shown(value)}", hint=hint)
    if value not in names:
        raise UsageError(f"there is no {shown(value)}{near(value, names)}", hint=hint)
    return value


def _not(kind: type, value: object) -> None:
    if isinstance(value, kind):
        raise UsageError(f"cannot be {shown(value)}")
