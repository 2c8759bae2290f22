"""Bytes that pass filters as a column: one word for each region, the same in every format.

A word names the kinds and has a number of bytes for each: `anon,memcg:/app 8192 4096`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.arrow import to_numpy
from pydamon._model.errors import RecordingError
from pydamon._model.passed import PassedBytes

__all__ = ["kinds_of_words", "passed_of_words", "passed_words"]

_LARGEST = 2**53
_PLAIN = "/:.-_@"
"""Characters of cgroups' names that stay as they are."""


def passed_words(parts: Iterable[tuple[PassedBytes | None, int]]) -> list[str]:
    """A word for each of so many regions; empty where nobody has looked."""
    words: list[str] = []
    for passed, regions in parts:
        if passed is None or not passed.kinds:
            words += [""] * regions
            continue
        kinds = ",".join(quote(kind, safe=_PLAIN) for kind in passed.kinds)
        rows = passed.size_bytes.T
        known: list[bool] = np.all(rows >= 0, axis=1).tolist()
        words += [
            f"{kinds} {' '.join(map(str, row))}" if is_known else ""
            for row, is_known in zip(rows.tolist(), known, strict=True)
        ]
    return words


def kinds_of_words(words: Iterable[str]) -> tuple[str, ...]:
    """All kinds that some words name, in the order of their appearance."""
    heads = dict.fromkeys(word.partition(" ")[0] for word in words)
    kinds = (unquote(kind) for head in heads for kind in head.split(",") if kind)
    return tuple(dict.fromkeys(kinds))


def passed_of_words(
    column: pa.DictionaryArray, kinds: Sequence[str] | None = None
) -> PassedBytes | None:
    """What the words of regions say of *kinds* (default: all); `None` if they say nothing.

    Raises `RecordingError` for words that make no sense.
    """
    words: list[str] = column.dictionary.to_pylist()
    heads = [word.partition(" ") for word in words]
    if not any(head for head, _, _ in heads):
        return None
    kinds = kinds_of_words(words) if kinds is None else kinds
    of_words = PassedBytes.unknown(kinds, len(words)).size_bytes
    for head in dict.fromkeys(head for head, _, _ in heads if head):
        index = np.array([i for i, (of, _, _) in enumerate(heads) if of == head])
        names = [unquote(kind) for kind in head.split(",")]
        numbers = _numbers([heads[i][2] for i in index.tolist()], len(names))
        for row, kind in enumerate(kinds):
            if kind in names:
                of_words[row, index] = numbers[:, names.index(kind)]
    return PassedBytes(tuple(kinds), of_words[:, to_numpy(column.indices)])


def _numbers(texts: Sequence[str], count: int) -> NDArray[np.int64]:
    """The numbers of texts with *count* numbers each: shape (texts, count)."""
    rows = [text.split(" ") for text in texts]
    if any(len(row) != count for row in rows):
        raise _nonsense()
    try:
        numbers = np.array(rows, np.str_).astype(np.int64)
    except (ValueError, OverflowError):
        raise _nonsense() from None
    if ((numbers < 0) | (numbers > _LARGEST)).any():
        raise _nonsense()
    return numbers.reshape(-1, count)


def _nonsense() -> RecordingError:
    return RecordingError("its bytes that pass filters (passed) make no sense")
