"""Recordings as the text that `perf script` prints of DAMON's tracepoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pydamon._data.formats.damo_pids import ids_of
from pydamon._data.formats.damo_write import split_touched
from pydamon._data.formats.extras import extras_of
from pydamon._data.formats.holds import Holds, TargetKeys, lost_ages, lost_names, lost_touched
from pydamon._data.recording.format import EXTRA
from pydamon._data.recording.recording import Recording
from pydamon._model.attrs import Attrs
from pydamon._model.classify import UNKNOWN

__all__ = ["HOLDS", "write"]

_COMMAND = "kdamond.0     0 [000]"
"""What stands before the time in lines of our own: the thread, its id, the CPU."""


def write(file: BinaryIO, parts: Iterable[Recording]) -> None:
    """Write a recording: its *parts* are asked for once to number targets, and once for rows."""
    writer = _Writer(file, parts)
    for part in parts:
        writer.write(part)
    writer.close()


class _Writer:
    def __init__(self, file: BinaryIO, parts: Iterable[Recording]) -> None:
        self._file = file
        self._endings: dict[tuple[str, int], str] = {}
        found: dict[tuple[str, int], int] = {}
        for part in parts:
            hosts, pids, said = _keys(part)
            for host, pid, facts in zip(hosts, pids, said, strict=True):
                found.setdefault((host, pid), facts.get("target_id", pid))
        self._ids = dict(zip(found, ids_of(found.values()), strict=True))

    def write(self, part: Recording) -> None:
        start, end, rate, age, index = split_touched(part)
        begins = _begins(part)
        bounds = index.searchsorted(np.append(begins, len(part.table)))
        facts, codes = _facts(part)
        codes = codes[index].tolist()
        lines: list[str] = []
        heads = zip(
            *_keys(part),
            part.column("start_ns")[begins].tolist(),
            part.column("end_ns")[begins].tolist(),
            bounds[:-1].tolist(),
            bounds[1:].tolist(),
            strict=True,
        )
        rows = list(zip(*(column.tolist() for column in (start, end, rate, age)), strict=True))
        event = "damon:damon_aggregated:"
        for host, pid, said, start_ns, end_ns, low, high in heads:
            key = host, pid
            task = f"{said.get('task', _COMMAND)} ".lstrip(" ")
            opening = f"target_id={self._ids[key]} nr_regions="
            if key in self._endings:
                self._endings[key] = ""
            else:
                # How long an only aggregation took is told, as damo does, by an empty one after it.
                after = f"{task}{_time(2 * end_ns - start_ns)}: {event} {opening}1 0-0: -1 -1\n"
                self._endings[key] = after
            before = f"{task}{_time(end_ns)}: {event} {opening}{high - low} "
            for (a, b, n, g), code in zip(rows[low:high], codes[low:high], strict=True):
                more = facts[code].get("more")
                known = "" if g == UNKNOWN else f" {g}"
                lines.append(f"{before}{a}-{b}: {n}{known}{' ' + more if more else ''}\n")
        self._file.write("".join(lines).encode())

    def close(self) -> None:
        """Write what only the end tells."""
        self._file.write("".join(self._endings.values()).encode())


def _begins(part: Recording) -> NDArray[np.int64]:
    """The row at which each target of each snapshot begins, if it has any."""
    offsets = part.part_offsets
    return offsets[:-1][offsets[1:] > offsets[:-1]]


def _keys(part: Recording) -> tuple[list[str], list[int], list[dict[str, Any]]]:
    """Of each of these: the host, the pid, and what was once said of its first region."""
    begins = _begins(part)
    hosts = part.names("host")
    facts, codes = _facts(part)
    return (
        [hosts[code] for code in part.codes("host")[begins].tolist()],
        part.column("pid")[begins].tolist(),
        [facts[code] for code in codes[begins].tolist()],
    )


def _facts(part: Recording) -> tuple[list[dict[str, Any]], NDArray[np.int32]]:
    """What `perf` once said of regions, and which of that it said of which."""
    facts = [said.get("perf", {}) for said in extras_of(part)]
    if EXTRA.name not in part.table.column_names:
        return facts, np.zeros(len(part.table), np.int32)
    return facts, part.codes(EXTRA.name)


def _partly_lost(part: Recording, memory: dict[Any, Any]) -> Iterator[str]:
    yield from lost_touched(part)
    yield from lost_ages(part)
    targets = TargetKeys.of(part)
    if not any(facts for facts in _facts(part)[0]):
        yield from lost_names(part, targets, memory)
    attrs = Attrs()
    if (part.column("sampling_ns") != attrs.sampling_ns).any():
        yield "sampling_ns"
    highest = np.maximum(part.column("nr_accesses"), attrs.samples_per_aggregation)
    if (part.column("max_nr_accesses") != highest).any():
        yield "max_nr_accesses"
    # A snapshot of a target begins where the one before ended, the first as long as the second.
    order = np.argsort(targets.which, kind="stable")
    which = targets.which[order].tolist()
    windows = (part.column(name)[targets.begins][order].tolist() for name in ("start_ns", "end_ns"))
    known = memory.setdefault("windows", {})
    for key, start_ns, end_ns in zip((targets.keys[i] for i in which), *windows, strict=True):
        before_ns, first_ns = known.get(key, (None, None))
        length_ns = end_ns - start_ns
        if before_ns not in (None, start_ns) or first_ns not in (None, length_ns):
            yield "start_ns"
        known[key] = end_ns, length_ns if before_ns is None else None


HOLDS = Holds(
    columns=frozenset(
        {
            *("start_ns", "end_ns", "pid", "target", "start", "end", "nr_accesses", "age"),
            *("age_ns", "touched_bytes", "sampling_ns", "max_nr_accesses"),
        }
    ),
    extra_keys=frozenset({"perf"}),
    attrs=frozenset(),
    partly=_partly_lost,
)
"""What a line of perf's holds: neither when an aggregation began nor how it was sampled."""


def _time(time_ns: int) -> str:
    """Seconds, in us as perf has them, or in ns where that would lose something."""
    second, rest = divmod(time_ns, 10**9)
    return f"{second}.{rest:09d}" if rest % 1000 else f"{second}.{rest // 1000:06d}"
