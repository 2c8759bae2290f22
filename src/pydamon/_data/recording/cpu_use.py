"""Functions that ran as a column: in the first row of a target, the same in every format.

A word is JSON: a list of `[FUNCTION, FILE, SAMPLES]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pydamon._model.cpu_use import CpuUse
from pydamon._model.errors import RecordingError

__all__ = ["MAX_USE_BYTES", "use_of_words", "use_words"]

MAX_USE_BYTES = 2**18
_MOST_FUNCTIONS = 300
"""Of a window: the functions that ran least count as others."""
_OTHERS = "[others]"
_DECODER = msgspec.json.Decoder(list[tuple[str, str, int]])


def use_words(use: Iterable[tuple[CpuUse | None, int]]) -> list[str]:
    """A word for each of so many rows of each target: the first tells its functions."""
    words: list[str] = []
    for of_target, rows in use:
        if rows:
            words += [_word(of_target) if of_target else "", *[""] * (rows - 1)]
    return words


def _word(use: CpuUse) -> str:
    most, rest = use.functions[:_MOST_FUNCTIONS], use.functions[_MOST_FUNCTIONS:]
    others = ((_OTHERS, "", sum(count for _, _, count in rest)),) if rest else ()
    functions = [(_fit(function), _fit(file), count) for function, file, count in (*most, *others)]
    word = msgspec.json.encode(functions)
    return word.decode() if len(word) <= MAX_USE_BYTES else ""


def _fit(name: str) -> str:
    """A name as JSON can hold it: bytes that are not UTF-8 are escaped."""
    return name.encode(errors="backslashreplace").decode()


def use_of_words(words: Sequence[str]) -> CpuUse | None:
    """What the words of a target's rows tell; `None` if they tell nothing.

    Raises `RecordingError` for words that make no sense.
    """
    functions: list[tuple[str, str, int]] = []
    for word in words:
        if word:
            functions += _parsed(word)
    return CpuUse(tuple(functions)) if functions else None


def _parsed(word: str) -> list[tuple[str, str, int]]:
    try:
        functions = _DECODER.decode(word)
    except (msgspec.DecodeError, UnicodeError):
        functions = [("", "", 0)]
    if any(count < 1 or count >= 2**31 for _, _, count in functions):
        raise RecordingError("its functions that ran (cpu_use) make no sense")
    return functions
