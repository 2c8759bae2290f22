"""Pids for the targets in files of damo and perf, which number targets but name no processes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from pydamon._model.errors import RecordingError

__all__ = ["TargetIds", "check_count", "ids_of"]

_MAX_PID = 2**31 - 1
_LONGEST_MATCH = 64
_MAX_TARGETS = 2**15


class TargetIds:
    """The pids of a file's targets: the ids in the file, or free numbers for targets without.

    *chunks* returns the text of the file, in which *pattern* finds the ids. The text is searched
    when the first target without an id comes, so that no two targets get the same number.
    """

    def __init__(self, chunks: Callable[[], Iterator[bytes]], pattern: re.Pattern[bytes]) -> None:
        self._chunks = chunks
        self._pattern = pattern
        self._used: set[int] = set()
        self._in_file: set[int] | None = None
        self._next_free = 0
        self._by_key: dict[bytes, int] = {}

    def pid(self, target_id: int | None, key: bytes | None = None) -> int:
        """The pid of a new target, or of the target that had the same *key* before."""
        if key is not None and key in self._by_key:
            return self._by_key[key]
        if target_id is None or target_id in self._used or not 0 <= target_id <= _MAX_PID:
            target_id = self._free_id()
        self._used.add(target_id)
        if key is not None:
            self._by_key[key] = target_id
        return target_id

    def _free_id(self) -> int:
        if self._in_file is None:
            self._in_file = set(self._ids_in_file())
        while self._next_free in self._used or self._next_free in self._in_file:
            self._next_free += 1
        return self._next_free

    def _ids_in_file(self) -> Iterator[int]:
        before = b""
        for chunk in self._chunks():
            yield from map(int, self._pattern.findall(before + chunk))
            before = chunk[-_LONGEST_MATCH:]


def check_count(targets: int) -> None:
    """Raise `ValueError` if a file has more targets than DAMON is ever given."""
    if targets > _MAX_TARGETS:
        raise ValueError(f"it has more than {_MAX_TARGETS:,} targets")


def ids_of(pids: Iterable[int]) -> Iterator[int]:
    """The ids to write for targets: their pids, or another number where a pid comes twice.

    Raises `RecordingError` if there are more targets than could be read again.
    """
    wanted = list(pids)
    if len(wanted) > _MAX_TARGETS:
        raise RecordingError(
            f"damo's formats have at most {_MAX_TARGETS:,} targets, not {len(wanted):,}",
            hint="take some of them: pydamon slice --pid",
        )
    written, reserved = set[int](), set(wanted)
    free = 0
    for pid in wanted:
        if pid not in written:
            written.add(pid)
            yield pid
            continue
        while free in reserved:
            free += 1
        reserved.add(free)
        yield free
