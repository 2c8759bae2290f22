"""Accuracy and cost by the size of the target: live, and simulated beyond the memory here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import psutil
from numpy.typing import NDArray

from pydamon._bench.tools import watch
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Snapshot
from pydamon._model.units import format_size
from pydamon._observe.probes.trace import Access, Phase, Trace
from pydamon._observe.sampling import simulate
from pydamon._workloads import Config, Running, Workload
from pydamon._workloads.masim import Pattern, Region
from pydamon._workloads.masim import Phase as WorkloadPhase

__all__ = ["ScaleResult", "measure"]

_MIB, _GIB, _TIB = 1 << 20, 1 << 30, 1 << 40
_BASE = 1 << 40
_LIVE = (100 * _MIB, _GIB, 4 * _GIB, 10 * _GIB, 16 * _GIB)
_ONE_CORE_HZ, _MANY_CORES_HZ = 32e6, 1e9
"""Accesses a second. A thread of masim makes about 32 million, as in the test of Telescope."""
_SIMULATED = (
    (100 * _GIB, 0.1, 1, _ONE_CORE_HZ),
    (100 * _GIB, 0.1, 32, _ONE_CORE_HZ),
    (_TIB, 0.1, 32, _MANY_CORES_HZ),
    (5 * _TIB, 10 / 5120, 1, _ONE_CORE_HZ),
    (5 * _TIB, 10 / 5120, 32, _ONE_CORE_HZ),
    (100 * _TIB, 0.1, 32, _MANY_CORES_HZ),
)
"""Size, hot share, number of hot pieces, and accesses a second."""
_PIECES = 32
_BUDGET_PERCENT = 1.0
_GRAIN = 64 << 10
_SPARED_BYTES = 2 << 30
"""Memory that live targets leave to other programs."""
_GOOD = 0.9
_HELD = 3
_PATIENCE_S = 60
"""The time limit of a simulation; the snapshots until then count."""

Spans = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ScaleResult:
    """A tool on a target of one size.

    `found_s` is the time until the tool called 90 % of the hot bytes hot, with a precision of 90 %,
    in three snapshots in a row; it is infinite if that did not happen within `watched_s`. `found`
    is the recall at the end, and `precision` the precision at the end. `cpu` is the share of one
    CPU in the second half; a simulation charges a price for every read and clear. `cpu_growth` is
    that share divided by the share of the same tool at the smallest size.
    """

    how: str
    tool: str
    size_bytes: int
    hot_bytes: int
    pieces: int
    found_s: float
    found: float
    precision: float
    watched_s: float
    cpu: float
    cpu_growth: float
    aggregation_ms: float
    regions: float


def measure(quick: bool, seed: int, say: Callable[[str], None]) -> Iterator[ScaleResult]:
    """Measure live as long as 2 GiB of memory stay free, then simulate larger sizes."""
    smallest: dict[str, float] = {}
    for row in _measure(quick, seed, say):
        yield replace(row, cpu_growth=row.cpu / smallest.setdefault(row.tool, row.cpu))


def _measure(quick: bool, seed: int, say: Callable[[str], None]) -> Iterator[ScaleResult]:
    free = psutil.virtual_memory().available
    for size in _LIVE[:2] if quick else _LIVE:
        if size > free - _SPARED_BYTES:
            say(f"scale: {format_size(size)} is left out: {format_size(free)} of memory are free")
            continue
        say(f"scale: {format_size(size)}, live")
        duration_s = 5.0 if quick else 20.0 if size <= _GIB else 60.0
        with _workload(size, seed).start(seed) as running:
            for tool in ("pydamon",) if quick else ("pydamon", "plain"):
                yield _live(running, tool, size, duration_s, seed)
    for size, share, pieces, accesses_hz in _SIMULATED[:2] if quick else _SIMULATED:
        for tool in ("pydamon", "plain"):
            say(f"scale: {format_size(size)} with {tool}, simulated")
            hot = _hot(size, share, pieces, seed)
            yield _simulated(size, hot, accesses_hz, tool, 5.0 if quick else 60.0, seed)


def _hot(size: int, share: float, pieces: int, seed: int) -> Spans:
    """Return the hot spans: pieces of equal size in random places; shape (n, 2)."""
    rng = np.random.default_rng(seed)
    each = max(1, round(size * share / pieces / _GRAIN))
    free = size // _GRAIN - each * pieces
    gaps = np.sort(rng.integers(0, free, pieces)) if pieces > 1 else np.array([free // 3])
    start = gaps + np.arange(pieces) * each
    return np.stack([start, start + each], axis=1) * _GRAIN


def _workload(size: int, seed: int) -> Workload:
    """Make a workload that uses a tenth of *size*."""
    regions, at = [], 0
    for number, (start, end) in enumerate(_hot(size, 0.1, _PIECES, seed).tolist()):
        if start > at:
            regions.append(Region(f"cold{number}", start - at))
        regions.append(Region(f"hot{number}", end - start))
        at = end
    if at < size:
        regions.append(Region("rest", size - at))
    patterns = tuple(
        Pattern(region.name, random=False, stride=PAGE_SIZE, weight=1)
        for region in regions
        if region.name.startswith("hot")
    )
    phase = WorkloadPhase("steady", 24 * 3600 * 1000, patterns)
    return Workload("tenth", "a tenth hot", Config(tuple(regions), (phase,)))


def _live(running: Running, tool: str, size: int, duration_s: float, seed: int) -> ScaleResult:
    regions = running.truth.regions
    low = min(start for start, _ in regions.values())
    hot = np.array([at for name, at in regions.items() if name.startswith("hot")])
    run = watch(running.pid, tool, duration_s, seed=seed)
    quality = [_quality(snapshot, (low, low + size), hot) for snapshot in run.snapshots]
    ends_s = [(run.window(s)[1] - run.begin_ns) / 1e9 for s in run.snapshots]
    return _result("live", tool, size, hot, ends_s, quality, run.snapshots)


def _simulated(
    size: int, spans: Spans, accesses_hz: float, tool: str, duration_s: float, seed: int
) -> ScaleResult:
    hot = spans + _BASE
    rate_hz = accesses_hz * PAGE_SIZE / int((hot[:, 1] - hot[:, 0]).sum())
    accesses = tuple(Access(low, high, rate_hz) for low, high in hot.tolist())
    trace = Trace((Phase(10**12, accesses),))
    whole = (_BASE, _BASE + size)
    ends_s, quality, snapshots = [], [], []
    with simulate(
        trace, [whole], cpu_budget_percent=_BUDGET_PERCENT, plain=tool == "plain", seed=seed
    ) as mon:
        deadline_s = time.monotonic() + _PATIENCE_S
        for snapshot in mon.run(f"{duration_s}s"):
            ends_s.append(snapshot.end_ns / 1e9)
            quality.append(_quality(snapshot, whole, hot))
            snapshots.append(snapshot)
            if time.monotonic() > deadline_s:
                break
    return _result("simulated", tool, size, hot, ends_s, quality, snapshots)


def _quality(snapshot: Snapshot, whole: tuple[int, int], hot: Spans) -> tuple[float, float]:
    """Return recall and precision of the regions that a snapshot calls hot.

    These are the regions of which at least half was touched, or the regions that at least half of
    the samples found accessed: the better of the two.
    """
    hot_bytes = int((hot[:, 1] - hot[:, 0]).sum())
    qualities = []
    for is_hot in (
        2 * snapshot.touched_bytes >= snapshot.size,
        2 * snapshot.nr_accesses >= snapshot.max_nr_accesses,
    ):
        start, end = snapshot.start[is_hot], snapshot.end[is_hot]
        called = int((np.minimum(end, whole[1]) - np.maximum(start, whole[0])).clip(0).sum())
        right = sum(
            int((np.minimum(end, high) - np.maximum(start, low)).clip(0).sum())
            for low, high in hot.tolist()
        )
        qualities.append((right / hot_bytes, right / called if called else 0.0))
    return max(qualities, key=lambda pair: pair[0] * pair[1] / (sum(pair) or 1))


def _result(
    how: str,
    tool: str,
    size: int,
    hot: Spans,
    ends_s: list[float],
    quality: list[tuple[float, float]],
    snapshots: Sequence[Snapshot],
) -> ScaleResult:
    good = [recall >= _GOOD and precision >= _GOOD for recall, precision in quality]
    # One good snapshot may be luck.
    held = [all(good[at : at + _HELD]) for at in range(len(good) - _HELD + 1)]
    last = quality[-_HELD:]
    late = len(snapshots) // 2
    # Surveys take place between the windows of snapshots, so the time between ends counts.
    passed_s = ends_s[-1] - (ends_s[late - 1] if late else 0)
    cpu_s = sum(s.cost.cpu_ns for s in snapshots[late:]) / 1e9
    return ScaleResult(
        how=how,
        tool=tool,
        size_bytes=size,
        hot_bytes=int((hot[:, 1] - hot[:, 0]).sum()),
        pieces=len(hot),
        found_s=next((at for at, is_held in zip(ends_s, held, strict=False) if is_held), math.inf),
        found=median(recall for recall, _ in last),
        precision=median(precision for _, precision in last),
        watched_s=ends_s[-1],
        cpu=cpu_s / passed_s,
        cpu_growth=1.0,
        aggregation_ms=median(s.window_ns for s in snapshots) / 1e6,
        regions=median(len(s) for s in snapshots),
    )
