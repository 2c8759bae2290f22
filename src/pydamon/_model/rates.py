"""Access rates: the one conversion between samples, shares of samples and accesses a second.

A monitor looks at pages of each region once a sampling interval, so it can tell at most one access
an interval. `access_share` is the share of these intervals with an access. A region has a rate of

- `access_share * max_nr_accesses` samples, in an aggregation of `max_nr_accesses`;
- `100 * access_share` percent;
- `access_share / sampling interval` Hz: accesses a second as far as samples can tell them, so never
  more than the sampling rate.

Rates in samples and percent are those of one window: 0 where no access was found in it. A rate in
Hz is the estimate from the last windows, too: of memory that is accessed twice a second, most
windows have no access. Schemes and filters of recordings convert here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from pydamon._model.errors import UsageError
from pydamon._model.plain import shown
from pydamon._model.units import quantities

__all__ = ["Rate"]

_UNITS = {
    "%": ("%", 1),
    "samples": ("samples", 1),
    "hz": ("hz", 1),
    "khz": ("hz", 10**3),
    "mhz": ("hz", 10**6),
}
_MAX_INT64 = 2**63 - 1
_MAX_DIGITS = 40
_PLACES = 9
_HINT = 'write it like 3 (samples), "5%" or "20Hz"'


@dataclass(frozen=True, slots=True)
class Rate:
    """An access rate: how often a region is accessed.

    Parameters
    ----------
    value
        0 or more; at most 100 for a percentage.
    unit
        `"samples"` that found an access in one aggregation, `"%"` of the samples, or `"hz"`:
        accesses a second.

    Raises
    ------
    UsageError
        For an unknown unit or a value out of bounds.

    Examples
    --------
    >>> import pydamon
    >>> rate = pydamon.AccessPattern(min_rate="20Hz").min_rate
    >>> rate
    Rate(value=20.0, unit='hz')
    >>> rate.samples(max_nr_accesses=20, sampling_ns=5_000_000)
    2.0
    """

    value: float
    unit: str = "samples"

    def __post_init__(self) -> None:
        if self.unit not in ("samples", "%", "hz"):
            raise UsageError(f"not a unit of access rates: {shown(self.unit)}", hint=_HINT)
        if not (0 <= self.value < math.inf and (self.unit != "%" or self.value <= 100)):
            raise UsageError(f"not an access rate: {self.value:g} {self.unit}", hint=_HINT)

    @classmethod
    def of(cls, value: Rate | str | int) -> Rate:
        """A rate from a number of samples, or from text such as `"5%"` and `"20Hz"`."""
        if isinstance(value, Rate):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UsageError(f"not an access rate: {shown(value)}", hint=_HINT)
        if value > _MAX_INT64:
            raise UsageError(f"too large: {shown(value)}")
        return cls(value)

    @classmethod
    def parse(cls, text: str, bare: tuple[str, int] = ("samples", 1)) -> Rate:
        """A rate from text; a number without a unit counts in *bare*, a unit and a factor."""
        match quantities(text.lower()):
            case [(digits, name)] if len(digits) <= _MAX_DIGITS and name in ("", *_UNITS):
                unit, factor = _UNITS[name] if name else bare
                number = Decimal(digits) * factor
                if unit != "%" or number <= 100:
                    return cls(float(number), unit)
        raise UsageError(f"not an access rate: {shown(text)}", hint=_HINT)

    def __str__(self) -> str:
        return f"{self.value:g}{'Hz' if self.unit == 'hz' else self.unit.replace('samples', '')}"

    def samples(self, max_nr_accesses: int, sampling_ns: int) -> float:
        """The number of samples, of *max_nr_accesses* every *sampling_ns*, that makes this rate.

        It is a threshold for `nr_accesses`. It need not be whole, and has 9 decimal places, because
        20 samples must not become 19 by an error in the last digit.
        """
        samples = self.value
        if self.unit == "%":
            samples = self.value / 100 * max_nr_accesses
        elif self.unit == "hz":
            samples = self.value * sampling_ns / 1e9 * max_nr_accesses
        return round(samples, _PLACES)
