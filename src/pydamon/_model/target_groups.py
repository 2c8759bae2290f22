"""Parts of a snapshot by groups of targets, such as the processes of each container."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pydamon._model.mappings import MappingTable, forked_ranges, repeated_ranges
from pydamon._model.ranges import EMPTY, Ranges, covered, union
from pydamon._model.snapshot import Snapshot

__all__ = ["split_by_groups"]


def split_by_groups(snapshot: Snapshot, groups: Sequence[Sequence[int]]) -> list[Snapshot]:
    """A snapshot for each group of targets; *groups* holds their indices, in ascending order.

    In sums over a group, memory that its targets share counts once; memory that they share with
    other targets counts, too.
    """
    tables = [target.mappings for target in snapshot.targets]
    users, rows = _users(tables), snapshot.rows_by_target
    shared = [_mapped_by_several(table, users) for table in tables]
    return [_of_group(snapshot, indices, rows, users, shared) for indices in groups]


def _of_group(
    snapshot: Snapshot,
    indices: Sequence[int],
    rows: Sequence[slice],
    users: Counter[Hashable],
    shared: Sequence[Ranges],
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
    own = _repeated_within([target.mappings for target in part.targets], users)
    share = np.zeros(len(part))
    for index, ranges, of_part in zip(indices, own, part.rows_by_target, strict=True):
        bounds = part.start[of_part], part.end[of_part]
        every = covered(shared[index], *bounds)
        share[of_part] = covered(ranges, *bounds) / np.maximum(every, 1)
    repeated = np.rint(part.repeated_bytes * np.minimum(share, 1)).astype(np.int64)
    return replace(part, repeated_bytes=repeated)


def _users(tables: Sequence[MappingTable]) -> Counter[Hashable]:
    """How many mappings of each file, and targets of each origin, may share pages."""
    users: Counter[Hashable] = Counter(
        m.file for table in tables for m in table.mappings if m.shares_pages
    )
    users.update(table.origin for table in tables if table.origin is not None)
    return users


def _mapped_by_several(table: MappingTable, users: Counter[Hashable]) -> Ranges:
    """The memory of a target that may have pages which another mapping has, too."""
    rows = [(m.start, m.end) for m in table.mappings if m.shares_pages and users[m.file] > 1]
    forked = table.private if users[table.origin] > 1 else EMPTY
    return union(np.concatenate([np.array(rows, np.int64).reshape(-1, 2), forked]))


def _repeated_within(tables: Sequence[MappingTable], users: Counter[Hashable]) -> list[Ranges]:
    """For each target of a group the memory whose pages may count in another one of it.

    A page that counts in a target outside of the group counts in the lowest of those in it.
    """
    within = _users(tables)
    inside = Counter({name: count for name, count in within.items() if count == users[name]})
    repeated = zip(tables, repeated_ranges(tables), forked_ranges(tables), strict=True)
    return [
        union(np.concatenate([of_files, forked, _mapped_by_several(table, inside)]))
        for table, of_files, forked in repeated
    ]
