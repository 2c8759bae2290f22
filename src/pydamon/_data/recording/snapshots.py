"""Snapshots as objects, out of the columns of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.snapshot import Cost, Footprint, Snapshot, Target

if TYPE_CHECKING:
    from pydamon._data.recording.recording import Recording

__all__ = ["snapshot_of"]


def snapshot_of(recording: Recording, index: int) -> Snapshot:
    """The snapshot of that number."""
    first, beyond = recording.snapshot_offsets[index : index + 2].tolist()
    begin, end = np.searchsorted(recording.part_snapshots, [index, index + 1]).tolist()
    parts = range(begin, end)

    def fact(name: str) -> int:
        return int(recording.of_snapshots(name)[index])

    def column(name: str) -> NDArray[np.int64]:
        return recording.column(name)[first:beyond].astype(np.int64)

    most, nr_accesses = fact("max_nr_accesses"), column("nr_accesses")
    each_most = column("max_nr_accesses")
    if (each_most != most).any():  # of several hosts, say: rates stay what they were
        nr_accesses = np.ceil(nr_accesses / each_most * most - 1e-9).astype(np.int64)
    return Snapshot(
        fact("start_ns"),
        fact("end_ns"),
        fact("sampling_ns"),
        most,
        tuple(_target(recording, part) for part in parts),
        np.repeat(
            np.arange(len(parts), dtype=np.int32),
            np.diff(recording.part_offsets[begin : end + 1]),
        ),
        column("start"),
        column("end"),
        nr_accesses,
        column("age"),
        column("touched_bytes"),
        column("unobservable_bytes"),
        Cost(fact("cpu_ns"), fact("interruption_ns"), fact("late_ticks")),
        _footprints(recording, slice(begin, end)),
        **{
            name: column(name)
            for name in ("age_ns", "resident_bytes", "unseen_bytes", "repeated_bytes")
        },
    )


def _target(recording: Recording, part: int) -> Target:
    """The target of a part, with a mapping for each run of regions that have its name."""
    first, beyond = recording.part_offsets[part : part + 2].tolist()
    start, end = (recording.column(name)[first:beyond] for name in ("start", "end"))
    mapping, perms = (recording.codes(name)[first:beyond] for name in ("mapping", "perms"))
    new = np.ones(beyond - first, np.bool_)
    new[1:] = (start[1:] != end[:-1]) | (mapping[1:] != mapping[:-1]) | (perms[1:] != perms[:-1])
    heads = np.flatnonzero(new)
    tails = np.append(heads, beyond - first)[1:] - 1
    mapping_names, perms_names = recording.mapping_names
    found = (
        Mapping(low, high, perms_names[p], mapping_names[m])
        for low, high, p, m in zip(
            start[heads].tolist(),
            end[tails].tolist(),
            perms[heads].tolist(),
            mapping[heads].tolist(),
            strict=True,
        )
    )
    table = MappingTable(tuple(one for one in found if one.perms or one.name))
    target = recording.targets[int(recording.part_targets[part])]
    name = recording.names("target")[int(recording.of_parts("target")[part])]
    return Target(target.pid, name, table, target.started_ns, target.host)


def _footprints(recording: Recording, parts: slice) -> tuple[Footprint, ...]:
    """Those of some parts; none where none is known."""
    known = [recording.of_parts(name)[parts].tolist() for name in ("vsz_bytes", "rss_bytes")]
    return tuple(map(Footprint, *known)) if any(map(any, known)) else ()
