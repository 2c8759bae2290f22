"""Access rates of many regions: the shares of sampling intervals with an access."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._model.rates import Rate

__all__ = ["MeasuredRates", "counted_shares", "rates_hz", "reached", "significant", "stored_shares"]

_LEAST = 1e-30


@dataclass(frozen=True, slots=True)
class MeasuredRates:
    """What is known of the access rates of regions; arrays of shape (regions,), or numbers."""

    nr_accesses: NDArray[np.int64]
    max_nr_accesses: NDArray[np.int64] | int
    access_share: NDArray[np.float64]
    sampling_ns: NDArray[np.int64] | int

    @property
    def access_rate(self) -> NDArray[np.float64]:
        """`access_share`, and 0 where no access was found in the window."""
        return np.where(self.nr_accesses > 0, self.access_share, 0.0)

    @property
    def accesses(self) -> NDArray[np.float64]:
        """`nr_accesses` as real numbers.

        At least 1 where an access was found, so that a pattern of 0 samples and one of 1 sample or
        more leave no region between them.
        """
        accesses = np.maximum(self.access_share * self.max_nr_accesses, 1.0)
        return np.where(self.nr_accesses > 0, accesses, 0.0)


def reached(
    rate: Rate, measured: MeasuredRates, compare: Callable[[Any, Any], Any]
) -> NDArray[np.bool_]:
    """Which measured rates compare so with *rate*: shape (regions,).

    A rate in Hz is compared with `access_share`, any other with the accesses in the window.
    """
    if rate.unit == "samples":
        values = measured.accesses
    elif rate.unit == "%":
        values = 100 * measured.access_rate
    else:
        values = rates_hz(measured.access_share, measured.sampling_ns)
    return significant(values, rate.value, compare)


def significant(
    values: NDArray[np.float64], value: float, compare: Callable[[Any, Any], Any]
) -> NDArray[np.bool_]:
    """Which values compare so with *value* in six digits, and in all digits before the point.

    Recordings hold shares in single precision: its seventh digit must not decide.
    """
    mask: NDArray[np.bool_] = compare(_six_digits(values), _six_digits(np.float64(value)))
    return mask


def _six_digits(values: Any) -> Any:
    exponent = np.floor(np.log10(np.maximum(values, _LEAST)))
    scale = 10.0 ** np.maximum(5 - exponent, 0)
    return np.rint(values * scale) / scale


def counted_shares(
    nr_accesses: NDArray[np.int64], max_nr_accesses: NDArray[np.int64] | int
) -> NDArray[np.float64]:
    """The share of samples that found an access: what `access_share` is where it was not told."""
    shares: NDArray[np.float64] = nr_accesses / np.maximum(max_nr_accesses, 1)
    return shares


def stored_shares(
    nr_accesses: NDArray[np.int64],
    max_nr_accesses: NDArray[np.int64],
    access_share: NDArray[np.float32],
) -> NDArray[np.float64]:
    """`access_share` of a recording, as exact as the counts where both say the same.

    3 of 20 samples are 15 %, and not the 15.0000006 % that single precision makes of it. NaN stands
    for a share that is not known, for which the counts stand in.
    """
    counted = counted_shares(nr_accesses, max_nr_accesses)
    is_counted = (access_share == counted.astype(np.float32)) | np.isnan(access_share)
    return np.where(is_counted, counted, access_share)


def rates_hz(
    access_share: NDArray[np.float64], sampling_ns: NDArray[np.int64] | int
) -> NDArray[np.float64]:
    """Accesses a second, as far as sampling intervals can tell them: shape (regions,)."""
    rates: NDArray[np.float64] = access_share * (1e9 / np.maximum(sampling_ns, 1))
    return rates
