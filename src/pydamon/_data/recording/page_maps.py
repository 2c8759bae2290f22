"""Maps of single pages as a column: in the first rows of a target, the same in every format.

A word is `LOOKED_NS SHARE DATA`. DATA is Base64 of a zlib stream: the bytes of a page, how
many stretches and codes there are, the idle time of each code, the stretches, and a byte for each
page.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import RecordingError
from pydamon._model.page_map import UNKNOWN_NS, PageMap
from pydamon._model.page_size import PAGE_SIZES

__all__ = ["MAX_WORD_BYTES", "map_of_words", "map_words"]

_CHUNK_PAGES = 2**21
"""A word has so many pages, if the target has rows enough."""
MAX_WORD_BYTES = 2**24
_LEVEL = 1
"""Of zlib: the monitor waits for it, and higher levels save hardly any space."""
_MAX_DATA_BYTES = 2**26
_MAX_CODES = 256
_HEAD = np.dtype([("page_bytes", "<u4"), ("stretches", "<u4"), ("codes", "<u4")])
_STRETCH = np.dtype([("page", "<u8"), ("pages", "<u4")])
_LARGEST_ADDRESS = 2**57


def map_words(maps: Iterable[tuple[PageMap | None, int]]) -> list[str]:
    """A word for each of so many rows of each target: those of its map, then empty ones."""
    words: list[str] = []
    for page_map, rows in maps:
        of_target = [] if page_map is None or not rows else _words(page_map, rows)
        words += [*of_target, *[""] * (rows - len(of_target))]
    return words


def _words(page_map: PageMap, rows: int) -> list[str]:
    pages = len(page_map.codes)
    words = [_word(part) for part in page_map.chunks(max(_CHUNK_PAGES, -(-2 * pages // rows)))]
    return words if all(len(word) <= MAX_WORD_BYTES for word in words) else []


def _word(page_map: PageMap) -> str:
    compact = page_map.compact()
    page_bytes = compact.page_bytes
    head = np.array([(page_bytes, len(compact.start), len(compact.idle_ns))], _HEAD)
    stretches = np.empty(len(compact.start), _STRETCH)
    stretches["page"], stretches["pages"] = compact.start // page_bytes, compact.pages
    parts = head, compact.idle_ns.astype("<i8"), stretches, compact.codes
    data = zlib.compress(b"".join(part.tobytes() for part in parts), _LEVEL)
    return f"{compact.looked_ns} {compact.followed_share:g} {b64encode(data).decode()}"


def map_of_words(words: Sequence[str]) -> PageMap | None:
    """The map that the words of a target's rows tell; `None` if they tell none.

    Raises `RecordingError` for words that make no sense.
    """
    parts = [_parsed(word) for word in words if word]
    if not parts:
        return None
    if len({(part.looked_ns, part.page_bytes) for part in parts}) > 1:
        raise _nonsense()
    whole = PageMap.joined(parts)
    if len(whole.idle_ns) > _MAX_CODES:
        raise _nonsense()
    ends = whole.start + whole.pages * whole.page_bytes
    if (whole.start[1:] < ends[:-1]).any():
        raise _nonsense()
    return whole


def _parsed(word: str) -> PageMap:
    try:
        looked, share, text = word.split(" ")
        looked_ns, followed_share = int(looked), float(share)
        data = _decompressed(b64decode(text, validate=True))
        return _read(looked_ns, followed_share, data)
    except (ValueError, Base64Error, zlib.error):
        raise _nonsense() from None


def _decompressed(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(data, _MAX_DATA_BYTES)
    if not stream.eof:
        raise ValueError("too large, or cut off")
    return content


def _read(looked_ns: int, followed_share: float, data: bytes) -> PageMap:
    """A map of its content; raises `ValueError`."""
    head = np.frombuffer(data, _HEAD, 1)
    page_bytes, stretches, codes = (int(head[name][0]) for name in _HEAD.names or ())
    at = _HEAD.itemsize
    idle_ns = np.frombuffer(data, "<i8", codes, at).astype(np.int64)
    rows = np.frombuffer(data, _STRETCH, stretches, at + idle_ns.nbytes)
    pages = rows["pages"].astype(np.int64)
    values = np.frombuffer(data, np.uint8, offset=at + idle_ns.nbytes + rows.nbytes)
    is_sound = (
        page_bytes in PAGE_SIZES
        and 0 <= looked_ns < 2**63
        and 0 < followed_share <= 1
        and (pages > 0).all()
        and len(values) == pages.sum()
        and (len(values) == 0 or int(values.max()) < codes)
        and (idle_ns >= UNKNOWN_NS).all()
        and (rows["page"] < _LARGEST_ADDRESS // page_bytes).all()
    )
    if not is_sound:
        raise ValueError("values that make no sense")
    start: NDArray[np.int64] = rows["page"].astype(np.int64) * page_bytes
    return PageMap(looked_ns, followed_share, start, pages, values, idle_ns, page_bytes)


def _nonsense() -> RecordingError:
    return RecordingError("its map of pages (page_map) makes no sense")
