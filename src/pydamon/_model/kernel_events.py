"""Events of the kernel's tracepoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESULTS", "KernelEvents"]

RESULTS = ("damon_aggregated", "damon_region_aggregated")
"""Tracepoints that tell the regions of an aggregation: snapshots have what they say."""


@dataclass(frozen=True, slots=True, eq=False)
class KernelEvents:
    """Events of one tracepoint, oldest first: arrays with one entry an event.

    Attributes
    ----------
    name : str
        The tracepoint, such as ``"damos_before_apply"``.
    time_ns : array of int
        Unix time.
    kdamond : array of int
        The pid of the kernel's thread that the event is of.
    values : mapping of str to array of int
        The fields, named and in the units that the kernel has.
    """

    name: str
    time_ns: NDArray[np.int64]
    kdamond: NDArray[np.int64]
    values: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.time_ns)
