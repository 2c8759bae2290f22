"""Ages of pages as a column: one word for each region, the same in every format."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.arrow import to_numpy
from pydamon._model.errors import RecordingError
from pydamon._model.page_ages import IDLE_EDGES_NS, AgeSums, bucket_of
from pydamon._model.runs import Runs, expand

__all__ = ["age_words", "sums_of_words"]

_NS_PER_MS, _KIB = 10**6, 1024
_LOWER_MS = np.append(0, -(-IDLE_EDGES_NS // _NS_PER_MS)).tolist()
_END = ord(";")
_LARGEST = 2**53
"""Larger numbers, which no monitor writes, would not fit once they are bytes or nanoseconds."""


def age_words(sums: Iterable[tuple[AgeSums | None, int]]) -> list[str]:
    """A word for each of so many regions: "IDLE_MS RESIDENT_KIB RETURNED_KIB;" for each bucket."""
    words: list[str] = []
    for ages, regions in sums:
        of_regions = [""] * regions
        if ages is not None:
            entries = [
                f"{_LOWER_MS[bucket]} {resident // _KIB} {returned // _KIB};"
                for bucket, resident, returned in zip(
                    ages.bucket.tolist(),
                    ages.resident_bytes.tolist(),
                    ages.returned_bytes.tolist(),
                    strict=True,
                )
            ]
            for first, beyond in Runs.of(ages.region):
                of_regions[int(ages.region[first])] = "".join(entries[first:beyond])
        words += of_regions
    return words


def sums_of_words(column: pa.DictionaryArray) -> AgeSums:
    """What the words of regions say; raises `RecordingError` if that makes no sense."""
    count, numbers = _parsed(column.dictionary)
    first = np.cumsum(count) - count
    codes = to_numpy(column.indices)
    region, place = expand(count[codes])
    entry = numbers[first[codes][region] + place]
    sums = AgeSums(region, bucket_of(entry[:, 0] * _NS_PER_MS), entry[:, 1], entry[:, 2])
    return AgeSums(sums.region, sums.bucket, sums.resident_bytes * _KIB, sums.returned_bytes * _KIB)


def _parsed(words: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many entries each word has, and the numbers of all entries: shape (n, 3)."""
    if not len(words):
        return np.zeros(0, np.int64), np.zeros((0, 3), np.int64)
    offsets = np.frombuffer(words.buffers()[1], np.int32)[words.offset :][: len(words) + 1]
    data = words.buffers()[2]
    text = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if data else np.zeros(0, "u1")
    ends = np.searchsorted(np.flatnonzero(text == _END), offsets - offsets[0])
    count = np.diff(ends)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of some text that is no number
        joined = text.tobytes().replace(b";", b" ").decode(errors="replace")
        numbers = _numbers(joined)
    whole = len(text) == 0 or text[-1] == _END
    if not whole or len(numbers) != 3 * ends[-1] or ((numbers < 0) | (numbers > _LARGEST)).any():
        raise RecordingError("its ages of pages (page_ages) make no sense")
    return count.astype(np.int64), numbers.reshape(-1, 3)


def _numbers(text: str) -> NDArray[np.int64]:
    try:
        return np.fromstring(text, np.int64, sep=" ")
    except ValueError:  # newer versions of NumPy raise it where others only warn
        return np.zeros(0, np.int64)
