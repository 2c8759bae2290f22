"""How objects were used: the accesses of a recording, by the addresses of the objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording import Recording
from pydamon._model.display import Displayable
from pydamon._model.ranges import amount_within
from pydamon._model.regions import PAGE_SIZE
from pydamon._objects.buffers import Buffer

__all__ = ["ObjectReport", "ObjectUse", "State", "attribute"]

State: TypeAlias = Literal["hot", "cold", "untouched", "unknown"]
_LEAST_TOUCHED = 0.02
"""The share of an object that must be touched for an access: regions blur the borders."""
_HOT_RATE = 0.25
"""The share of windows with an access from which on an object is hot."""


@dataclass(frozen=True, slots=True)
class ObjectUse:
    """How one object was used.

    Parameters
    ----------
    buffer
        Its memory and its names.
    state
        `"hot"` where it was accessed in a quarter of the windows or more, `"cold"` in fewer,
        `"untouched"` in none, `"unknown"` where the probe could not see it: it is too small, or
        came too late.
    touched
        The largest share of it that was touched in a window, 0 to 1.
    rate
        The share of windows in which it was accessed, 0 to 1.
    idle_ns
        The time from the last window with an access to the end; `None` without an access.

    Examples
    --------
    >>> use = ObjectUse(Buffer("ndarray", ("a",), ((0, 4096),)), "cold", 1.0, 0.1, 10**9)
    >>> use.name, use.size
    ('a', 4096)
    """

    buffer: Buffer
    state: State
    touched: float
    rate: float
    idle_ns: int | None

    @property
    def name(self) -> str:
        """The best name of the object."""
        return self.buffer.name

    @property
    def size(self) -> int:
        """Bytes."""
        return self.buffer.size


@dataclass(frozen=True)
class ObjectReport(Displayable):
    """How the objects of an interpreter were used.

    Parameters
    ----------
    objects
        Hot objects first, in each state the largest first.
    duration_ns
        How long they were watched.
    window_ns
        How long a window was, in the median.
    other_bytes
        Resident memory beyond the sizes of the objects. Memory that was never touched is not
        resident, so at least this much lies outside of them.
    probe
        What looked at the memory.

    Examples
    --------
    >>> hot = ObjectUse(Buffer("ndarray", ("a",), ((0, 4096),)), "hot", 1.0, 1.0, 0)
    >>> report = ObjectReport((hot,), 10**9, 10**8, 0, "exact")
    >>> report.named("hot"), report.bytes_of("hot"), report["a"].rate
    (['a'], 4096, 1.0)
    """

    objects: tuple[ObjectUse, ...]
    duration_ns: int
    window_ns: int
    other_bytes: int
    probe: str

    def __iter__(self) -> Iterator[ObjectUse]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, name: str) -> ObjectUse:
        """The object of that name; raises `KeyError` where there is none."""
        for use in self.objects:
            if name in use.buffer.names:
                return use
        raise KeyError(name)

    def named(self, state: State) -> list[str]:
        """The names of all objects in a state."""
        return [use.name for use in self.objects if use.state == state]

    def bytes_of(self, state: State) -> int:
        """The size of all objects in a state together."""
        return sum(use.size for use in self.objects if use.state == state)


def attribute(
    recording: Recording, buffers: Sequence[Buffer], pid: int, *, unknown: Sequence[Buffer] = ()
) -> ObjectReport:
    """How the objects of a process were used while it was recorded.

    Parameters
    ----------
    recording
        The accesses.
    buffers
        The objects, as `find_buffers` returns them in that process.
    pid
        The process.
    unknown
        Objects whose accesses cannot be told from their neighbours'.

    Returns
    -------
    ObjectReport
        A use for each object.

    Notes
    -----
    The bytes that were touched in a region are spread evenly over it; an object was accessed in a
    window where at least 2 % of its whole pages were touched.

    Examples
    --------
    >>> import pathlib, tempfile, pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     file = pathlib.Path(directory, "run.damon")
    ...     with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
    ...         info = pydamon.RecordingInfo(mon.attrs, mon.probe_name, 0)
    ...         with pydamon.Recorder(file, info) as recorder:
    ...             for snapshot in mon.run("8s"):
    ...                 recorder.write(snapshot)
    ...     recording = pydamon.read_recording(file)
    >>> used = Buffer("ndarray", ("used",), ((0, 4 << 20),))
    >>> spare = Buffer("ndarray", ("spare",), ((8 << 20, 12 << 20),))
    >>> attribute(recording, [used, spare], pid=0).named("hot")
    ['used']
    """
    mine = recording.of_pid(pid) if len(recording) else recording
    touched, known, ends_ns, windows_ns, resident_bytes = _touched(mine, buffers)
    uses = [_use(b, touched[:, i], known[:, i], ends_ns) for i, b in enumerate(buffers)]
    uses += [ObjectUse(buffer, "unknown", 0.0, 0.0, None) for buffer in unknown]
    order = ("hot", "cold", "untouched", "unknown")
    uses.sort(key=lambda use: (order.index(use.state), -use.size))
    return ObjectReport(
        tuple(uses),
        int(ends_ns[-1] - ends_ns[0] + windows_ns[0]) if len(mine) else 0,
        int(np.median(windows_ns)) if len(mine) else 0,
        max(0, resident_bytes - sum(use.size for use in uses)),
        recording.info.probe,
    )


class _Windows(NamedTuple):
    """What each window says of each object: shape (windows, objects), or (windows,)."""

    touched: NDArray[np.float64]
    known: NDArray[np.bool_]
    ends_ns: NDArray[np.int64]
    windows_ns: NDArray[np.int64]
    resident_bytes: int


def _touched(recording: Recording, buffers: Sequence[Buffer]) -> _Windows:
    """The share of each object that each window touched, and whether it saw enough of it."""
    spans = [_whole_pages(span) for buffer in buffers for span in buffer.spans]
    start, end = np.array(spans, np.int64).reshape(-1, 2).T
    owner = np.repeat(np.arange(len(buffers)), [len(buffer.spans) for buffer in buffers])
    shape = (len(recording), len(buffers))
    touched, seen = np.zeros(shape), np.zeros(shape)
    resident_bytes = 0
    for index, snapshot in enumerate(recording.snapshots()):
        rss_bytes = sum(footprint.rss_bytes for footprint in snapshot.footprints)
        resident_bytes = rss_bytes or resident_bytes
        regions = np.column_stack([snapshot.start, snapshot.end])
        seen_bytes = snapshot.size * (1 - snapshot.classes.unseen_share)
        for into, amount in ((touched, snapshot.touched_bytes), (seen, seen_bytes)):
            within = amount_within(regions, amount, start, end)
            into[index] = np.bincount(owner, within, len(buffers))
    whole = np.bincount(owner, end - start, len(buffers))
    return _Windows(
        touched / np.maximum(whole, 1),
        (seen >= 0.5 * whole) & (whole > 0),
        recording.per_snapshot("end_ns"),
        recording.per_snapshot("window_ns"),
        resident_bytes,
    )


def _use(
    buffer: Buffer,
    touched: NDArray[np.float64],
    known: NDArray[np.bool_],
    ends_ns: NDArray[np.int64],
) -> ObjectUse:
    if not known.any():
        return ObjectUse(buffer, "unknown", 0.0, 0.0, None)
    accessed = np.flatnonzero(known & (touched > _LEAST_TOUCHED))
    most = float(min(1.0, touched[known].max()))
    if not len(accessed):
        return ObjectUse(buffer, "untouched", most, 0.0, None)
    idle_ns = int(ends_ns[-1] - ends_ns[accessed[-1]])
    rate = len(accessed) / int(known.sum())
    state: State = "hot" if rate >= _HOT_RATE else "cold"
    return ObjectUse(buffer, state, most, rate, idle_ns)


def _whole_pages(span: tuple[int, int]) -> tuple[int, int]:
    """The whole pages of a span: other objects may share the pages at its ends."""
    start = -(-span[0] // PAGE_SIZE) * PAGE_SIZE
    return start, max(start, span[1] // PAGE_SIZE * PAGE_SIZE)
