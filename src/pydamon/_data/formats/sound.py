"""Whether rows can have come from a monitor: files come from anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.format import COLUMNS
from pydamon._data.recording.recording import Recording
from pydamon._model.snapshot import UNKNOWN

__all__ = ["first_nonsense"]

_MAX_ADDRESS = 2**57
"""No address space that Linux gives to a process is larger; sums of sizes stay within int64."""
_MAY_BE_UNKNOWN = ("resident_bytes", "age_ns")
_PART_OF_SIZE = ("touched_bytes", "unobservable_bytes", "resident_bytes", "unseen_bytes")


def first_nonsense(recording: Recording) -> tuple[int, str] | None:
    """The first row that makes no sense, and what is wrong with it, where it is."""
    first, reason = len(recording.table), ""
    for wrong, why in _checks(recording):
        row = int(wrong.argmax()) if wrong.any() else first
        if row < first:
            first, reason = row, why
    if not reason:
        return None
    start, end = (int(recording.column(name)[first]) for name in ("start", "end"))
    values = [
        f"{name} {int(recording.column(name)[first])}" for name in reason.split() if name in _NAMES
    ]
    return first, (
        f"{reason} ({', '.join(values)}) in region {start:#x}-{end:#x} of the snapshot that began "
        f"at {int(recording.column('start_ns')[first])} ns"
    )


_NAMES = frozenset(field.name for field in COLUMNS if pa.types.is_integer(field.type))


def _checks(recording: Recording) -> Iterator[tuple[NDArray[np.bool_], str]]:
    column = {name: recording.column(name) for name in _NAMES}
    for field in COLUMNS:
        if field.name in _NAMES:
            least = UNKNOWN if field.name in _MAY_BE_UNKNOWN else 0
            yield column[field.name] < least, f"{field.name} is negative"
    size = column["end"] - column["start"]
    yield size <= 0, "end is not behind start"
    yield column["end"] > _MAX_ADDRESS, "end is beyond every address space"
    yield column["end_ns"] < column["start_ns"], "end_ns is before start_ns"
    yield column["max_nr_accesses"] < 1, "max_nr_accesses is 0"
    yield column["nr_accesses"] > column["max_nr_accesses"], "nr_accesses is above max_nr_accesses"
    for name in _PART_OF_SIZE:
        yield column[name] > size, f"{name} is more than there is"
    resident = np.maximum(column["resident_bytes"], 0)
    yield column["repeated_bytes"] > resident, "repeated_bytes is above resident_bytes"
    # In one target's part of a snapshot, regions are sorted and do not overlap.
    overlaps = np.zeros(len(size), np.bool_)
    overlaps[1:] = column["start"][1:] < column["end"][:-1]
    for name in ("start_ns", "end_ns", "pid", "process_started_ns"):
        overlaps[1:] &= column[name][1:] == column[name][:-1]
    for name in ("host", "target"):
        overlaps[1:] &= np.diff(recording.codes(name)) == 0
    yield overlaps, "start is before the end of another region"
