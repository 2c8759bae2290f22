"""Snapshots for tests of schemes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from pydamon._act.runtime.candidates import Candidates
from pydamon._model.snapshot import Snapshot, Target
from tests.strategies import SAMPLES, tables

__all__ = ["AGGREGATION_NS", "all_of", "bytes_of", "snapshot_of", "snapshots"]

AGGREGATION_NS = 100 * 10**6


def snapshot_of(
    rows: list[tuple[int, int, int, int]], target: int = 0, unit: int = 4096
) -> Snapshot:
    """A snapshot of (start, end, nr_accesses, age), addresses in *unit* bytes."""
    columns = np.array(rows, np.int64).reshape(-1, 4)
    n = len(columns)
    return Snapshot(
        start_ns=0,
        end_ns=AGGREGATION_NS,
        sampling_ns=AGGREGATION_NS // SAMPLES,
        max_nr_accesses=SAMPLES,
        targets=tuple(Target(0, f"target {i}") for i in range(target + 1)),
        target=np.full(n, target, np.int32),
        start=columns[:, 0] * unit,
        end=columns[:, 1] * unit,
        nr_accesses=columns[:, 2],
        age=columns[:, 3],
        touched_bytes=np.zeros(n, np.int64),
        unobservable_bytes=np.zeros(n, np.int64),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Snapshots of several targets, with regions of every kind."""
    table = draw(tables())
    nothing = np.zeros(len(table), np.int64)
    return Snapshot(
        start_ns=0,
        end_ns=AGGREGATION_NS,
        sampling_ns=AGGREGATION_NS // SAMPLES,
        max_nr_accesses=SAMPLES,
        targets=tuple(Target(0, f"target {i}") for i in range(4)),
        target=table.target,
        start=table.start,
        end=table.end,
        nr_accesses=table.nr_accesses.astype(np.int64),
        age=table.age_ns.astype(np.int64),
        touched_bytes=nothing,
        unobservable_bytes=nothing,
    )


def all_of(snapshot: Snapshot) -> Candidates:
    """Every region of a snapshot."""
    return Candidates.all_of(snapshot)


def bytes_of(candidates: Candidates) -> list[tuple[int, int, int]]:
    """(target, start, end) of the candidates, in their order."""
    columns = (candidates.target, candidates.start, candidates.end)
    return list(zip(*(column.tolist() for column in columns), strict=True))
