r"""Names of processes, files and cgroups, made safe to show.

Such a name may hold any character: control characters that a terminal obeys, marks that turn the
direction of the text behind them, bytes that are not UTF-8. All code that shows a name uses these
functions; code that stores names stores them unchanged.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["blanked", "dump_json", "printable"]

_LONE_SURROGATE = re.compile(
    r"(\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|\\(ud[89a-f][0-9a-f]{2})"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""Replace each character that cannot be shown by an escape (`\n`, `\x1b`, `\u202e`).

    The result is one line without control characters, bidirectional marks and lone surrogates,
    valid in UTF-8, XML and a Prometheus label. It may still hold `<`, `&` and quotes.

    Examples
    --------
    >>> printable("a\x1b[31mred\u202e\udcff")
    'a\\x1b[31mred\\u202e\\xff'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def blanked(text: str) -> str:
    """Replace each character that cannot be shown by a blank; the length stays."""
    return "".join(char if char.isprintable() else " " for char in text)


def dump_json(document: Any, *, compact: bool = False) -> str:
    r"""Write a document as JSON that every parser takes: ASCII, and no lone surrogate.

    A byte of a name that is not UTF-8 is a lone surrogate in Python, which JSON must not hold: it
    becomes the six characters `\udcff`, as in recordings.
    """
    # Imported here: most users of this module need no JSON, and start sooner.
    import json  # noqa: PLC0415

    text = json.dumps(document, separators=(",", ":") if compact else None)
    if "\\ud" in text:
        text = _LONE_SURROGATE.sub(lambda match: match[1] or "\\\\" + match[2], text)
    return text


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, by surrogateescape
        code -= 0xDC00
    if char in _SHORT:
        return _SHORT[char]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
