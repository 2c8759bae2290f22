"""What formats can hold, and what of a recording they cannot.

A format that has every column holds everything, also what is added later. Any other says what it
holds; whatever else a recording has is lost there, and is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.formats.extras import extras_of
from pydamon._data.recording.arrays import ages_ns, distinct, missing_numbers
from pydamon._data.recording.format import COLUMNS, EXTRA, RecordingInfo
from pydamon._data.recording.recording import Recording
from pydamon._model.attrs import Attrs
from pydamon._model.classify import UNKNOWN

__all__ = ["Holds", "Losses", "Partly", "TargetKeys", "lost_ages", "lost_names", "lost_touched"]

Partly: TypeAlias = Callable[[Recording, dict[Any, Any]], Iterable[str]]
"""The columns of a part in which something is lost; the dictionary keeps what parts before said."""


@dataclass(frozen=True, slots=True)
class Holds:
    """What a format holds.

    `columns` it holds as they are, but for what `partly` names; of `EXTRA` it holds these keys.
    `attrs` and `info` are the fields of a recording's description that it holds.
    """

    columns: Set[str]
    extra_keys: Set[str]
    attrs: Set[str]
    partly: Partly


class Losses:
    """The parts of a recording on their way to a format, and the names of what gets lost there."""

    def __init__(
        self, holds: Holds | None, info: RecordingInfo, parts: Iterable[Recording]
    ) -> None:
        self._holds = holds
        self._parts = parts
        self._found: dict[str, None] = {}
        self._memory: dict[Any, Any] = {}
        self._is_known = holds is None
        if holds is not None:
            self._found |= dict.fromkeys(_lost_info(holds, info))

    @property
    def names(self) -> tuple[str, ...]:
        """Columns, keys of `extra` and fields of the description, once the parts were read."""
        order = {name: place for place, name in enumerate(COLUMNS.names)}
        return tuple(sorted(self._found, key=lambda name: order.get(name, len(order))))

    def __iter__(self) -> Iterator[Recording]:
        for part in self._parts:
            if self._holds is not None and not self._is_known:
                self._found |= dict.fromkeys(_lost_columns(self._holds, part))
                self._found |= dict.fromkeys(self._holds.partly(part, self._memory))
            yield part
        self._is_known = True


def _lost_columns(holds: Holds, part: Recording) -> Iterator[str]:
    def known(name: str) -> NDArray[np.int64]:
        return part.column(name).astype(np.int64)

    for field in COLUMNS:
        if field.name in holds.columns:
            continue
        if pa.types.is_dictionary(field.type):
            used = np.unique(part.codes(field.name))
            names = part.names(field.name)
            is_lost = any(names[code] for code in used.tolist())
        else:
            usual = missing_numbers(field.name, len(part.table), known)
            is_lost = not np.array_equal(part.column(field.name), usual)
        if is_lost:
            yield field.name
    if EXTRA.name in part.table.column_names:
        extras = extras_of(part)
        for code in np.unique(part.codes(EXTRA.name)).tolist():
            yield from _lost_keys(holds, extras[code])


def _lost_keys(holds: Holds, said: dict[str, Any]) -> Iterator[str]:
    """What other tools said, by the names that they have for it."""
    for key, value in said.items():
        if key in holds.extra_keys:
            continue
        if key in ("region", "snapshot", "tail") and isinstance(value, dict):
            yield from value
        else:
            yield f"extra.{key}"


def _lost_info(holds: Holds, info: RecordingInfo) -> Iterator[str]:
    for name in ("commands", "kernel", "hostname", "pydamon_version"):
        if getattr(info, name):
            yield name
    if info.probe != "damo":
        yield "probe"
    for field in fields(Attrs):
        usual = getattr(Attrs(), field.name)
        if field.name not in holds.attrs and getattr(info.attrs, field.name) != usual:
            yield f"attrs.{field.name}"


def lost_touched(part: Recording) -> Iterator[str]:
    """What is lost where a region is accessed as a whole or not at all."""
    size = part.column("end") - part.column("start")
    touched = part.column("touched_bytes")
    if ((touched > 0) & (touched < size)).any():
        yield "touched_bytes"  # such a region becomes two, of which the first has all accesses
    elif ((touched > 0) != (part.column("nr_accesses") > 0)).any():
        yield "nr_accesses"


def lost_ages(part: Recording) -> Iterator[str]:
    """What is lost where an age is a number of aggregations, or unknown."""
    age, age_ns = part.column("age"), part.column("age_ns")
    is_known = age_ns != UNKNOWN
    counted_ns = ages_ns(age, part.column("start_ns"), part.column("end_ns"))
    if (age_ns != counted_ns)[is_known].any():
        yield "age_ns"
    if age[~is_known].any():
        yield "age"


@dataclass(frozen=True, slots=True)
class TargetKeys:
    """The targets of a part: host and pid of each, and the target of each part of a snapshot."""

    keys: list[tuple[str, int]]
    first: list[int]
    """The row at which each appears first."""
    which: NDArray[np.int64]
    begins: NDArray[np.int64]
    """The row at which each part of a snapshot begins."""

    @classmethod
    def of(cls, part: Recording) -> TargetKeys:
        offsets = part.part_offsets
        begins = offsets[:-1][offsets[1:] > offsets[:-1]]
        host, pid = part.codes("host")[begins], part.column("pid")[begins]
        index, which = distinct(host, pid)
        hosts = part.names("host")
        there = zip(host[index].tolist(), pid[index].tolist(), strict=True)
        keys = [(hosts[code], number) for code, number in there]
        return cls(keys, begins[index].tolist(), which, begins)


def lost_names(part: Recording, targets: TargetKeys, memory: dict[Any, Any]) -> Iterator[str]:
    """What is lost where a target is a number, which also is its name, whatever its host."""
    hosts = memory.setdefault("hosts", {})
    for host, pid in targets.keys:
        if hosts.setdefault(pid, host) != host:
            yield "pid"
    pids, codes = part.column("pid"), part.codes("target")
    index, _ = distinct(pids, codes)
    names = part.names("target")
    there = zip(pids[index].tolist(), codes[index].tolist(), strict=True)
    if any(names[code] != f"target {pid}" for pid, code in there):
        yield "target"
