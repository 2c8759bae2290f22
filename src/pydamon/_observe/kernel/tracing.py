"""Listen to what the kernel's DAMON does, whoever runs it: nothing is written."""

from __future__ import annotations

import math
import re
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._model.kernel_events import RESULTS, KernelEvents
from pydamon._model.units import parse_duration_ns
from pydamon._observe.linux.arch import online_cpus
from pydamon._observe.linux.ring import (
    RECORD_LOST,
    RECORD_SAMPLE,
    EventRing,
    text_of,
    tracepoints,
)
from pydamon._observe.probes.base import RealClock

__all__ = ["KernelTracer", "event_layout", "events_of", "raw_samples"]

_FIELD = re.compile(r"field:([^;]*?) (\w+);\s*offset:(\d+);\s*size:(\d+);\s*signed:([01]);")
_COMMON = "common_"
_RING_BYTES = 256 << 10
"""Of each CPU; room for some 2,500 events."""
_PAUSE_S = 0.1
_HEADER = struct.Struct("=IHHqI")
"""Type, flags and size of a record, then the time of a sample and the size of its raw data."""


@dataclass(frozen=True, slots=True)
class EventLayout:
    """Where the fields of a tracepoint lie in the raw data of its samples."""

    name: str
    number: int
    dtype: np.dtype[np.void]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields, without those that each tracepoint has."""
        names = self.dtype.names or ()
        return tuple(name for name in names if not name.startswith(_COMMON))


def event_layout(name: str, text: str) -> EventLayout:
    """The layout of a tracepoint, from the text of its `format` file.

    Fields of variable length are left out. Raises `ProbeUnavailable` for text that says too little.
    """
    number = re.search(r"^ID: (\d+)$", text, re.MULTILINE)
    names, formats, offsets, end = [], [], [], 0
    for kind, field, offset, size, signed in _FIELD.findall(text):
        end = max(end, int(offset) + int(size))
        if "[" not in kind and "[" not in field and size in "1248":
            names.append(field)
            formats.append(f"<{'i' if signed == '1' else 'u'}{size}")
            offsets.append(int(offset))
    if number is None or "common_pid" not in names:
        raise ProbeUnavailable(f"the tracepoint {name} of this kernel says too little")
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})
    return EventLayout(name, int(number[1]), dtype)


def raw_samples(data: bytes) -> tuple[list[tuple[int, int, bytes]], bool]:
    """The samples in the kernel's bytes, and whether the kernel had to leave some out.

    A sample is the time, the tracepoint's number and the raw data.
    """
    samples, lost, at = [], False, 0
    while at + _HEADER.size <= len(data):
        kind, _, size, time_ns, length = _HEADER.unpack_from(data, at)
        if size < 8:
            break
        if kind == RECORD_SAMPLE:
            raw = data[at + _HEADER.size : at + min(size, _HEADER.size + length)]
            samples.append((time_ns, int.from_bytes(raw[:2], "little"), raw))
        lost |= kind == RECORD_LOST
        at += size
    return samples, lost


def events_of(
    samples: Sequence[tuple[int, int, bytes]], layouts: Sequence[EventLayout]
) -> list[KernelEvents]:
    """Sort samples by tracepoint; their times stay as they are."""
    events = []
    for layout in layouts:
        size = layout.dtype.itemsize
        chosen = sorted(
            (time_ns, raw[:size])
            for time_ns, number, raw in samples
            if number == layout.number and len(raw) >= size
        )
        if chosen:
            rows = np.frombuffer(b"".join(raw for _, raw in chosen), layout.dtype)
            events.append(
                KernelEvents(
                    layout.name,
                    np.array([time_ns for time_ns, _ in chosen], np.int64),
                    rows["common_pid"].astype(np.int64),
                    {name: _signed(rows[name]) for name in layout.fields},
                )
            )
    return events


def _signed(column: NDArray[np.generic]) -> NDArray[np.int64]:
    """The column as int64: limits that the kernel writes as the largest number stay the largest."""
    if column.dtype == np.uint64:
        column = np.minimum(column, np.uint64(2**63 - 1))
    return column.astype(np.int64)


class KernelTracer(Closing):
    """Listens to the tracepoints of the kernel's DAMON, whoever runs it.

    It reads what the kernel tells of each step: which region a scheme was applied to, what it has
    done so far, how large its quota is now, which intervals the kernel has chosen. It writes
    nothing, and no kdamond changes because of it.

    Parameters
    ----------
    names
        The tracepoints; by default all but those that tell regions, which snapshots are made of.

    Attributes
    ----------
    names : tuple of str
        The tracepoints that it listens to.
    lost : bool
        Whether events came faster than they were read, so that some are missing.

    Raises
    ------
    ProbeUnavailable
        Where the kernel has no DAMON, tracefs is not mounted, or the user may not listen (it takes
        root or CAP_PERFMON).
    UsageError
        For a tracepoint that this kernel does not have.

    Examples
    --------
    ```python
    with pydamon.KernelTracer() as tracer:
        for batch in tracer.run("10s"):
            for events in batch:
                print(events.name, len(events), events.values)
    ```
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        places = tracepoints()
        if not places:
            raise ProbeUnavailable(
                "there are no tracepoints of DAMON",
                hint="this kernel has no DAMON, tracefs is not mounted, or only root may see it",
            )
        for name in names:
            if name not in places:
                raise UsageError(
                    f"this kernel has no tracepoint {name}", hint=f"it has {', '.join(places)}"
                )
        self.names = tuple(names or (name for name in places if name not in RESULTS))
        self.lost = False
        self._layouts = [event_layout(name, text_of(places[name], "format")) for name in self.names]
        self._clock = RealClock()
        self._stopped = False
        self._rings: list[EventRing] = []
        try:
            for cpu in online_cpus():
                ring = EventRing(_RING_BYTES, cpu=cpu)
                self._rings.append(ring)
                for name in self.names:
                    ring.add(places[name])
        except ProbeUnavailable:
            self.close()
            raise

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of all tracepoints, in the order in which the kernel names them."""
        return tuple(dict.fromkeys(name for layout in self._layouts for name in layout.fields))

    def read(self) -> list[KernelEvents]:
        """The events since the last call, by tracepoint."""
        samples = []
        for ring in self._rings:
            some, lost = raw_samples(ring.take())
            samples += some
            self.lost |= lost
        begin_ns = self._clock.unix_ns(0)
        return events_of(
            [(begin_ns + time_ns, number, raw) for time_ns, number, raw in samples], self._layouts
        )

    def run(self, duration: str | None = None) -> Iterator[list[KernelEvents]]:
        """Yield what `read` returns ten times a second, until *duration* is over.

        `stop` ends it, too. Raises `UsageError` for a text that is not a duration.
        """
        until_ns = time.monotonic_ns() + parse_duration_ns(duration) if duration else math.inf
        while not self._stopped:
            over = time.monotonic_ns() >= until_ns
            yield self.read()
            if over:
                return
            time.sleep(_PAUSE_S)

    def stop(self) -> None:
        """Let `run` end."""
        self._stopped = True

    def close(self) -> None:
        """Stop listening."""
        self._stopped = True
        while self._rings:
            self._rings.pop().close()
