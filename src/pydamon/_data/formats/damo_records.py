"""The records and snapshots in damo's JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pydamon._data.formats.target_ids import TargetIds
from pydamon._model.attrs import Attrs
from pydamon._model.damo_values import Value, integers, number_of

__all__ = ["TARGET_ID", "Age", "DamoSnapshot", "NrAccesses", "Record", "Region", "attrs_of"]

TARGET_ID = re.compile(rb'"target_id"\s*:\s*"?(\d{1,20})')
_INDICES = ("kdamond_idx", "context_idx", "scheme_idx", "target_id")
_LONGEST_US = 2**50


class NrAccesses(msgspec.Struct, gc=False):
    samples: Value = None
    percent: Value = None


class Age(msgspec.Struct, gc=False):
    usec: Value = None
    aggr_intervals: Value = None


class Region(msgspec.Struct, gc=False):
    start: int | str
    end: int | str
    nr_accesses: NrAccesses | None = None
    age: Age | None = None
    probe_hits: tuple[Any, ...] = ()
    sz_filter_passed: Value = None


class DamoSnapshot(msgspec.Struct):
    start_time: int | float | str
    end_time: int | float | str
    regions: list[Region]
    total_bytes: Value = None
    damos_stats: Any = None
    sample_interval_us: Value = None


_EMPTY_TAILS: tuple[dict[str, Any], ...] = (
    {},
    {"snapshots": []},
    {"snapshots": [], "data_source": "unknown"},
)


@dataclass(slots=True)
class Record:
    """The facts that a record states about all its snapshots.

    `head` and `tail` are its JSON before and behind the snapshots. `number` counts records from 1,
    and `snapshot_count` the snapshots that have become rows already. `pids` has the pid of each
    target whose regions the snapshots list: only a record without a target id has several. The id
    of a target serves as its pid, so that reports tell targets apart.
    """

    head: dict[str, Any]
    target_ids: TargetIds
    number: int = 1
    tail: dict[str, Any] = field(default_factory=dict)
    snapshot_count: int = 0
    target_id: int | None = None
    name: str = ""
    attrs: Attrs = field(default_factory=Attrs)
    pids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        target_id = self.head.get("target_id")
        if isinstance(target_id, str | int) and not isinstance(target_id, bool):
            self.target_id = number_of(target_id)
        pairs = [(name, self.head.get(f"{name}_idx")) for name in ("kdamond", "context", "scheme")]
        scheme = ", ".join(f"{name} {index}" for name, index in pairs if index is not None)
        self.name = scheme if self.target_id is None else f"target {self.target_id}"
        try:
            self.attrs = attrs_of(self.head.get("intervals"))
        except ValueError as error:
            raise ValueError(f"record {self.number}: its intervals: {error}") from error
        indices = [self.head.get(name) for name in _INDICES]
        # In files put together, records with the same indices and id are the same target.
        key = None if indices == [None] * len(_INDICES) else msgspec.json.encode(indices)
        self.pids.append(self.target_ids.pid(self.target_id, key))

    def pid_of(self, index: int) -> int:
        """The pid of the target whose list of regions has that index."""
        while len(self.pids) <= index:
            self.pids.append(self.target_ids.pid(None))
        return self.pids[index]

    def name_of(self, index: int) -> str:
        """The name of the target whose list of regions has that index."""
        return ", ".join(filter(None, [self.name, f"target {index}"])) if index else self.name

    def extra_of(self, index: int) -> dict[str, Any]:
        """The facts that no column holds, so that the record can be written again."""
        extra: dict[str, Any] = {"record": _without_snapshots(self.head)}
        if self.tail not in _EMPTY_TAILS:
            extra["tail"] = _without_snapshots(self.tail)
        if index:
            extra["with_pid"] = self.pids[0]
        return extra


def _without_snapshots(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "snapshots"}


def attrs_of(intervals: Any) -> Attrs:
    """The intervals of a record; the usual ones if it does not state them."""
    names = ("sample_us", "aggr_us", "ops_update_us")
    if not isinstance(intervals, dict) or any(intervals.get(name) is None for name in names):
        return Attrs()
    values = integers([str(intervals[name]) for name in names], number_of).tolist()
    if max(values) > _LONGEST_US:
        raise ValueError("intervals are too long")
    sampling_ns, aggregation_ns, update_ns = (1000 * value for value in values)
    return Attrs(sampling_ns, aggregation_ns, max(update_ns, aggregation_ns))
