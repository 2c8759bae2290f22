"""The regions of a snapshot as they are, one a line."""

from __future__ import annotations

from collections.abc import Iterator

from pydamon.core.snapshot import Snapshot
from pydamon.core.units import format_duration
from pydamon.views.text import age, mapping_label, printable, size, target_label

__all__ = ["region_lines"]


def region_lines(snapshot: Snapshot, started_ns: int) -> Iterator[str]:
    """A heading for each target of a snapshot, with the time since *started_ns*, and its regions.

    Plain text, since there can be a hundred thousand of them.
    """
    most = snapshot.max_nr_accesses
    since = format_duration(max(0, snapshot.start_ns - started_ns))
    mapping = snapshot.mapping
    for index, target in enumerate(snapshot.targets):
        rows = (snapshot.target == index).nonzero()[0].tolist()
        yield (
            f"{target_label(target)}: after {since}, in {format_duration(snapshot.window_ns)}, "
            f"{len(rows)} regions"
        )
        yield f"  {'address':>25} {'size':>9} {'accesses':>9} {'age':>8} {'touched':>9}  mapping"
        for i in rows:
            start, end = int(snapshot.start[i]), int(snapshot.end[i])
            accesses = f"{snapshot.nr_accesses[i]}/{most}"
            line = (
                f"  {f'{start:x}-{end:x}':>25} {size(end - start):>9} {accesses:>9} "
                f"{age(int(snapshot.age_ns[i])):>8} {size(int(snapshot.touched_bytes[i])):>9}  "
            )
            if mapping[i] < 0:
                yield line + mapping_label("")
            else:
                one = target.mappings.mappings[int(mapping[i])]
                yield f"{line}{mapping_label(one.name)} {printable(one.perms)}"
