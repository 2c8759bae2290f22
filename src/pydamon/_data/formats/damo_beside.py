"""The files that damo writes beside a recording FILE: what is mapped, and how much is resident.

FILE.kdamonds has the parameters of DAMON, of which the pids of targets are used. FILE.mem_footprint
has VSZ and RSS of each process, and FILE.vmas its mappings, both about once a second. Their times
are Unix times. Where those of FILE are of another clock, both are taken to begin at the same time.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from pydamon._data.formats.damo_passed import kind_of_probe, words_of_hits
from pydamon._data.recording.arrow import column_array, dictionary_array, to_arrow
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.schema import COLUMNS, EXTRA
from pydamon._model.damo_values import Value, number_of
from pydamon._model.display import blanked
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.page_size import SMALLEST_PAGE

__all__ = ["ANONYMOUS", "FOOTPRINTS", "KDAMONDS", "MAPPINGS", "PAGE_BYTES", "Beside", "read_beside"]

KDAMONDS, FOOTPRINTS, MAPPINGS = ".kdamonds", ".mem_footprint", ".vmas"
PAGE_BYTES = SMALLEST_PAGE
"""The unit of footprints in these files, as damo's own reports have it."""
ANONYMOUS = "[anon]"
"""The name here of mappings that have none in these files."""

_T = TypeVar("_T")
_LOG = logging.getLogger("pydamon")
_MAX_BYTES = 2**27
_SAME_CLOCK_NS = 86400 * 10**9
"""Times that differ by less are of the same clock."""
_TOLERANCE_NS = 1000
"""Times are stored as seconds in floating point."""
_WITH_PID = b'"with_pid"'


class _Footprint(msgspec.Struct):
    size: int = 0
    resident: int = 0


class _OfProcess(msgspec.Struct):
    pid: Value = None
    footprint: _Footprint = msgspec.field(default_factory=_Footprint)


class _Footprints(msgspec.Struct):
    time: float
    footprints: list[_OfProcess] = []


class _Vma(msgspec.Struct, frozen=True):
    start: int
    end: int
    name: str | None = ""


class _ProcVmas(msgspec.Struct):
    pid: Value = None
    vmas: list[_Vma] = []


class _Mappings(msgspec.Struct):
    time: float
    procvmas: list[_ProcVmas] = []


class _Target(msgspec.Struct):
    pid: Value = None


class _Context(msgspec.Struct):
    targets: list[_Target] = []
    probes: list[Any] = []


class _Kdamond(msgspec.Struct):
    contexts: list[_Context] = []


@dataclass(slots=True)
class _Series:
    """Values of a process in the order of time."""

    times_ns: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, time_ns: int, value: Any) -> None:
        if not self.values or self.values[-1] != value:
            self.times_ns.append(time_ns)
            self.values.append(value)

    def place(self, time_ns: int) -> int:
        """Which value holds at a time: the last before it, or the first."""
        return max(0, bisect_right(self.times_ns, time_ns + _TOLERANCE_NS) - 1)


@dataclass(slots=True)
class Beside:
    """The content of the files beside a recording: pids of targets, and what holds by pid."""

    pids: list[int]
    footprints: dict[int, _Series]
    mappings: dict[int, _Series]
    probes: tuple[str, ...] = ()
    """The kinds of pages that probes counted."""
    _tables: dict[int, MappingTable] = field(default_factory=dict)

    def completed(self, chunk: Recording) -> Recording:
        """The chunk with pids, footprints and names of mappings, as far as they are known."""
        ids = chunk.column("pid")
        pid_of = {number: self._pid(number) for number in np.unique(ids).tolist()}
        columns: dict[str, pa.Array] = {}
        if self.footprints:
            columns |= self._footprint_columns(chunk, pid_of)
        if self.mappings:
            columns["mapping"] = self._mapping_column(chunk, pid_of)
        if self.probes:
            columns["passed"] = self._passed_column(chunk)
        if self._can_replace(chunk, pid_of):
            numbers = np.array(list(pid_of)), np.array(list(pid_of.values()), np.int32)
            columns["pid"] = to_arrow(numbers[1][np.searchsorted(numbers[0], ids)])
        table = chunk.table
        for name, column in columns.items():
            table = table.set_column(
                table.schema.get_field_index(name), COLUMNS.field(name), column
            )
        return Recording(chunk.info, table, chunk.problem) if columns else chunk

    def _pid(self, target_id: int) -> int:
        """The pid of a target: damo numbers targets in their order, and pydamon by their pids."""
        if target_id not in self.pids and 0 <= target_id < len(self.pids):
            return self.pids[target_id]
        return target_id

    def _can_replace(self, chunk: Recording, pid_of: dict[int, int]) -> bool:
        """Whether ids can become pids: no two may become the same, nor be named elsewhere."""
        pids = list(pid_of.values())
        if pids == list(pid_of) or len(set(pids)) < len(pids):
            return False
        if EXTRA.name not in chunk.table.column_names:
            return True
        return not any(_WITH_PID in word.encode() for word in chunk.names(EXTRA.name))

    def _footprint_columns(self, chunk: Recording, pid_of: dict[int, int]) -> dict[str, pa.Array]:
        lengths = np.diff(chunk.target_offsets)
        pids, ends_ns = chunk.per_target("pid").tolist(), chunk.per_target("end_ns").tolist()
        rows = []
        for target_id, end_ns in zip(pids, ends_ns, strict=True):
            series = self.footprints.get(pid_of[target_id])
            rows.append(series.values[series.place(end_ns)] if series else (0, 0))
        sizes = np.array(rows, np.int64).reshape(-1, 2) * PAGE_BYTES
        return {
            name: to_arrow(np.repeat(sizes[:, index], lengths))
            for index, name in enumerate(("vsz_bytes", "rss_bytes"))
        }

    def _mapping_column(self, chunk: Recording, pid_of: dict[int, int]) -> pa.DictionaryArray:
        codes = {"": 0}
        column = np.zeros(len(chunk.table), np.int32)
        start, end, offsets = chunk.column("start"), chunk.column("end"), chunk.target_offsets
        pids, ends_ns = chunk.per_target("pid").tolist(), chunk.per_target("end_ns").tolist()
        places = []
        for index, (target_id, end_ns) in enumerate(zip(pids, ends_ns, strict=True)):
            series = self.mappings.get(pid_of[target_id])
            if series:
                places.append((pid_of[target_id], series.place(end_ns), index))
        for (pid, place), windows in groupby(sorted(places), key=lambda each: each[:2]):
            rows = np.concatenate(
                [np.arange(offsets[index], offsets[index + 1]) for _, _, index in windows]
            )
            table = self._table(self.mappings[pid].values[place])
            largest = table.largest_in(start[rows], end[rows])
            names = [codes.setdefault(each.name, len(codes)) for each in table.mappings]
            column[rows] = np.array([*names, 0], np.int32)[largest]
        return dictionary_array(column, codes)

    def _passed_column(self, chunk: Recording) -> pa.DictionaryArray:
        """What the hits of probes say, which stand among the other facts of regions."""
        hits = [_hits_in(word) for word in chunk.names(EXTRA.name)] if _has_extra(chunk) else []
        if not any(hits):
            return column_array(chunk.table, "passed")
        told = [hits[code] for code in chunk.codes(EXTRA.name).tolist()]
        size = chunk.column("end") - chunk.column("start")
        words = words_of_hits(self.probes, told, chunk.column("max_nr_accesses"), size)
        names: dict[str, int] = {}
        codes = [names.setdefault(word, len(names)) for word in words]
        return dictionary_array(np.array(codes, np.int32), names)

    def _table(self, vmas: list[_Vma]) -> MappingTable:
        """The mappings of a process at a time; the lists stay, so that their ids are theirs."""
        if id(vmas) not in self._tables:
            mappings = (Mapping(v.start, v.end, "", v.name or ANONYMOUS) for v in vmas)
            self._tables[id(vmas)] = MappingTable(tuple(mappings))
        return self._tables[id(vmas)]


def _has_extra(chunk: Recording) -> bool:
    return EXTRA.name in chunk.table.column_names


def _hits_in(word: str) -> list[Any] | None:
    """The hits of probes in a region, if a word of `extra` tells them."""
    if '"probe_hits"' not in word:
        return None
    region = msgspec.json.decode(word).get("region")
    hits = region.get("probe_hits") if isinstance(region, dict) else None
    return hits if isinstance(hits, list) else None


def read_beside(path: Path, started_ns: int) -> Beside | None:
    """Read the files beside a recording of damo's; `None` if there are none.

    A file that cannot be read is left out, with a warning.
    """
    kdamonds = _read(path, KDAMONDS, list[_Kdamond], lambda value: value)
    footprints = _read(path, FOOTPRINTS, list[_Footprints], _check_times)
    mappings = _read(path, MAPPINGS, list[_Mappings], _check_mappings)
    if not (kdamonds or footprints or mappings):
        return None
    try:
        pids = _pids(kdamonds or [], footprints or [], mappings or [])
        shift_ns = _shift_ns(started_ns, [*(footprints or []), *(mappings or [])])
        sizes = (
            (at.time, process.pid, (process.footprint.size, process.footprint.resident))
            for at in footprints or []
            for process in at.footprints
        )
        vmas = ((at.time, proc.pid, proc.vmas) for at in mappings or [] for proc in at.procvmas)
        probes = _probes(kdamonds or [])
        return Beside(pids, _series(sizes, shift_ns), _series(vmas, shift_ns), probes)
    except ValueError as error:
        _LOG.warning("the files beside %s are left out: %s", path, blanked(str(error)))
        return None


def _series(values: Iterable[tuple[float, Value, Any]], shift_ns: int) -> dict[int, _Series]:
    """Values by process; those of the whole system have no pid and are left out."""
    by_pid: dict[int, _Series] = {}
    for time_s, pid, value in values:
        if pid is not None:
            by_pid.setdefault(number_of(pid), _Series()).add(_ns(time_s) + shift_ns, value)
    return by_pid


def _read(path: Path, suffix: str, kind: Any, check: Callable[[_T], _T]) -> _T | None:
    file = path.with_name(path.name + suffix)
    try:
        if not file.is_file():
            return None
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES >> 20} MiB")
        return check(msgspec.json.decode(file.read_bytes(), type=kind))
    except (OSError, ValueError, MemoryError, msgspec.MsgspecError, RecursionError) as error:
        _LOG.warning("%s is left out: %s", file, blanked(str(error)) or "it is too large")
        return None


def _check_times(footprints: list[_Footprints]) -> list[_Footprints]:
    for at in footprints:
        for process in at.footprints:
            sizes = process.footprint.size, process.footprint.resident
            if not all(0 <= size < 2**50 for size in sizes):
                raise ValueError("a footprint makes no sense")
    return _in_order(footprints)


def _check_mappings(moments: list[_Mappings]) -> list[_Mappings]:
    for moment in moments:
        for proc in moment.procvmas:
            proc.vmas.sort(key=lambda vma: vma.start)
            borders = [border for vma in proc.vmas for border in (vma.start, vma.end)]
            is_sorted = all(a <= b for a, b in pairwise(borders))
            if not is_sorted or (borders and not 0 <= borders[0] <= borders[-1] < 2**64):
                raise ValueError("mappings overlap or make no sense")
    return _in_order(moments)


def _in_order(values: list[Any]) -> list[Any]:
    if not all(0 <= at.time < 2**32 for at in values):
        raise ValueError("a time makes no sense")
    return sorted(values, key=lambda at: at.time)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _shift_ns(started_ns: int, values: Iterable[_Footprints | _Mappings]) -> int:
    """By how much times must be moved to be of the recording's clock."""
    first_ns = min((_ns(at.time) for at in values), default=started_ns)
    return 0 if abs(first_ns - started_ns) < _SAME_CLOCK_NS else started_ns - first_ns


def _probes(kdamonds: list[_Kdamond]) -> tuple[str, ...]:
    """The kinds of pages that the probes of the only context count; none if one is unknown."""
    contexts = [context for kdamond in kdamonds for context in kdamond.contexts]
    kinds = [kind_of_probe(probe) for context in contexts for probe in context.probes]
    return tuple(kinds) if len(contexts) == 1 and all(kinds) else ()


def _pids(
    kdamonds: list[_Kdamond], footprints: list[_Footprints], mappings: list[_Mappings]
) -> list[int]:
    """The pids of the targets in their order; none if there are several contexts."""
    contexts = [context for kdamond in kdamonds for context in kdamond.contexts]
    if len(contexts) > 1:
        return []
    values: list[Value] = [target.pid for context in contexts for target in context.targets]
    if not contexts and footprints:
        values = [process.pid for process in footprints[0].footprints]
    elif not contexts and mappings:
        values = [proc.pid for proc in mappings[0].procvmas]
    return [number_of(pid) for pid in values if pid is not None]
