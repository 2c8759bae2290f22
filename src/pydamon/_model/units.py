"""Durations, sizes, shares and addresses as people type them, and back.

One grammar serves all of them: a quantity is a number with a unit behind it. Each kind of quantity
has its table of units. `_model/damo_values.py` reads damo's dialect with the same grammar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

from pydamon._model.errors import UsageError
from pydamon._model.plain import shown

__all__ = [
    "DECIMAL",
    "UNIT",
    "Ns",
    "Share",
    "format_cpu",
    "format_duration",
    "format_size",
    "parse_address",
    "parse_address_range",
    "parse_duration_ns",
    "parse_percent",
    "parse_quantity",
    "parse_share",
    "parse_size",
    "quantities",
]

DECIMAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
"""A number without a sign."""
UNIT = r"(?:%|[^\W\d_]+(?:_[^\W\d_]+)*)"
_QUANTITY = re.compile(rf"\s*({DECIMAL})\s*({UNIT}|)\s*")
_NS = {
    "ns": 1,
    "us": 10**3,
    "\N{MICRO SIGN}s": 10**3,
    "\N{GREEK SMALL LETTER MU}s": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "sec": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_SIZE = {
    f"{prefix}{ending}": 1024**power
    for power, prefix in enumerate(("", "k", "m", "g", "t", "p", "e"))
    for ending in ("", "b", "ib")
}
_ADDRESS = re.compile(r"\s*(?:0[xX]([0-9a-fA-F]{1,16})|([0-9]{1,20}))\s*")
_ADDRESS_RANGE = re.compile(
    r"\s*(?:0[xX])?([0-9a-fA-F]{1,20})\s*-\s*(?:0[xX])?([0-9a-fA-F]{1,20})\s*"
)
_MAX_INT64 = 2**63 - 1
"""The most that a column of a region table holds."""
_MAX_ADDRESS = 2**64 - 1
_MAX_DIGITS = 100
_SHORT_NS = 10 * 10**9


class Ns(int):
    """Nanoseconds: a number that needs no unit any more."""


class Share(float):
    """A share of a whole, from 0 to 1: a number that needs no unit any more."""


def quantities(text: str, quantity: re.Pattern[str] = _QUANTITY) -> list[tuple[str, str]]:
    """Split a text into numbers and units: `"2 min 5 s"` is `[("2", "min"), ("5", "s")]`.

    The list is empty where anything else stands in the text. *quantity* matches one number and one
    unit, which may be empty, and the spaces around them.
    """
    pairs, at = [], 0
    while match := quantity.match(text, at):
        pairs.append((match[1], match[2]))
        at = match.end()
        if at == len(text):
            return pairs
    return []


def parse_quantity(text: str, units: Mapping[str, int]) -> Decimal | None:
    """The number of a text such as `"1.5 GiB"` in the smallest unit.

    `None` where the text is not one quantity with a unit of the table; `""` is the unit of a bare
    number. Raises `UsageError` for a number of very many digits.
    """
    match quantities(text):
        case [(digits, unit)] if unit in units:
            if len(digits) > _MAX_DIGITS:
                raise _too_large(text)
            return Decimal(digits) * units[unit]
    return None


def parse_duration_ns(value: str | timedelta) -> int:
    """Nanoseconds of a duration such as `"5ms"`, `"1.5s"`, `"2min"` or a `timedelta`.

    Raises `UsageError` for a number without a unit, an unknown unit and a negative duration.
    """
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise UsageError(f"a duration cannot be negative: {value}")
        return _int64(Decimal(value // timedelta(microseconds=1) * 1000), value)
    number = parse_quantity(str(value), _NS)
    if number is None:
        raise UsageError(f"not a duration: {shown(value)}", hint="write it like 5ms, 1.5s or 2min")
    return _int64(number, value)


def parse_size(value: str | int) -> int:
    """Bytes of a size such as `"4KiB"`, `"2M"` or `"1.5 GiB"`; every unit is a power of 1,024.

    Raises `UsageError` for text that is not a size and for a negative number.
    """
    if isinstance(value, int):
        if value < 0:
            raise UsageError(f"a size cannot be negative: {shown(value)}")
        return _int64(Decimal(value), value)
    number = parse_quantity(value.lower(), _SIZE) if isinstance(value, str) else None
    if number is None:
        raise UsageError(f"not a size: {shown(value)}", hint="write it like 4KiB, 64M or 1.5GiB")
    return _int64(number, value)


def parse_percent(text: str) -> float:
    """The number of a percentage such as `"2.5%"` or `"2.5"`; it may exceed 100."""
    number = parse_quantity(text, {"%": 1, "": 1})
    if number is None:
        raise UsageError(f"not a percentage: {shown(text)}", hint="write it like 2.5 or 2.5%")
    return float(number)


def parse_share(text: str) -> Share:
    """The share, 0 to 1, of a percentage such as `"99.7%"`.

    Raises `UsageError` for text without a percent sign and for more than 100 %.
    """
    number = parse_quantity(text, {"%": 1})
    if number is None or number > 100:
        raise UsageError(
            f"not a percentage from 0% to 100%: {shown(text)}", hint="write it like 40%"
        )
    return Share(number / 100)


def parse_address(text: str) -> int:
    """An address: decimal, or hexadecimal with `0x` before it."""
    match = _ADDRESS.fullmatch(text)
    address = -1 if match is None else int(match[1], 16) if match[1] else int(match[2])
    if not 0 <= address <= _MAX_ADDRESS:
        raise UsageError(f"not an address: {shown(text)}", hint="write it like 0x7f0012345000")
    return address


def parse_address_range(text: str) -> tuple[int, int]:
    """Start and end (exclusive) of `"START-END"`, both hexadecimal as in /proc/PID/maps."""
    match = _ADDRESS_RANGE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"not an address range: {shown(text)}", hint="write it in hexadecimal, like 1000-2fff"
        )
    start, end = int(match[1], 16), int(match[2], 16)
    if start >= end:
        raise UsageError(f"an address range must start below its end: {text}")
    if end > _MAX_INT64:
        raise UsageError(f"an address range lies outside what a process can map: {text}")
    return start, end


def format_duration(duration_ns: float) -> str:
    """A duration for people, with three digits or two units: `"5 ms"`, `"1.25 s"`, `"2 min 5 s"`.

    Examples
    --------
    >>> import pydamon
    >>> pydamon.format_duration(1_250_000_000)
    '1.25 s'
    """
    if duration_ns < 0:
        return f"-{format_duration(-duration_ns)}"
    # Each unit ends where its last digit would round up to the next unit.
    units = (("ns", 1, 999.5), ("us", 10**3, 999.5), ("ms", 10**6, 999.5), ("s", 10**9, 59.95))
    for unit, factor, end in units:
        if duration_ns < end * factor:
            return f"{duration_ns / factor:.3g} {unit}"
    seconds = round(duration_ns / 10**9)
    if seconds < 3600:
        parts = ((seconds // 60, "min"), (seconds % 60, "s"))
    else:
        minutes = round(seconds / 60)
        parts = ((minutes // 60, "h"), (minutes % 60, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def format_size(size_bytes: float) -> str:
    """A size for people, with about three digits: `"512 B"`, `"1.5 MiB"`, `"100 GiB"`.

    Examples
    --------
    >>> import pydamon
    >>> pydamon.format_size(3 << 19)
    '1.5 MiB'
    """
    if size_bytes < 0:
        return f"-{format_size(-size_bytes)}"
    number = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if number < 1023.5 or unit == "EiB":
            break
        number /= 1024
    digits = 0 if number >= 100 or unit == "B" else 1
    return f"{f'{number:.{digits}f}'.removesuffix('.0')} {unit}"


def format_cpu(cpu_ns: float, wall_ns: float) -> str:
    """CPU time as a share of one CPU, for people.

    The first seconds are mostly start-up, whose share would not last: they show seconds instead.
    """
    if wall_ns < _SHORT_NS:
        return f"{cpu_ns / 1e9:.2g} s of CPU time"
    percent = 100 * cpu_ns / wall_ns
    return f"{percent:.2g} % of one CPU" if percent < 9.95 else f"{percent:.0f} % of one CPU"


def _int64(number: Decimal, value: object) -> int:
    if number > _MAX_INT64:
        raise _too_large(value)
    return round(number)


def _too_large(value: object) -> UsageError:
    return UsageError(f"too large: {shown(value)}")
