"""Workloads that access memory as a recording says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording import AnyRecording
from pydamon._model.display import printable
from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.runs import running_total
from pydamon._model.snapshot import Target
from pydamon._model.units import format_size
from pydamon._workloads.cells import Cells, cells_of
from pydamon._workloads.masim import Config, Pattern, Phase, Region
from pydamon._workloads.seldom import RATES_HZ, seldom_pages, touched_pages
from pydamon._workloads.workload import Workload

__all__ = ["from_recording"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_REGIONS = 200
_MOST_PHASES = 200
_ALWAYS = 0.9
"""Pages that are accessed in this share of sampling intervals are accessed all the time."""
_ALWAYS_PER_INTERVAL = 5.0
"""Such pages are accessed so often in a sampling interval."""
_PERIOD_MS = 1.0
_RATE_TOLERANCE = 1.5
_TURN_TOLERANCE = 1.1
_BISECTIONS = 40
_WEIGHTS = 10**6
"""The sum of the weights of a phase, about."""
_REPORT_MS = 500


def from_recording(
    recording: AnyRecording,
    *,
    speed: float = 1.0,
    scale: float = 1.0,
    max_regions: int = _MOST_REGIONS,
    max_phases: int = _MOST_PHASES,
) -> Workload:
    """Make a workload that accesses memory as a recording says.

    Parameters
    ----------
    recording
        The recording. All its targets are replayed by one process, side by side; `of_pid` and
        `slice` select a part of it.
    speed
        How many times as fast to replay it: phases are shorter, and accesses more frequent.
    scale
        The size of the memory, relative to what was recorded.
    max_regions, max_phases
        The largest number of regions, and of phases. Neighbours that are most alike are merged.

    Returns
    -------
    Workload
        The workload, which ends after the last phase. A region's name is the address at which it
        began, after the pid if there are several targets.

    Raises
    ------
    UsageError
        If a number makes no sense.
    RecordingError
        If there are no snapshots, or none of the memory was accessed.

    Notes
    -----
    Only memory that was resident is allocated, without the gaps in between. It is written once at
    the start, and idle memory is then left alone. A recorded region has two figures: the share
    of sampling intervals with an access, as a mean over its pages, and the bytes that were accessed
    in a window. Both are kept. Pages that are accessed at random at the mean share would
    touch so many bytes in a window; where fewer were touched, only a part of the pages is accessed,
    but more often. That part is a comb: pages at equal distances. A run of pages would have
    been recorded as a region of its own. Where more were touched than random accesses reach,
    pages are accessed in turn. Ages of pages, where the recording has them, tell what came back
    after how long a rest: so many pages are accessed at random, once in seconds or minutes.

    A recording does not tell reads from writes: the workload writes.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> from pydamon.workloads import from_recording
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> workload = from_recording(recording)
    >>> pydamon.format_size(workload.size_bytes)
    '256 MiB'
    >>> replayed = workload.simulated()
    >>> *_, snapshot = pydamon.simulate(replayed.trace, replayed.ranges).run("2s")
    >>> abs(snapshot.working_set() / (64 << 20) - 1) < 0.05
    True
    """
    for name, value in (("speed", speed), ("scale", scale)):
        if not 0 < value < math.inf:
            raise UsageError(f"{name} is a number above 0, not {value}")
    if max_regions < 1 or max_phases < 1:
        raise UsageError("a replay has at least one region and one phase")
    cells = cells_of(recording).merged(max_regions, max_phases)
    for amount, verb in ((cells.resident, "resident"), (cells.touched, "accessed")):
        if not amount.any():
            raise RecordingError(
                f"no memory of the recording was {verb}: there is nothing to replay"
            )
    pages = _pages(cells, scale)
    accesses = _Accesses.of(cells, pages, scale)
    if not (accesses.places.any() or accesses.seldom.any()):
        raise UsageError(f"scale {scale:g} leaves no page that is accessed")
    names = _names(cells)
    regions = tuple(
        Region(name, count * PAGE_SIZE)
        for name, count in zip(names, pages.tolist(), strict=True)
        if count
    )
    phases = tuple(_phases(cells, pages, accesses, names, speed))
    size = format_size(sum(region.size_bytes for region in regions))
    return Workload(
        "replay",
        f"{_whose(cells)}: {size}",
        Config(regions, phases),
        period_ms=_PERIOD_MS,
        repeat=False,
        report_ms=_REPORT_MS,
    )


def _pages(cells: Cells, scale: float) -> Ints:
    """The pages of each region: as many as were ever resident at the same time."""
    ends = running_total(cells.resident.max(axis=1)) * (scale / PAGE_SIZE)
    # Rounded sums, not sums of rounded values: hundreds of regions must not add up their errors.
    whole = np.rint(ends).astype(np.int64)
    return whole[1:] - whole[:-1]


@dataclass(frozen=True)
class _Accesses:
    """How the pages of each region are accessed in each phase: shape (regions, phases).

    `places` is the number of pages that are accessed often, `rate_hz` how often each of them is,
    and `is_random` whether that is at random or in turn. `seldom` are the numbers of pages that are
    accessed at random at each of `RATES_HZ`: shape (rates, regions, phases).
    """

    places: Ints
    rate_hz: Floats
    is_random: NDArray[np.bool_]
    seldom: Ints

    @classmethod
    def of(cls, cells: Cells, pages: Ints, scale: float) -> _Accesses:
        per_page = scale / PAGE_SIZE
        count = pages[:, None].astype(float)
        touched = np.minimum(cells.touched * per_page, count)
        heat = np.clip(cells.heat * per_page, 0.0, count)
        window_s, sampling_s = np.maximum([cells.window_ns, cells.sampling_ns], 1) / 1e9
        numbers = seldom_pages(
            cells.returned * per_page, np.broadcast_to(count, touched.shape), touched, window_s
        )
        seldom = np.array([_whole(number) for number in numbers], np.int64)
        touched = np.maximum(touched - touched_pages(numbers, window_s), 0.0)
        heat = np.maximum(heat - touched_pages(numbers, sampling_s), 0.0)
        size = np.maximum(np.maximum(count - numbers.sum(axis=0), touched), 1.0)
        intervals = np.maximum(window_s / sampling_s, 1.0)
        page_share, is_random = _solved(touched / size, heat / size, intervals)
        per_s = np.where(is_random, -np.log1p(-np.minimum(page_share, _ALWAYS)), page_share)
        always = page_share >= _ALWAYS
        rate_hz = np.where(always, _ALWAYS_PER_INTERVAL, per_s) / sampling_s
        is_random &= ~always
        reached = rate_hz * window_s
        reached = np.where(is_random, -np.expm1(-reached), np.minimum(reached, 1.0))
        return cls(_whole_places(touched, reached, pages), rate_hz, is_random, seldom)

    def in_phase(self, region: int, phase: int, pages: int) -> Iterator[tuple[int, float, bool]]:
        """The accesses of a region: to how many of its *pages*, how often each, at random or not.

        Pages that are accessed more often are among those that are accessed less often.
        """
        numbers = np.append(self.places[region, phase], self.seldom[:, region, phase])
        rates_hz = np.append(self.rate_hz[region, phase], RATES_HZ)
        in_turn = np.append(~self.is_random[region, phase], np.zeros(len(RATES_HZ), np.bool_))
        order = np.argsort(-rates_hz)
        order = order[numbers[order] > 0]
        within = np.minimum(np.cumsum(numbers[order]), pages).tolist()
        # Pages have their own accesses, and those of all that are accessed less often.
        more_hz = -np.diff(rates_hz[order], append=0.0)
        for place, count in enumerate(within):
            yield count, float(more_hz[place]), not in_turn[order[place]]


def _whole(numbers: Floats) -> Ints:
    """Round numbers of pages by region, so that sums over the regions are right in each phase."""
    ends = np.rint(np.cumsum(numbers, axis=0)).astype(np.int64)
    return np.diff(ends, axis=0, prepend=0)


def _solved(touched: Floats, share: Floats, intervals: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Find accesses that explain both figures of each region.

    *touched* is the share of pages that were accessed in a window of so many sampling *intervals*,
    and *share* the mean share of intervals with an access. Returns the share of intervals with an
    access of those pages that are accessed at all, and whether they are accessed at random.
    """
    # A page that was touched was accessed in one interval at least.
    share = np.maximum(share, touched / intervals)
    some = np.maximum(share, 1e-12)
    # Of a part q at a share x, with q * x = share, q * (1 - (1 - x) ** intervals) are touched.
    low, high = np.log(some), np.zeros_like(some)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        page_share = np.exp(middle)
        reaches = some / page_share * _reached(page_share, intervals) > touched
        low, high = np.where(reaches, middle, low), np.where(reaches, high, middle)
    combed_share = np.exp((low + high) / 2)
    most_at_random = _reached(some, intervals)
    whole_share = -np.expm1(np.log1p(-np.minimum(touched, 1 - 1e-12)) / intervals)
    in_turn_share = np.minimum(some / np.maximum(touched, 1e-12), 1.0)
    choices = [
        touched <= most_at_random,
        whole_share <= _RATE_TOLERANCE * some,
        some * intervals <= _TURN_TOLERANCE * touched,
    ]
    page_share = np.select(choices, [combed_share, whole_share, touched / intervals], in_turn_share)
    return page_share, choices[0] | choices[1]


def _reached(share: Floats, intervals: Floats) -> Floats:
    """The share of pages that random accesses touch in so many intervals."""
    reached: Floats = -np.expm1(intervals * np.log1p(-np.minimum(share, 1 - 1e-12)))
    return reached


def _whole_places(wanted: Floats, reached: Floats, pages: Ints) -> Ints:
    """Round the numbers of places so that each phase touches as many pages as *wanted*.

    *reached* is the share of a region's places that are touched in a window. What is too much or
    too little in a region, by rounding, is made up for in the next.
    """
    places = np.zeros(wanted.shape, np.int64)
    left = np.zeros(wanted.shape[1])
    for region, count in enumerate(pages.tolist()):
        is_accessed = wanted[region] > 0
        needed = np.rint((wanted[region] + left) / np.maximum(reached[region], 1e-12))
        places[region] = np.where(is_accessed, np.clip(needed, 0, count), 0)
        left = np.clip(left + wanted[region] - places[region] * reached[region], -1, 1)
    return places


def _phases(
    cells: Cells, pages: Ints, accesses: _Accesses, names: list[str], speed: float
) -> Iterator[Phase]:
    ends_ms = np.rint(running_total(cells.slot_ns) / 1e6 / speed).astype(np.int64).tolist()
    sizes = pages.tolist()
    for phase, begin_ms in enumerate(ends_ms[:-1]):
        used = np.flatnonzero(accesses.places[:, phase] + accesses.seldom[:, :, phase].sum(axis=0))
        kinds = [
            (region, kind)
            for region in used.tolist()
            for kind in accesses.in_phase(region, phase, sizes[region])
        ]
        per_s = [places * rate_hz for _, (places, rate_hz, _) in kinds]
        weight = _WEIGHTS / max(sum(per_s), 1e-12)
        patterns = tuple(
            Pattern(
                names[region],
                is_random,
                # What masim's format has: the smallest stride that leaves at most so many places.
                -(-sizes[region] * PAGE_SIZE // places),
                max(1, round(often * weight)),
                rate_hz=rate_hz * speed,
                places=_fewer(places, sizes[region]),
            )
            for (region, (places, rate_hz, is_random)), often in zip(kinds, per_s, strict=True)
        )
        duration_ms = max(1, ends_ms[phase + 1] - begin_ms)
        yield Phase(f"from {begin_ms / 1000:.1f} s", duration_ms, patterns)


def _fewer(places: int, pages: int) -> int | None:
    """A number of places, where these are not all pages."""
    return places if places < pages else None


def _names(cells: Cells) -> list[str]:
    """Name regions by their first address; after the pid if there are several targets."""
    several = len({target.key for target in cells.targets}) > 1
    names: dict[str, None] = {}
    for target, start in zip(cells.targets, cells.start.tolist(), strict=True):
        name = f"{target.pid}-{start:x}" if several else f"{start:x}"
        # A pid may have been used again.
        while name in names:
            name += "+"
        names[name] = None
    return list(names)


def _whose(cells: Cells) -> str:
    targets: dict[object, Target] = {target.key: target for target in cells.targets}
    first = next(iter(targets.values()))
    more = f" and {len(targets) - 1} more" if len(targets) > 1 else ""
    return f"{printable(first.name)} (pid {first.pid}){more}"
