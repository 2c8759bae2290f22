"""Converters of fields that people write: text with units into numbers, and errors with names.

Schemes, policies and configurations are attrs classes, because only attrs has converters that mypy
understands: `Quota(time="10ms")` is checked, and `quota.time_ns` is an `int`. Everything that
nobody writes by hand is a dataclass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import attrs

from pydamon._model.errors import UsageError
from pydamon._model.plain import near, shown
from pydamon._model.units import Ns, Share, parse_duration_ns, parse_share, parse_size

__all__ = [
    "Ns",
    "Share",
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
    "thousandths",
]

T = TypeVar("T")
_MAX_INT64 = 2**63 - 1
_PERCENT_HINT = "write it like 40%"


def naming(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Make the converters of a class begin their complaints with the name of the field."""
    return [
        field
        if is_inherited(field)
        else field.evolve(converter=_named(field.alias or field.name, field.converter))
        for field in fields
    ]


def is_inherited(field: attrs.Attribute[Any]) -> bool:
    """Whether a field belongs to a base class (attrs' stubs lack the attribute)."""
    return bool(field.inherited)  # type: ignore[attr-defined]


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
    """Bytes, from a number or text such as "4KiB"."""
    _refuse_bool(value)
    return parse_size(value)


def optional_size(value: str | int | None) -> int | None:
    """Bytes, or `None` for no bound."""
    return None if value is None else size(value)


def duration_ns(value: str | timedelta | Ns) -> Ns:
    """Nanoseconds, from text such as "10ms" or a timedelta."""
    if isinstance(value, Ns):
        return value
    if not isinstance(value, (str, timedelta)):
        raise UsageError(
            f"not a duration: {shown(value)}", hint='write it like "5ms", "1.5s" or "2min"'
        )
    return Ns(parse_duration_ns(value))


def count(value: int) -> int:
    """A whole number of 0 or more."""
    _refuse_bool(value)
    if not isinstance(value, int) or value < 0:
        raise UsageError(f"not a whole number of 0 or more: {shown(value)}")
    if value > _MAX_INT64:
        raise UsageError(f"too large: {shown(value)}")
    return value


def share(value: str | float) -> Share:
    """A share, from a number of 0 to 1 or text in percent: "10%"."""
    _refuse_bool(value)
    if isinstance(value, str):
        return parse_share(value)
    if not 0 <= value <= 1:
        raise UsageError(f"not a share from 0 to 1: {shown(value)}", hint=_PERCENT_HINT)
    return Share(value)


def thousandths(value: str | int | Share) -> Share:
    """A share, from a whole number of thousandths or text in percent: "50%"."""
    return _share_of(value, 1000, "a share in thousandths is at most 1000")


def basis_points(value: str | int | Share) -> Share:
    """A share, from a whole number of 10,000ths or text in percent: "99.7%"."""
    return _share_of(value, 10_000, "a share in 10,000ths is at most 10,000")


def permil(value: str | int) -> int:
    """Thousandths, as a file of the kernel's holds them, from a number or text in percent."""
    return round(1000 * thousandths(value))


def _share_of(value: str | int | Share, whole: int, complaint: str) -> Share:
    if isinstance(value, Share):
        return value
    if isinstance(value, str):
        return parse_share(value)
    if count(value) > whole:
        raise UsageError(f"{complaint}: {shown(value)}", hint=_PERCENT_HINT)
    return Share(value / whole)


def flag(value: bool) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise UsageError(f"not true or false: {shown(value)}")
    return value


def optional_count(value: int | None) -> int | None:
    """A whole number of 0 or more, or `None`."""
    return None if value is None else count(value)


def text(value: str) -> str:
    """Text."""
    if not isinstance(value, str):
        raise UsageError(f"not text: {shown(value)}")
    if "\0" in value:
        raise UsageError(f"cannot be {shown(value)}")
    return value


def optional_text(value: str | None) -> str | None:
    """Text, or `None`."""
    return None if value is None else text(value)


def all_of(kind: type[T], values: Iterable[T]) -> tuple[T, ...]:
    """Objects of a class, as a tuple."""
    objects = tuple(values)
    for value in objects:
        if not isinstance(value, kind):
            raise UsageError(f"not a {kind.__name__}: {shown(value)}")
    return objects


def one_of(value: str, names: Collection[str]) -> str:
    """A word from a list of words."""
    hint = f"choose from {', '.join(names)}"
    if not isinstance(value, str):
        raise UsageError(f"not a word: {shown(value)}", hint=hint)
    if value not in names:
        raise UsageError(f"there is no {shown(value)}{near(value, names)}", hint=hint)
    return value


def _refuse_bool(value: object) -> None:
    if isinstance(value, bool):
        raise UsageError(f"cannot be {shown(value)}")
