"""Sets of addresses, as (start, end) rows."""

from __future__ import annotations

import numpy as np

from pydamon.core.ranges import intersect
from pydamon.core.regions import Ranges

__all__ = ["common", "size_of", "union", "without"]


def size_of(ranges: Ranges) -> int:
    """Bytes of all together."""
    return int((ranges[:, 1] - ranges[:, 0]).sum())


def union(ranges: Ranges) -> Ranges:
    """The same bytes as sorted ranges that do not touch."""
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    heads = np.append(True, ranges[1:, 0] > reach[:-1])[: len(ranges)]
    tails = np.append(heads[1:], True)[: len(ranges)]
    return np.stack([ranges[heads, 0], reach[tails]], axis=1)


def without(ranges: Ranges, others: Ranges) -> Ranges:
    """The parts of *ranges* that are in none of *others*; both are disjoint rows."""
    address = np.concatenate([ranges, others]).ravel()
    step = np.concatenate([np.tile([1, -1], len(ranges)), np.tile([-2, 2], len(others))])
    order = np.argsort(address, kind="stable")
    address, depth = address[order], np.cumsum(step[order])
    left = (depth[:-1] == 1) & (address[:-1] < address[1:])
    return np.stack([address[:-1][left], address[1:][left]], axis=1)


def common(ranges: Ranges, others: Ranges) -> Ranges:
    """The parts of sorted *ranges* that are in any of *others*."""
    return intersect(ranges, union(others))
