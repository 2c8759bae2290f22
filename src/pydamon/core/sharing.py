"""Memory that several mappings have between them: it is resident once, however many map it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pydamon.core.mappings import MappingTable
from pydamon.core.ranges import EMPTY, joined
from pydamon.core.regions import Ranges

__all__ = ["repeated"]


def repeated(tables: Sequence[MappingTable]) -> list[Ranges]:
    """For each target the memory whose pages another mapping has, too, and counts.

    Of mappings of the same part of a file the first counts: that of the lowest target.
    """
    rows = [
        (mapping.file, mapping.offset, target, mapping.start, mapping.end)
        for target, table in enumerate(tables)
        for mapping in table.mappings
        if mapping.shares_pages
    ]
    found: list[list[tuple[int, int]]] = [[] for _ in tables]
    file, counted_to = "", 0
    # In the order of their offsets, what has been counted of a file before a mapping begins at or
    # before it, and has no gap within it.
    for name, offset, target, start, end in sorted(rows):
        if name != file:
            file, counted_to = name, 0
        again = min(end - start, counted_to - offset)
        if again > 0:
            found[target].append((start, start + again))
        counted_to = max(counted_to, offset + end - start)
    return [
        joined(np.array(sorted(one), np.int64).reshape(-1, 2)) if one else EMPTY for one in found
    ]
