"""Read the results of a kdamond: from the tracepoint, or from files."""

from __future__ import annotations

import re
import struct
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pydamon._model import ranges
from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable
from pydamon._model.runs import unique
from pydamon._observe.kernel.kdamond import Kdamond, target_numbers
from pydamon._observe.linux.ring import (
    RECORD_LOST,
    RECORD_SAMPLE,
    EventRing,
    text_of,
    tracepoint,
)

__all__ = [
    "Aggregation",
    "EventReader",
    "Reader",
    "TriedReader",
    "cut_at",
    "group",
    "records",
    "without",
]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """The kernel's counts of one aggregation, which ended at `end_ns` (monotonic).

    The arrays have one entry per region, sorted by target and address; addresses are bytes.
    `lost` aggregations before this one could not be read in time.
    """

    end_ns: int
    target: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_accesses: NDArray[np.int64]
    age: NDArray[np.int64]
    lost: int = 0
    probe_hits: NDArray[np.uint8] | None = None
    """The samples that had a page of each kind that is probed for: shape (n, kinds)."""


def without(aggregation: Aggregation, targets: Sequence[int]) -> Aggregation:
    """Leave out some *targets* (sorted); those after them get lower numbers."""
    exited = np.array(targets, np.int32)
    columns = ("target", "start", "end", "nr_accesses", "age")
    stays = ~np.isin(aggregation.target, exited)
    rest = {name: getattr(aggregation, name)[stays] for name in columns}
    rest["target"] = rest["target"] - np.searchsorted(exited, rest["target"]).astype(np.int32)
    hits = aggregation.probe_hits
    return replace(aggregation, **rest, probe_hits=None if hits is None else hits[stays])


def cut_at(aggregation: Aggregation, borders: NDArray[np.int64]) -> Aggregation:
    """Cut the regions, sorted by target and address, at the *borders* (addresses) in them."""
    if not len(borders):
        return aggregation
    target, hits = aggregation.target, aggregation.probe_hits
    of_each = dict.fromkeys(unique(target).tolist(), borders)
    cut = ranges.cut_at(target, aggregation.start, aggregation.end, of_each)
    return replace(
        aggregation,
        target=target[cut.index],
        start=cut.start,
        end=cut.end,
        nr_accesses=aggregation.nr_accesses[cut.index],
        age=aggregation.age[cut.index],
        probe_hits=None if hits is None else hits[cut.index],
    )


class Reader(Closing):
    """Reads the results of a kdamond that runs."""

    waits: bool
    """Whether `read` itself waits for the next aggregation."""

    @abstractmethod
    def read(self) -> Sequence[Aggregation]:
        """Return the aggregations that have ended since the last call, oldest first."""

    def expect(self, targets: int) -> None:
        """Read results of this many targets from now on."""

    def renumber(self, targets: int) -> None:
        """Drop results with the targets' old numbers; there are this many targets now."""

    def close(self) -> None:
        """Stop reading."""


class TriedReader(Reader):
    """Asks for the regions that a `stat` scheme tried, which are all regions; needs no tracing.

    *scheme* returns the number of that scheme. The kernel makes four files for each region, which
    costs about 20 us a region to make and to read; aggregations that end meanwhile are never
    seen. `EventReader` costs a hundredth of that and loses nothing.
    """

    waits = True

    def __init__(self, kdamond: Kdamond, scheme: Callable[[], int]) -> None:
        self._kdamond = kdamond
        self._scheme = scheme

    def read(self) -> Sequence[Aggregation]:
        rows = self._kdamond.tried_regions(self._scheme())
        end_ns = time.monotonic_ns()
        if not len(rows):
            return ()
        start, end, nr_accesses, age = np.ascontiguousarray(rows.T)
        return (Aggregation(end_ns, target_numbers(rows), start, end, nr_accesses, age),)


_EVENT, _PROBING_EVENT = "damon_aggregated", "damon_region_aggregated"
_FIELD = re.compile(r"field:[^;]* (\w+);\s*offset:(\d+);\s*size:(\d+)")
_FIELDS = ("target_id", "nr_regions", "start", "end", "nr_accesses", "age")

_SAMPLE_HEADER = 20
"""Bytes of a sample before the raw data: header, time, size."""
_BUFFER_BYTES = 4 << 20
"""Room for 60,000 regions: a minute at 1,000 regions a second."""
_BURST_NS = 20 * 10**6
"""The kernel writes all events of an aggregation in one go; a pause this long ends them."""


class EventReader(Reader):
    """Reads the events of the kdamond *pid*, which has *targets* targets and so many *probes*.

    Its addresses have so many bytes a *unit*. Raises `ProbeUnavailable` where events cannot be
    read.
    """

    waits = False

    def __init__(self, pid: int, targets: int, probes: int = 0, unit: int = 1) -> None:
        self._targets = targets
        self._unit = unit
        event = tracepoint(_PROBING_EVENT if probes else _EVENT)
        self._dtype = sample_dtype(text_of(event, "format"), probes)
        self._ring = EventRing(_BUFFER_BYTES, pid=pid)
        try:
            self._ring.add(event)
        except ProbeUnavailable:
            self._ring.close()
            raise
        self._kept = np.zeros(0, self._dtype)
        self._lost = False

    def expect(self, targets: int) -> None:
        self._targets = targets

    def renumber(self, targets: int) -> None:
        self._lost |= bool(self._ring.take()) or len(self._kept) > 0
        self._kept = self._kept[:0]
        self.expect(targets)

    def read(self) -> Sequence[Aggregation]:
        data = self._ring.take()
        if data:
            new, lost = records(data, self._dtype)
            self._lost |= lost
            self._kept = np.concatenate([self._kept, new])
        aggregations, beyond, broken = group(self._kept, self._targets, time.monotonic_ns())
        self._kept = self._kept[beyond:]
        if aggregations and (self._lost or broken):
            # The kernel does not say how many were lost: at least one.
            aggregations[0] = replace(aggregations[0], lost=max(1, broken))
            self._lost = False
        if self._unit == 1:
            return aggregations
        return [
            replace(part, start=part.start * self._unit, end=part.end * self._unit)
            for part in aggregations
        ]

    def close(self) -> None:
        self._ring.close()


def sample_dtype(text: str, probes: int = 0) -> np.dtype[np.void]:
    """The layout of a sample, from the *text* of the tracepoint's `format` file.

    Behind the fields, a sample has a byte for each of so many *probes*.
    """
    fields = {name: (int(offset), int(size)) for name, offset, size in _FIELD.findall(text)}
    if any(name not in fields for name in _FIELDS):
        raise ProbeUnavailable("the tracepoint damon_aggregated of this kernel says too little")
    raw_bytes = max(offset + size for offset, size in fields.values())
    # Size and data together fill whole words.
    length = _SAMPLE_HEADER - 4 + -(-(4 + raw_bytes + probes) // 8) * 8
    names = ["type", "size", "time", *_FIELDS]
    formats = ["<u4", "<u2", "<i8", *(f"<u{fields[name][1]}" for name in _FIELDS)]
    offsets = [0, 6, 8, *(_SAMPLE_HEADER + fields[name][0] for name in _FIELDS)]
    if probes:
        names.append("probe_hits")
        formats.append(f"({probes},)u1")
        offsets.append(_SAMPLE_HEADER + raw_bytes)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": length})


def records(data: bytes, dtype: np.dtype[np.void]) -> tuple[NDArray[np.void], bool]:
    """The samples in the kernel's bytes, and whether the kernel had to leave some out."""
    if len(data) % dtype.itemsize == 0:
        samples = np.frombuffer(data, dtype)
        if ((samples["type"] == RECORD_SAMPLE) & (samples["size"] == dtype.itemsize)).all():
            return samples, False
    at, starts, lost = 0, [], False
    while at + 8 <= len(data):
        kind, _, size = struct.unpack_from("=IHH", data, at)
        if size == 0:
            break
        if kind == RECORD_SAMPLE and size == dtype.itemsize:
            starts.append(at)
        lost |= kind == RECORD_LOST
        at += size
    chosen = b"".join(data[at : at + dtype.itemsize] for at in starts)
    return np.frombuffer(chosen, dtype), lost


def group(
    samples: NDArray[np.void], targets: int, now_ns: int
) -> tuple[list[Aggregation], int, int]:
    """Group samples into aggregations.

    Returns the aggregations that are whole, the number of samples that are done with, and the
    number of aggregations that are not whole. The last samples may have to wait for the rest of
    their aggregation.
    """
    if not len(samples):
        return [], 0, 0
    target, start = samples["target_id"].astype(np.int32), samples["start"].astype(np.int64)
    again = (target[1:] < target[:-1]) | ((target[1:] == target[:-1]) & (start[1:] <= start[:-1]))
    bounds = np.concatenate([[0], np.flatnonzero(again) + 1, [len(samples)]])
    aggregations: list[Aggregation] = []
    names = samples.dtype.names or ()
    broken = 0
    for first, beyond in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        burst = samples[first:beyond]
        whole = _is_whole(burst)
        if beyond == len(samples):
            at_rest = now_ns - int(burst["time"][-1]) > _BURST_NS
            complete = whole and int(burst["target_id"][-1]) == targets - 1
            if not complete and not at_rest:
                return aggregations, first, broken
        if not whole:
            broken += 1
            continue
        aggregations.append(
            Aggregation(
                int(burst["time"][-1]),
                target[first:beyond],
                start[first:beyond],
                burst["end"].astype(np.int64),
                burst["nr_accesses"].astype(np.int64),
                burst["age"].astype(np.int64),
                probe_hits=burst["probe_hits"].copy() if "probe_hits" in names else None,
            )
        )
    return aggregations, len(samples), broken


def _is_whole(burst: NDArray[np.void]) -> bool:
    """Whether each target has as many regions as its events say."""
    _, first, counts = np.unique(burst["target_id"], return_index=True, return_counts=True)
    return bool((burst["nr_regions"][first] == counts).all())
