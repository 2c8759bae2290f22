"""Bytes over time, of each target and of all together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.folding import host_codes
from pydamon.core.snapshot import Target
from pydamon.recording import Recording

__all__ = ["Amount", "Course", "Courses", "sizes", "touched"]

Amount: TypeAlias = Callable[[Recording], NDArray[np.int64]]
"""Bytes of each part, a target of a snapshot: shape (parts,)."""


@dataclass(frozen=True, slots=True)
class Course:
    """The snapshots of a target, or of all together where `target` is `None`.

    `start_ns`, `end_ns` and each of `amounts` have one entry a snapshot that it is in.
    """

    target: Target | None
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    amounts: tuple[NDArray[np.int64], ...]


class Courses:
    """Some amounts over time, as a fold that keeps a row for each target of a snapshot."""

    def __init__(self, *amounts: Amount) -> None:
        self._amounts = amounts
        self._targets: dict[int, Target] = {}
        self._hosts: dict[str, int] = {}
        self._columns: list[list[NDArray[np.int64]]] = [[] for _ in range(4 + len(amounts))]

    def add(self, part: Recording) -> None:
        self._targets |= {target.pid: target for target in part.targets}
        found = [part.of_parts("pid"), host_codes(part, self._hosts)[part.part_snapshots]]
        windows = (part.of_snapshots(name) for name in ("start_ns", "end_ns"))
        found += [values[part.part_snapshots] for values in windows]
        found += [amount(part) for amount in self._amounts]
        for column, values in zip(self._columns, found, strict=True):
            column.append(values)

    def series(self) -> Iterator[Course]:
        """All targets together, then each."""
        for column in self._columns:  # one after the other, for the memory of one besides
            column[:] = [np.concatenate(column or [np.empty(0, np.int64)])]
        columns = [column[0] for column in self._columns]
        end_ns = columns[3]
        if (end_ns[1:] < end_ns[:-1]).any():
            order = np.lexsort((columns[1], end_ns))
            columns = [column[order] for column in columns]
        pid, host, start_ns, end_ns, *amounts = columns
        other = np.zeros(max(0, len(end_ns) - 1), np.bool_)
        for values in (host, start_ns, end_ns):
            other |= values[1:] != values[:-1]
        snapshot = np.zeros(len(end_ns), np.int32)
        np.cumsum(other, out=snapshot[1:])
        every = slice(None)
        by_pid = np.argsort(pid, kind="stable")  # to find each target's rows by themselves
        pids = pid[by_pid]
        for target in (None, *self._targets.values()):
            # Of a single target, all together are the same: their arrays then need no copies.
            mine: slice | NDArray[np.int64] = every
            if target is not None and len(self._targets) > 1:
                mine = by_pid[slice(*np.searchsorted(pids, [target.pid, target.pid + 1]))]
            first = np.diff(snapshot[mine], prepend=-1) > 0
            found = [amount[mine] for amount in amounts]
            heads = every if first.all() else np.flatnonzero(first)
            if not isinstance(heads, slice):
                found = [np.add.reduceat(amount, heads) for amount in found]
            yield Course(target, start_ns[mine][heads], end_ns[mine][heads], tuple(found))


def touched(recording: Recording) -> NDArray[np.int64]:
    """What was accessed of each target in each snapshot: shape (parts,)."""
    return _sums(recording, recording.column("touched_bytes"))


def sizes(recording: Recording) -> NDArray[np.int64]:
    """How large the regions of each target in each snapshot are: shape (parts,)."""
    return _sums(recording, recording.column("end") - recording.column("start"))


def _sums(recording: Recording, values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(np.append(0, np.cumsum(values))[recording.part_offsets])
