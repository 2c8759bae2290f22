r"""A line for each region in a format that people write: `"{start} {size:MiB} {hz} {age}"`.

A field is `{NAME}`, `{NAME:UNIT}`, or has a width: `{size:>9}`, `{size:KiB>9}`. Without a unit
a field is text for people, such as `64 MiB`; with a unit it is a number in that unit. `{{` and `}}`
are braces, and `\n` and `\t` a new line and a tab.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from string import Formatter
from typing import TypeAlias

from pydamon._data.analysis import RankedRegion
from pydamon._model.display import blanked, printable
from pydamon._model.errors import UsageError
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.plain import near, shown
from pydamon._model.units import format_duration, format_size

__all__ = ["REGION_FIELDS", "RegionFormat", "parse_region_format"]

_SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZES["pages"] = SMALLEST_PAGE
_TIMES = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_UNKNOWN = "?"
_SPEC = re.compile(r"([A-Za-z%]*)([<>^][0-9]{1,4})?")
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}
_MAX_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class _Field:
    """A field: its value, how people read it, and by what a unit divides it."""

    value: Callable[[RankedRegion], float | str]
    text: Callable[[float], str]
    units: dict[str, float]


def _size(value: Callable[[RankedRegion], float]) -> _Field:
    return _Field(value, format_size, dict(_SIZES))


def _address(value: Callable[[RankedRegion], float]) -> _Field:
    return _Field(value, lambda address: f"{int(address):x}", dict(_SIZES))


def _name(value: Callable[[RankedRegion], str]) -> _Field:
    return _Field(value, str, {})


REGION_FIELDS = {
    "start": _address(lambda region: region.start),
    "end": _address(lambda region: region.end),
    "size": _size(lambda region: region.size),
    "rate": _Field(lambda region: region.rate, lambda rate: f"{rate:.1%}", {"%": 0.01}),
    "hz": _Field(lambda region: region.access_hz, lambda hz: f"{hz:.3g} Hz", {"hz": 1.0}),
    "age": _Field(lambda region: region.age_ns, format_duration, dict(_TIMES)),
    "temperature": _Field(lambda region: region.temperature, lambda heat: f"{heat:.0f}", {}),
    "touched": _size(lambda region: region.touched_bytes),
    "resident": _size(lambda region: region.resident_bytes),
    "unobservable": _size(lambda region: region.unobservable_bytes),
    "unseen": _size(lambda region: region.unseen_bytes),
    "mapping": _name(lambda region: region.mapping),
    "perms": _name(lambda region: region.perms),
    "target": _name(lambda region: region.target.name),
    "pid": _Field(lambda region: region.target.pid, lambda pid: f"{int(pid)}", {}),
    "host": _name(lambda region: region.target.host),
}
"""The fields of a format by name."""
_MAY_BE_UNKNOWN = ("age", "resident")
"""Fields in which a negative number stands for an unknown value."""

_Part: TypeAlias = Callable[[RankedRegion], str]


@dataclass(frozen=True, slots=True)
class RegionFormat:
    """A format that has been parsed: see `parse_region_format`."""

    text: str
    _parts: tuple[_Part, ...]

    def line(self, region: RankedRegion) -> str:
        """The text for a region."""
        return "".join(part(region) for part in self._parts)


def parse_region_format(text: str) -> RegionFormat:
    """Parse a format; raises `UsageError` for unknown fields and units."""
    if len(text) > _MAX_CHARACTERS:
        raise UsageError(f"a format has at most {_MAX_CHARACTERS:,} characters")
    unescaped = re.sub(r"\\[nt\\]", lambda match: _ESCAPES[match[0]], text)
    parts: list[_Part] = []
    try:
        pieces = list(Formatter().parse(unescaped))
    except ValueError as error:
        raise UsageError(
            f"cannot read the format {shown(text)}: {error}", hint="write a brace as {{ or }}"
        ) from None
    for literal, name, spec, conversion in pieces:
        if literal:
            parts.append(_constant(literal))
        if name is not None:
            if conversion is not None:
                raise UsageError(f"!{conversion} has no meaning in the format {shown(text)}")
            parts.append(_part(name, spec or ""))
    return RegionFormat(text, tuple(parts))


def _constant(text: str) -> _Part:
    return lambda _: text


def _part(name: str, spec: str) -> _Part:
    field = REGION_FIELDS.get(name)
    if field is None:
        raise UsageError(
            f"no field of a region: {{{blanked(name)[:40]}}}{near(name, REGION_FIELDS)}",
            hint=f"fields: {', '.join(REGION_FIELDS)}",
        )
    match = _SPEC.fullmatch(spec)
    unit, width = (match[1], match[2] or "") if match else ("", "")
    if match is None or (unit and unit not in field.units):
        known = ", ".join(field.units) or "none"
        raise UsageError(
            f"{{{name}}} has no unit {shown(spec)}",
            hint=f"units: {known}; a width is {{{name}:>9}}",
        )

    def part(region: RankedRegion) -> str:
        return format(_text(field, field.value(region), name, unit), width)

    return part


def _text(field: _Field, value: float | str, name: str, unit: str) -> str:
    """The value as text, or as a number in a unit."""
    if isinstance(value, str):
        return printable(value)
    if math.isnan(value) or (value < 0 and name in _MAY_BE_UNKNOWN):
        return _UNKNOWN
    if not unit:
        return field.text(value)
    factor = field.units[unit]
    if factor == 1 and isinstance(value, int):
        return str(value)
    return f"{value / factor:.15g}" if isinstance(value, int) else f"{value / factor:.6g}"
