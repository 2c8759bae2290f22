"""Durations and sizes as people type them, and back."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

from pydamon._model.errors import UsageError
from pydamon._model.plain import shown

__all__ = ["format_cpu", "format_duration", "format_size", "parse_duration_ns", "parse_size"]

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
_SIZE = {unit: 1024**power for power, unit in enumerate(("", "k", "m", "g", "t", "p", "e"))}
_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([^\W\d_]*)\s*")
_MOST = 2**63 - 1
"""What the columns of a region table can hold."""
_MOST_DIGITS = 100
_SHORT_NS = 10 * 10**9


def parse_duration_ns(value: str | timedelta) -> int:
    """Nanoseconds of a duration such as `"5ms"`, `"1.5s"`, `"2min"` or a `timedelta`.

    Raises `UsageError` for a number without a unit, an unknown unit and a negative duration.
    """
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise UsageError(f"a duration cannot be negative: {value}")
        return _within(value // timedelta(microseconds=1) * 1000, value)
    # A number needs a unit, also one that is not written as text.
    match = _NUMBER.fullmatch(str(value))
    factor = _NS.get(match[2]) if match else None
    if match is None or factor is None:
        raise UsageError(f"not a duration: {shown(value)}", hint="write it like 5ms, 1.5s or 2min")
    return _times(match[1], factor, value)


def parse_size(value: str | int) -> int:
    """Bytes of a size such as `"4KiB"`, `"2M"` or `"1.5 GiB"`; every unit is a power of 1,024.

    Raises `UsageError` for what is not a size.
    """
    if isinstance(value, int):
        if value < 0:
            raise UsageError(f"a size cannot be negative: {shown(value)}")
        return _within(value, value)
    match = _NUMBER.fullmatch(value)
    factor = _SIZE.get(re.sub(r"i?b$", "", match[2].lower())) if match else None
    if match is None or factor is None:
        raise UsageError(f"not a size: {shown(value)}", hint="write it like 4KiB, 64M or 1.5GiB")
    return _times(match[1], factor, value)


def format_duration(duration_ns: float) -> str:
    """A duration for people, to three digits or parts: `"5 ms"`, `"1.25 s"`, `"2 min 5 s"`."""
    if duration_ns < 0:
        return f"-{format_duration(-duration_ns)}"
    # Each unit ends where its last digit would round up to the next one.
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
    """A size for people, to three digits or so: `"512 B"`, `"1.5 MiB"`, `"100 GiB"`."""
    if size_bytes < 0:
        return f"-{format_size(-size_bytes)}"
    number = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if number < 1023.5 or unit == "EiB":
            break
        number /= 1024
    digits = 0 if number >= 100 or unit == "B" else 1
    return f"{f'{number:.{digits}f}'.removesuffix('.0')} {unit}"


def _times(digits: str, factor: int, value: object) -> int:
    if len(digits) > _MOST_DIGITS:
        raise UsageError(f"too large: {shown(value)}")
    return _within(round(Decimal(digits) * factor), value)


def _within(number: int, value: object) -> int:
    if number > _MOST:
        raise UsageError(f"too large: {shown(value)}")
    return number


def format_cpu(cpu_ns: float, wall_ns: float) -> str:
    """What something took of a CPU in a time, for people.

    In the first seconds, of which the start is most, a share would say what does not stay so.
    """
    if wall_ns < _SHORT_NS:
        return f"{cpu_ns / 1e9:.2g} s of CPU time"
    share = 100 * cpu_ns / wall_ns
    return f"{share:.2g} % of one CPU" if share < 9.95 else f"{share:.0f} % of one CPU"
