"""Fields of schemes: what people may write for them, and errors that name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import attrs

from pydamon.core.errors import UsageError
from pydamon.core.units import parse_duration_ns, parse_size

__all__ = [
    "Ns",
    "all_of",
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
        except (TypeError, AttributeError):
            raise UsageError(f"{name}: cannot be {value!r}") from None

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
        raise UsageError(f"not a duration: {value!r}", hint='write it like "5ms", "1.5s" or "2min"')
    return Ns(parse_duration_ns(value))


def count(value: int) -> int:
    """A whole number that is not negative."""
    _not(bool, value)
    if not isinstance(value, int) or value < 0:
        raise UsageError(f"not a whole number of 0 or more: {value!r}")
    return value


def permil(value: int | str) -> int:
    """A share in thousandths, of that or of a percentage: 400 or "40%"."""
    if isinstance(value, str):
        return round(10 * _percentage(value))
    if count(value) > 1000:
        raise UsageError(f"a share in thousandths is at most 1000: {value}")
    return value


def share(value: float | str) -> float:
    """A share from 0 to 1, of that or of a percentage: 0.1 or "10%"."""
    if isinstance(value, str):
        return _percentage(value) / 100
    _not(bool, value)
    if not 0 <= value <= 1:
        raise UsageError(f"not a share from 0 to 1: {value!r}")
    return float(value)


def flag(value: bool) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise UsageError(f"not true or false: {value!r}")
    return value


def optional_count(value: int | None) -> int | None:
    """A whole number, or nothing."""
    return None if value is None else count(value)


def text(value: str) -> str:
    """Text."""
    if not isinstance(value, str):
        raise UsageError(f"not text: {value!r}")
    return value


def optional_text(value: str | None) -> str | None:
    """Text, or nothing."""
    return None if value is None else text(value)


def all_of(kind: type[T], values: Iterable[T]) -> tuple[T, ...]:
    """Some objects of a kind."""
    found = tuple(values)
    for value in found:
        if not isinstance(value, kind):
            raise UsageError(f"not a {kind.__name__}: {value!r}")
    return found


def one_of(value: str, names: Iterable[str]) -> str:
    """One of some names."""
    if not isinstance(value, str) or value not in names:
        raise UsageError(f"there is no {value!r}", hint=f"choose from {', '.join(names)}")
    return value


def _percentage(value: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*%\s*", value)
    if match is None or float(match[1]) > 100:
        raise UsageError(f"not a percentage from 0% to 100%: {value!r}", hint="write it like 40%")
    return float(match[1])


def _not(kind: type, value: object) -> None:
    if isinstance(value, kind):
        raise UsageError(f"cannot be {value!r}")
