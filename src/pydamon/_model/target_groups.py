"""Parts of a snapshot by groups of targets, such as the processes of each container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import repeated_ranges
from pydamon._model.ranges import covered
from pydamon._model.snapshot import Snapshot

__all__ = ["split_by_groups"]


def split_by_groups(snapshot: Snapshot, groups: Sequence[Sequence[int]]) -> list[Snapshot]:
    """A snapshot for each group of targets; *groups* holds their indices, in ascending order.

    In sums over a group, memory that its targets share counts once; memory that they share with
    other targets counts, too.
    """
    whole, rows = _repeated_addresses(snapshot), snapshot.rows_by_target
    return [_of_group(snapshot, indices, rows, whole) for indices in groups]


def _of_group(
    snapshot: Snapshot, indices: Sequence[int], rows: Sequence[slice], whole: NDArray[np.float64]
) -> Snapshot:
    counts = [rows[index].stop - rows[index].start for index in indices]
    kept = np.concatenate([np.arange(rows[index].start, rows[index].stop) for index in indices])
    of_targets: dict[str, Any] = {
        name: tuple(values[index] for index in indices)
        for name in ("targets", "footprints", "page_maps", "cpu_use")
        if (values := getattr(snapshot, name))
    }
    part = replace(
        snapshot.pick(kept),
        **of_targets,
        target=np.repeat(np.arange(len(indices), dtype=np.int32), counts),
    )
    own, every = _repeated_addresses(part), whole[kept]
    share = np.divide(own, every, out=np.zeros(len(own)), where=every > 0)
    repeated = np.rint(part.repeated_bytes * np.minimum(share, 1)).astype(np.int64)
    return replace(part, repeated_bytes=repeated)


def _repeated_addresses(snapshot: Snapshot) -> NDArray[np.float64]:
    """How many bytes of each region an earlier target maps, too."""
    amounts = np.zeros(len(snapshot))
    repeated = repeated_ranges([target.mappings for target in snapshot.targets])
    for ranges, rows in zip(repeated, snapshot.rows_by_target, strict=True):
        amounts[rows] = covered(ranges, snapshot.start[rows], snapshot.end[rows])
    return amounts
