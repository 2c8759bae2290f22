"""How bytes are distributed over access rates, ages, idle times, temperatures or region sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.mappings import snapshot_weights
from pydamon.analysis.temperature import last_whole
from pydamon.analysis.where import RegionColumns
from pydamon.analysis.workingset import PERCENTILES
from pydamon.core.errors import RecordingError, UsageError
from pydamon.recording import Recording

__all__ = ["IDLE_AGES_NS", "By", "Distribution", "Idle", "distribution", "idle"]

By: TypeAlias = Literal["rate", "age", "idle", "temperature", "size"]
"""What to count bytes by: the fields of the same names in filters."""

_S = 10**9
IDLE_AGES_NS = tuple(s * _S for s in (0, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 86400))
"""0 s, then ages up to a day."""
_INFINITE = 2**63 - 1


@dataclass(frozen=True)
class Distribution:
    """Mean bytes over the time that was recorded, in classes of `by`.

    Class i holds values from `low[i]` to below `high[i]`, shape (classes,), in the unit of `by`: ns
    for ages and idle times, 0 to 1 for rates, -100 to 100 for temperatures, bytes for sizes. Where
    both are the same, it holds just that value; the last class includes its upper end. `regions`
    is the mean number of regions. `percentiles` are pairs of a percentage and a value: of so many
    of the bytes it was at most that.
    """

    by: By
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    size_bytes: NDArray[np.float64]
    regions: NDArray[np.float64]
    percentiles: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Idle:
    """Bytes that have not been accessed for `ages_ns` or longer: shape (ages,) each.

    `last_bytes` counts the last snapshot: what reclaiming memory of that age would free then.
    `mean_bytes` is the mean over the time that was recorded, so what a policy that always does so
    would keep free, if none of it were accessed again. `total_bytes` and `mean_total_bytes` are
    what was monitored, `longest_ns` is the longest idle time found.
    """

    ages_ns: NDArray[np.int64]
    last_bytes: NDArray[np.int64]
    mean_bytes: NDArray[np.float64]
    total_bytes: int
    mean_total_bytes: float
    longest_ns: int


def distribution(recording: Recording, by: By = "rate") -> Distribution:
    """The distribution of the recorded bytes by one of their properties.

    Raises `UsageError` for an unknown one, `RecordingError` where there are no snapshots.
    """
    if by not in get_args(By):
        raise UsageError(f"there is no distribution by {by!r}: one of {', '.join(get_args(By))}")
    if len(recording) == 0:
        raise RecordingError("the recording has no snapshots")
    columns = RegionColumns(recording)
    values = columns.values(by)
    edges, zero_apart = _edges(by, values)
    weights = np.repeat(snapshot_weights(recording), np.diff(recording.snapshot_offsets))
    place = np.minimum(np.searchsorted(edges, values, side="right") - 1, len(edges) - 2)
    low, high = edges[:-1], edges[1:]
    if zero_apart:
        # Class 0 is what is 0, and the next one begins behind it.
        place = np.where(values == 0, 0, place + 1)
        low, high = np.append(0.0, low), np.append(0.0, high)
    size = columns.values("size") * weights
    size_bytes = np.bincount(place, size, len(low)).astype(np.float64)
    count = np.bincount(place, weights, len(low)).astype(np.float64)
    return Distribution(by, low, high, size_bytes, count, _percentiles(values, size))


def _percentiles(
    values: NDArray[Any], size: NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """Percentiles of *values*, each of which counts as much as its *size*."""
    if len(values) == 0:
        return ()
    order = np.argsort(values)
    total = np.cumsum(size[order])
    place = np.searchsorted(total, np.array(PERCENTILES) / 100 * total[-1])
    found = values[order[np.minimum(place, len(values) - 1)]].tolist()
    return tuple(zip(PERCENTILES, map(float, found), strict=True))


def idle(recording: Recording, ages_ns: tuple[int, ...] = IDLE_AGES_NS) -> Idle:
    """Bytes by idle time; raises `RecordingError` where there are no snapshots.

    What could not be observed counts as accessed. Raises `UsageError` for ages below 0.
    """
    if len(recording) == 0:
        raise RecordingError("the recording has no snapshots")
    if any(age < 0 for age in ages_ns):
        raise UsageError("an age is not negative")
    columns = RegionColumns(recording)
    size = columns.values("size")
    # An age of 0 asks for all that was found idle, not for what is accessed.
    idle_ns = np.where(recording.column("nr_accesses") == 0, columns.values("age"), -1)
    seen = size - recording.column("unobservable_bytes")
    weight = np.repeat(snapshot_weights(recording), np.diff(recording.snapshot_offsets))
    index = last_whole(recording)
    last = slice(*recording.snapshot_offsets[index : index + 2].tolist())
    ages = np.array(sorted(set(ages_ns)), np.int64)
    longest_ns = int(idle_ns.max(initial=0))
    place = np.searchsorted(ages, idle_ns, side="right")

    def at_least(amount: NDArray[np.float64], rows: slice) -> NDArray[np.float64]:
        counts = np.bincount(place[rows], amount[rows], len(ages) + 1)[1:]
        summed: NDArray[np.float64] = counts[::-1].cumsum()[::-1]
        return summed

    return Idle(
        ages,
        at_least(seen.astype(np.float64), last).round().astype(np.int64),
        at_least(seen * weight, slice(None)),
        int(size[last].sum()),
        float((size * weight).sum()),
        longest_ns,
    )


def _edges(by: By, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """The bounds of the classes, as far as there are values, and whether 0 is one of its own."""
    if by == "rate":
        return np.linspace(0, 1, 11), True
    if by == "temperature":
        return np.linspace(-100, 100, 21), False
    if by == "size":
        most = int(values.max(initial=1))
        exponent = np.arange(12, max(13, most.bit_length()) + 2, 2)
        return np.append(0.0, 2.0**exponent), False
    ages = np.array(IDLE_AGES_NS, np.float64)
    beyond = int(np.searchsorted(ages, values.max(initial=0), side="right"))
    return np.append(ages[: max(beyond, 1)], _INFINITE), by == "idle"
