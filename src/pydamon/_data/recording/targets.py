"""The identity of a target: its host, its pid, and when its process started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording.arrow import unique_rows
from pydamon._model.errors import RecordingError
from pydamon._model.mappings import MappingTable
from pydamon._model.snapshot import Target

__all__ = ["distinct_targets", "is_same", "no_such_target", "without_single_host"]

_SHOWN_PIDS = 10


def distinct_targets(
    values: Mapping[str, NDArray[Any]], names: Mapping[str, Sequence[str]]
) -> tuple[tuple[Target, ...], NDArray[np.int64]]:
    """The targets in the order of appearance, with their last names; and which each row is of.

    *values* has the columns `host`, `pid`, `process_started_ns`, `target` and `container`, of which
    all but the second and third are indices into *names*.
    """
    identity = ("host", "pid", "process_started_ns", "target", "container")
    columns = [values[name] for name in identity]
    first, combination = unique_rows(*columns)
    no_mappings = MappingTable()  # shared: there may be 100,000 targets
    candidates = [
        Target(
            pid,
            names["target"][name],
            no_mappings,
            started_ns,
            names["host"][host],
            names["container"][container],
        )
        for host, pid, started_ns, name, container in zip(
            *(column[first].tolist() for column in columns), strict=True
        )
    ]
    numbers_by_key: dict[tuple[str, int, int, str], int] = {}
    numbers = np.zeros(len(candidates), np.int64)
    for index in np.argsort(first).tolist():
        key = candidates[index].key
        numbers[index] = numbers_by_key.setdefault(key, len(numbers_by_key))
    last = np.zeros(len(candidates), np.int64)
    np.maximum.at(last, combination, np.arange(len(combination)))
    targets = [Target(0)] * len(numbers_by_key)
    for index in np.argsort(last).tolist():
        targets[numbers[index]] = candidates[index]
    return tuple(targets), numbers[combination]


def without_single_host(targets: Sequence[Target]) -> tuple[Target, ...]:
    """The same targets; without the host if all have the same."""
    if len({target.host for target in targets}) > 1:
        return tuple(targets)
    return tuple(
        Target(
            target.pid,
            target.name,
            target.mappings,
            target.started_ns,
            container=target.container,
        )
        if target.host
        else target
        for target in targets
    )


def is_same(wanted: Target, located: Target) -> bool:
    """Whether *located*, which has its host, is *wanted*, which may have none."""
    return wanted.host in ("", located.host) and wanted.key[1:] == located.key[1:]


def no_such_target(pid: int, known: Iterable[int]) -> RecordingError:
    """The error that a recording has no target *pid*; it names some of the *known* pids."""
    pids = ", ".join(map(str, islice(dict.fromkeys(known), _SHOWN_PIDS)))
    return RecordingError(
        f"there is no process {pid} in the recording", hint=f"there is: {pids}" if pids else ""
    )
