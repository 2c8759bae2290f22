"""How objects were used: what a recording saw, by the addresses of their memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording import Recording
from pydamon._model.display import Displayable
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Snapshot
from pydamon._objects.buffers import Buffer

__all__ = ["ObjectReport", "ObjectUse", "State", "attribute"]

State: TypeAlias = Literal["hot", "cold", "untouched", "unknown"]
_SOME = 0.02
"""Of an object, so much must be touched for it to count as accessed: regions blur borders."""
_OFTEN = 0.25
"""The share of windows from which on an object is hot."""


@dataclass(frozen=True, slots=True)
class ObjectUse:
    """What was seen of one object.

    `touched` is the share of it that was touched in a window, at most; `rate` the share of windows
    in which it was accessed; `idle_ns` the time from the last one of these to the end, `None` where
    there was none. It is `"hot"` where it was accessed in a quarter of the windows or more,
    `"cold"` in fewer, `"untouched"` in none, and `"unknown"` where it is too small, or came too
    late, to be seen.
    """

    buffer: Buffer
    state: State
    touched: float
    rate: float
    idle_ns: int | None

    @property
    def name(self) -> str:
        """What to call the object."""
        return self.buffer.name

    @property
    def size(self) -> int:
        """Bytes."""
        return self.buffer.size


@dataclass(frozen=True)
class ObjectReport(Displayable):
    """The objects, hot ones first, then by size.

    `other_bytes` is the resident memory beyond their sizes: what is in none of them, at least, for
    what was never touched is not resident.
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
        for one in self.objects:
            if name in one.buffer.names:
                return one
        raise KeyError(name)

    def named(self, state: State) -> list[str]:
        """The names of all objects in that state."""
        return [one.name for one in self.objects if one.state == state]

    def bytes_of(self, state: State) -> int:
        """How large all objects in that state are together."""
        return sum(one.size for one in self.objects if one.state == state)


def attribute(
    recording: Recording, buffers: Sequence[Buffer], pid: int, *, unknown: Sequence[Buffer] = ()
) -> ObjectReport:
    """How the objects of a process were used while it was recorded.

    Of those that are *unknown* the recording says nothing that is true of them alone.
    """
    one = recording.of_pid(pid) if len(recording) else recording
    start = np.array([_inner(s)[0] for b in buffers for s in b.spans], np.int64)
    end = np.array([_inner(s)[1] for b in buffers for s in b.spans], np.int64)
    owner = np.repeat(np.arange(len(buffers)), [len(b.spans) for b in buffers])
    shape = (len(one), len(buffers))
    touched, covered = np.zeros(shape), np.zeros(shape)
    ends_ns, windows_ns = np.zeros(len(one), np.int64), np.zeros(len(one), np.int64)
    resident = 0
    for index, snapshot in enumerate(one.snapshots()):
        ends_ns[index], windows_ns[index] = snapshot.end_ns, snapshot.window_ns
        resident = sum(f.rss_bytes for f in snapshot.footprints) or resident
        # What nobody has looked at yet is not covered.
        seen = snapshot.size * (1 - _unseen_shares(snapshot))
        for into, amount in ((touched, snapshot.touched_bytes), (covered, seen)):
            within = _within(snapshot.start, snapshot.end, amount, start, end)
            into[index] = np.bincount(owner, within, len(buffers))
    whole = np.bincount(owner, end - start, len(buffers))
    share = touched / np.maximum(whole, 1)
    known = (covered >= 0.5 * whole) & (whole > 0)
    duration_ns = int(ends_ns[-1] - ends_ns[0] + windows_ns[0]) if len(one) else 0
    uses = [_use(b, share[:, i], known[:, i], ends_ns) for i, b in enumerate(buffers)]
    uses += [ObjectUse(b, "unknown", 0.0, 0.0, None) for b in unknown]
    order = ("hot", "cold", "untouched", "unknown")
    uses.sort(key=lambda use: (order.index(use.state), -use.size))
    return ObjectReport(
        tuple(uses),
        duration_ns,
        int(np.median(windows_ns)) if len(one) else 0,
        max(0, resident - sum(use.size for use in uses)),
        recording.info.probe,
    )


def _unseen_shares(snapshot: Snapshot) -> NDArray[np.float64]:
    """Which share of each region nobody had looked at yet."""
    classes = snapshot.classes
    shares: NDArray[np.float64] = classes.unseen / np.maximum(classes.total, 1)
    return shares


def _use(
    buffer: Buffer,
    share: NDArray[np.float64],
    known: NDArray[np.bool_],
    ends_ns: NDArray[np.int64],
) -> ObjectUse:
    if not known.any():
        return ObjectUse(buffer, "unknown", 0.0, 0.0, None)
    accessed = np.flatnonzero(known & (share > _SOME))
    most = float(min(1.0, share[known].max()))
    if not len(accessed):
        return ObjectUse(buffer, "untouched", most, 0.0, None)
    idle_ns = int(ends_ns[-1] - ends_ns[accessed[-1]])
    rate = len(accessed) / int(known.sum())
    state: State = "hot" if rate >= _OFTEN else "cold"
    return ObjectUse(buffer, state, most, rate, idle_ns)


def _inner(span: tuple[int, int]) -> tuple[int, int]:
    """The whole pages of a span: others share their pages with its first and last bytes."""
    start = -(-span[0] // PAGE_SIZE) * PAGE_SIZE
    return start, max(start, span[1] // PAGE_SIZE * PAGE_SIZE)


def _within(
    region_start: NDArray[np.int64],
    region_end: NDArray[np.int64],
    amount: NDArray[np.int64] | NDArray[np.float64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
) -> NDArray[np.float64]:
    """How much of the regions' *amount* lies within spans, as if spread evenly over each region."""
    if not len(region_start):
        return np.zeros(len(start))
    points = np.stack([region_start, region_end], axis=1).ravel()
    below = np.repeat(np.cumsum(amount), 2).astype(np.float64)
    below[::2] -= amount
    found: NDArray[np.float64] = np.interp(end, points, below) - np.interp(start, points, below)
    return found
