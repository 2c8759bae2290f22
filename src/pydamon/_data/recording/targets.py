"""The targets of a recording: a process is its host, its pid and when it started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording.arrays import distinct
from pydamon._model.mappings import MappingTable
from pydamon._model.snapshot import Target

if TYPE_CHECKING:
    from pydamon._data.recording.recording import Recording

__all__ = ["TargetNumbers", "is_same", "located_in", "named_apart"]


class TargetNumbers:
    """Numbers targets in the order in which they appear in the parts of a recording."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, int, int, str], int] = {}
        self._targets: list[Target] = []

    def __len__(self) -> int:
        return len(self._targets)

    def of_parts(self, recording: Recording) -> NDArray[np.int32]:
        """The number of each part's target: shape (parts,)."""
        numbers = []
        for target in recording.located_targets:
            number = self._numbers.setdefault(target.key, len(self._targets))
            if number == len(self._targets):
                self._targets.append(target)
            self._targets[number] = target
            numbers.append(number)
        found: NDArray[np.int32] = np.array(numbers, np.int32)[recording.part_targets]
        return found

    def of_rows(self, recording: Recording) -> NDArray[np.int32]:
        """The same for each region: shape (rows,)."""
        return np.repeat(self.of_parts(recording), np.diff(recording.part_offsets))

    @property
    def located(self) -> list[Target]:
        """All of them, with their last names and their hosts."""
        return list(self._targets)

    @property
    def targets(self) -> tuple[Target, ...]:
        """All of them, as they are shown: see `named_apart`."""
        return named_apart(self._targets)


def named_apart(targets: Sequence[Target]) -> tuple[Target, ...]:
    """The same targets, without the host where all are of one."""
    if len({target.host for target in targets}) > 1:
        return tuple(targets)
    return tuple(
        Target(one.pid, one.name, one.mappings, one.started_ns) if one.host else one
        for one in targets
    )


def is_same(wanted: Target, one: Target) -> bool:
    """Whether *one*, whose host is said, is the target that is *wanted*, whose host may not be."""
    return wanted.host in ("", one.host) and wanted.key[1:] == one.key[1:]


def located_in(recording: Recording) -> tuple[tuple[Target, ...], NDArray[np.int64]]:
    """The targets of a recording, with their hosts and last names, and which each part is of."""
    facts = [recording.of_parts(n) for n in ("host", "pid", "process_started_ns", "target")]
    rows, place = distinct(*facts)
    hosts, names = recording.names("host"), recording.names("target")
    nothing = MappingTable()  # one for all of them: there may be 100,000
    there = zip(*(values[rows].tolist() for values in facts), strict=True)
    each = [
        Target(pid, names[name], nothing, started_ns, hosts[host])
        for host, pid, started_ns, name in there
    ]
    first, last = np.full(len(each), len(place)), np.zeros(len(each), np.int64)
    np.minimum.at(first, place, np.arange(len(place)))
    np.maximum.at(last, place, np.arange(len(place)))
    known: dict[tuple[str, int, int, str], int] = {}
    index = np.zeros(len(each), np.int64)
    for which in np.argsort(first).tolist():
        index[which] = known.setdefault(each[which].key, len(known))
    found = [Target(0)] * len(known)
    for which in np.argsort(last).tolist():
        found[index[which]] = each[which]
    return tuple(found), index[place]
