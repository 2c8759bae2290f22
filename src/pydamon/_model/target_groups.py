"""Parts of a snapshot by groups of targets, such as the processes of each container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import repeated_ranges
from pydamon._model.ranges import covered
from pydamon._model.snapshot import Snapshot

__all__ = ["split_by_groups"]


def split_by_groups(snapshot: Snapshot, groups: Sequence[Sequence[int]]) -> list[Snapshot]:
    """A snapshot for each group of targets; *groups* holds their indices.

    In sums over a group, memory that its targets share counts once; memory that they share with
    other targets counts, too.
    """
    whole = _repeated_addresses(snapshot, range(len(snapshot.targets)))
    return [_of_group(snapshot, indices, whole) for indices in groups]


def _of_group(snapshot: Snapshot, indices: Sequence[int], whole: NDArray[np.float64]) -> Snapshot:
    number = np.full(len(snapshot.targets), -1, np.int32)
    number[list(indices)] = np.arange(len(indices), dtype=np.int32)
    rows = number[snapshot.target] >= 0
    part = snapshot.pick(rows)
    own, every = _repeated_addresses(snapshot, indices)[rows], whole[rows]
    share = np.divide(own, every, out=np.zeros(len(own)), where=every > 0)
    repeated = np.rint(part.repeated_bytes * np.minimum(share, 1)).astype(np.int64)
    footprints = snapshot.footprints
    return replace(
        part,
        targets=tuple(snapshot.targets[index] for index in indices),
        footprints=tuple(footprints[index] for index in indices) if footprints else (),
        target=number[part.target],
        repeated_bytes=repeated,
    )


def _repeated_addresses(snapshot: Snapshot, indices: Sequence[int]) -> NDArray[np.float64]:
    """How many bytes of each region an earlier target of *indices* maps, too."""
    amounts = np.zeros(len(snapshot))
    tables = [snapshot.targets[index].mappings for index in indices]
    for index, ranges in zip(indices, repeated_ranges(tables), strict=True):
        rows = snapshot.target == index
        amounts[rows] = covered(ranges, snapshot.start[rows], snapshot.end[rows])
    return amounts
