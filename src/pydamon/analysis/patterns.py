"""Regular expressions that people give, searched for in time that goes with the length of a text.

Python's own engine tries every way to match: `(x+x+)+y` takes it hours for a name of 40 letters.
RE2, which Arrow brings along, does not; it has neither look-around nor references to groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon.recording.arrays import strings

__all__ = ["Test", "searching"]

Test: TypeAlias = Callable[[Sequence[str]], NDArray[np.bool_]]
"""Of which texts something holds: shape (len(texts),)."""


def searching(expression: str) -> Test:
    """Whether it is found in texts; raises `ValueError` that says what cannot be read of it."""
    from pyarrow import compute  # noqa: PLC0415  (takes a tenth of a report's start)

    def found(texts: Sequence[str]) -> NDArray[np.bool_]:
        hits = compute.match_substring_regex(strings(texts), pattern)
        return np.array(hits.to_pylist(), np.bool_)

    pattern = expression.encode(errors="backslashreplace").decode()
    try:
        found([""])
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ").splitlines()[0][:80]
        raise ValueError(f"not a regular expression that RE2 knows: {reason}") from error
    return found
