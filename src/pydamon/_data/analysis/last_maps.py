"""The last map of the pages of each target, before a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording import Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._data.recording.rows import with_used_names
from pydamon._model.carried_ages import with_ages_of
from pydamon._model.runs import running_total
from pydamon._model.snapshot import Snapshot

__all__ = ["LastMaps", "LastWindows"]

_WORDS = ("page_ages", "page_map")


@dataclass(frozen=True)
class LastWindows:
    """The last window of a target, with the ages of its pages if they still hold; and its last
    window with a map of them, if there is one."""

    last: Snapshot
    mapped: Snapshot | None


@dataclass(frozen=True)
class _Kept:
    """The rows of the windows of one target that may be its last."""

    last: Recording
    end_ns: int
    looked: Recording | None = None
    mapped: Recording | None = None


class LastMaps:
    """The last windows of each target up to a time: a fold."""

    def __init__(self, until_ns: int | None = None) -> None:
        self._until_ns = until_ns
        self._numbers = TargetNumbers()
        self._kept: dict[int, _Kept] = {}

    def add(self, chunk: Recording) -> None:
        numbers = self._numbers.per_target(chunk)
        end_ns = chunk.per_target("end_ns")
        in_time = np.ones(len(end_ns), np.bool_)
        if self._until_ns is not None:
            in_time = end_ns <= self._until_ns
        has_map, has_ages = (
            np.diff(running_total(rows)[chunk.target_offsets]) > 0
            for rows in (_has_word(chunk), chunk.column("looked_ns") > 0)
        )
        for number in np.unique(numbers[in_time]).tolist():
            of_target = in_time & (numbers == number)
            kept = self._kept.get(number)
            last = _last_of(chunk, of_target, end_ns)
            assert last is not None
            latest_ns = int(end_ns[of_target].max())
            if kept is None or latest_ns > kept.end_ns:
                before = kept or _Kept(last, latest_ns)
                kept = replace(before, last=last, end_ns=latest_ns)
            looked = _last_of(chunk, of_target & has_ages, end_ns)
            mapped = _last_of(chunk, of_target & has_map, end_ns)
            self._kept[number] = replace(
                kept, looked=looked or kept.looked, mapped=mapped or kept.mapped
            )

    def windows(self) -> list[LastWindows]:
        """The last windows of the targets, in the order of their appearance."""
        return [
            LastWindows(
                _with_ages(kept), kept.mapped.snapshot(-1) if kept.mapped is not None else None
            )
            for _, kept in sorted(self._kept.items())
        ]


def _with_ages(kept: _Kept) -> Snapshot:
    last = kept.last.snapshot(-1)
    if kept.looked is None or last.page_ages is not None:
        return last
    return with_ages_of(last, kept.looked.snapshot(-1))


def _has_word(chunk: Recording) -> NDArray[np.bool_]:
    """Which rows have a part of a map."""
    is_word = np.array([bool(word) for word in chunk.names("page_map")] or [False])
    return is_word[chunk.codes("page_map")]


def _last_of(
    chunk: Recording,
    targets: NDArray[np.bool_],
    end_ns: NDArray[np.int64],
) -> Recording | None:
    """The last of some windows, as a recording of its own."""
    places = np.flatnonzero(targets)
    if not len(places):
        return None
    chosen = np.zeros(len(targets), np.bool_)
    chosen[places[np.argmax(end_ns[places])]] = True
    picked = chunk.pick_targets(chosen)
    # The words of all other rows of the chunk may be large.
    return replace(picked, table=with_used_names(picked.table, _WORDS))
