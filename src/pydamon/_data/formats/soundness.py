"""Rows that cannot come from a monitor: no reader takes them, and no writer writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.accessed_within import falls
from pydamon._data.recording.coverage import Overlap, TargetNumbers
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.schema import COLUMNS
from pydamon._model.display import printable
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import UNKNOWN

__all__ = ["SoundChunks", "first_nonsense"]

_MAX_ADDRESS = 2**57
"""No address space that Linux gives to a process is larger; sums of sizes stay within int64."""
_MAY_BE_UNKNOWN = ("resident_bytes", "age_ns")
_WITHIN_SIZE = ("touched_bytes", "unobservable_bytes", "resident_bytes", "unseen_bytes")
_NUMBERS = tuple(field.name for field in COLUMNS if pa.types.is_integer(field.type))
_SHARES = ("access_share", "access_share_error")
_OVERLAPS = "start is before the end of another region"


def first_nonsense(recording: Recording) -> tuple[int, str] | None:
    """The first row that cannot come from a monitor, and the reason."""
    first, reason = len(recording.table), ""
    for is_wrong, why in _checks(recording):
        row = int(is_wrong.argmax()) if is_wrong.any() else first
        if row < first:
            first, reason = row, why
    if not reason:
        return None
    start, end = (int(recording.column(name)[first]) for name in ("start", "end"))
    values = [
        f"{name} {recording.column(name)[first]}"
        for name in reason.split()
        if name in _NUMBERS or name in _SHARES
    ]
    return first, (
        f"{reason} ({', '.join(values)}) in region {start:#x}-{end:#x} of the snapshot that began "
        f"at {int(recording.column('start_ns')[first])} ns"
    )


def _checks(recording: Recording) -> Iterator[tuple[NDArray[np.bool_], str]]:
    """Which rows fail each check, and how to say so."""
    column = {name: recording.column(name) for name in _NUMBERS}
    for name, values in column.items():
        least = UNKNOWN if name in _MAY_BE_UNKNOWN else 0
        yield values < least, f"{name} is negative"
    size = column["end"] - column["start"]
    yield size <= 0, "end is not behind start"
    yield column["end"] > _MAX_ADDRESS, "end is beyond every address space"
    yield column["end_ns"] < column["start_ns"], "end_ns is before start_ns"
    yield column["max_nr_accesses"] < 1, "max_nr_accesses is 0"
    yield column["nr_accesses"] > column["max_nr_accesses"], "nr_accesses is above max_nr_accesses"
    for name in _SHARES:  # NaN is unknown
        values = recording.column(name)
        yield (values < 0) | np.isinf(values), f"{name} is no share"
    yield recording.column("access_share") > 1, "access_share is above 1"
    yield falls(column["accessed_within"]), "accessed_within falls as times rise"
    followed = recording.column("followed_share")
    yield ~((followed > 0) & (followed <= 1)), "followed_share is no share"
    for name in _WITHIN_SIZE:
        yield column[name] > size, f"{name} is more than there is"
    resident = np.maximum(column["resident_bytes"], 0)
    yield column["repeated_bytes"] > resident, "repeated_bytes is above resident_bytes"
    # The regions of a target are sorted and do not overlap.
    overlaps = np.zeros(len(size), np.bool_)
    overlaps[1:] = column["start"][1:] < column["end"][:-1]
    for name in ("start_ns", "end_ns", "pid", "process_started_ns"):
        overlaps[1:] &= column[name][1:] == column[name][:-1]
    for name in ("host", "target"):
        overlaps[1:] &= np.diff(_distinct_codes(recording, name)) == 0
    yield overlaps, _OVERLAPS


def _distinct_codes(recording: Recording, name: str) -> NDArray[np.int64]:
    """The codes of names, equal where the names are: a reader may have found a name twice."""
    first: dict[str, int] = {}
    codes = [first.setdefault(word, code) for code, word in enumerate(recording.names(name))]
    return np.array(codes, np.int64)[recording.codes(name)]


class SoundChunks:
    """The chunks of a recording on their way to a file.

    Reading them raises `RecordingError` where the file could not be read again.
    """

    def __init__(self, chunks: Iterable[Recording]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[Recording]:
        numbers, windows = TargetNumbers(), []
        for chunk in self._chunks:
            _check(chunk)
            times = (chunk.per_target("start_ns"), chunk.per_target("end_ns"))
            windows.append(np.stack([numbers.per_target(chunk), *times]))
            yield chunk
        problem = getattr(self._chunks, "problem", "")
        if problem and not windows:
            raise RecordingError("nothing of the recording can be read", hint=problem)
        if windows:
            _check_windows(np.concatenate(windows, axis=1), numbers)


def _check(chunk: Recording) -> None:
    nonsense = first_nonsense(chunk)
    if nonsense is None:
        return
    row, reason = nonsense
    if not reason.startswith(_OVERLAPS):
        raise RecordingError(f"the recording cannot be written: regions make no sense: {reason}")
    raise _is_twice(
        chunk.names("target")[chunk.codes("target")[row]], int(chunk.column("start_ns")[row])
    )


def _check_windows(windows: NDArray[np.int64], numbers: TargetNumbers) -> None:
    """Raise `RecordingError` if a target has the same window twice: readers would join both."""
    windows = windows[:, np.lexsort(windows)]
    twice = np.flatnonzero((windows[:, 1:] == windows[:, :-1]).all(axis=0))
    if len(twice):
        target, start_ns, _ = windows[:, twice[0]].tolist()
        raise _is_twice(numbers.targets[target].name, start_ns)


def _is_twice(target: str, start_ns: int) -> RecordingError:
    overlap = Overlap(printable(target), start_ns, 0, same=True)
    return RecordingError(
        f"the recording cannot be written: {overlap}, in the same window",
        hint="recordings put together overlap: `pydamon slice` takes a part of one of them",
    )
