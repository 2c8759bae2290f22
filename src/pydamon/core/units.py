"""Durations and sizes as people type them, and back."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from pydamon.core.errors import UsageError

__all__ = ["format_duration", "format_size", "parse_duration_ns", "parse_size"]

_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "sec": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_SIZE = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Zµ]*)\s*")


def parse_duration_ns(value: str | timedelta) -> int:
    """Nanoseconds of a duration such as `"5ms"`, `"1.5s"`, `"2min"` or a `timedelta`.

    Raises `UsageError` for a number without a unit, an unknown unit and a negative duration.
    """
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise UsageError(f"a duration cannot be negative: {value}")
        return round(value / timedelta(microseconds=1)) * 1000
    match = _NUMBER.fullmatch(value)
    factor = _NS.get(match[2]) if match else None
    if match is None or factor is None:
        raise UsageError(f"not a duration: {value!r}", hint="write it like 5ms, 1.5s or 2min")
    return round(float(match[1]) * factor)


def parse_size(value: str | int) -> int:
    """Bytes of a size such as `"4KiB"`, `"2M"` or `"1.5 GiB"`; every unit is a power of 1,024.

    Raises `UsageError` for what is not a size.
    """
    if isinstance(value, int):
        if value < 0:
            raise UsageError(f"a size cannot be negative: {value}")
        return value
    match = _NUMBER.fullmatch(value)
    factor = _SIZE.get(re.sub(r"i?b$", "", match[2].lower())) if match else None
    if match is None or factor is None:
        raise UsageError(f"not a size: {value!r}", hint="write it like 4KiB, 64M or 1.5GiB")
    return round(float(match[1]) * factor)


def format_duration(duration_ns: float) -> str:
    """A duration for people, to three digits: `"5 ms"`, `"1.25 s"`, `"2 min 5 s"`."""
    if duration_ns < 0:
        return f"-{format_duration(-duration_ns)}"
    for unit, factor in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if duration_ns >= factor:
            break
    else:
        return f"{duration_ns:.0f} ns"
    if duration_ns < 60 * 10**9:
        return f"{duration_ns / factor:.3g} {unit}"
    seconds = round(duration_ns / 10**9)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    parts = ((hours, "h"), (minutes, "min"), (seconds % 60 if not hours else 0, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def format_size(size_bytes: float) -> str:
    """A size for people, to three digits or so: `"512 B"`, `"1.5 MiB"`, `"100 GiB"`."""
    if size_bytes < 0:
        return f"-{format_size(-size_bytes)}"
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = 0 if size_bytes < 1 else min(int(math.log2(size_bytes) // 10), len(units) - 1)
    number = size_bytes / 1024**power
    digits = 0 if number >= 100 or power == 0 else 1
    text = f"{number:.{digits}f}"
    return f"{text.removesuffix('.0')} {units[power]}"
