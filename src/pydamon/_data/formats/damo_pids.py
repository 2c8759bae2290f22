"""Which pid stands for a target of damo's files: the id that it has in them, if it has one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from pydamon._model.errors import RecordingError

__all__ = ["Numbering", "check_count", "ids_of"]

_MOST_PID = 2**31 - 1

_LONGEST_MATCH = 64

_MOST_TARGETS = 2**15


class Numbering:
    """The pids of a file's targets: the ids that it gives them, wherever they have one.

    *chunks* is the text, in which *pattern* finds these ids. It is searched before a target without
    one gets a number, so that nothing else in the file has that.
    """

    def __init__(self, chunks: Callable[[], Iterator[bytes]], pattern: re.Pattern[bytes]) -> None:
        self._chunks = chunks
        self._pattern = pattern
        self._given: set[int] = set()
        self._there: set[int] = set()
        self._next: int | None = None
        self._by_key: dict[bytes, int] = {}

    def pid(self, target_id: int | None, key: bytes | None = None) -> int:
        """The pid of a target that was not asked for before, or not by this *key*."""
        if key is not None and key in self._by_key:
            return self._by_key[key]
        if target_id is None or target_id in self._given or not 0 <= target_id <= _MOST_PID:
            target_id = self._free()
        self._given.add(target_id)
        if key is not None:
            self._by_key[key] = target_id
        return target_id

    def _free(self) -> int:
        if self._next is None:
            self._next = 0
            before = b""
            for chunk in self._chunks():
                self._there.update(map(int, self._pattern.findall(before + chunk)))
                before = chunk[-_LONGEST_MATCH:]
        while self._next in self._given or self._next in self._there:
            self._next += 1
        return self._next


def check_count(targets: int) -> None:
    """Raise `ValueError` where a file has more targets than DAMON is ever given."""
    if targets > _MOST_TARGETS:
        raise ValueError(f"it has more than {_MOST_TARGETS:,} targets")


def ids_of(pids: Iterable[int]) -> Iterator[int]:
    """The ids of targets to be written, in order: their pids, but no number twice.

    Raises `RecordingError` where they are more than could be read again.
    """
    wanted = list(pids)
    if len(wanted) > _MOST_TARGETS:
        raise RecordingError(
            f"damo's formats have at most {_MOST_TARGETS:,} targets, not {len(wanted):,}",
            hint="take some of them: pydamon slice --pid",
        )
    taken, there = set[int](), set(wanted)
    free = 0
    for pid in wanted:
        if pid not in taken:
            taken.add(pid)
            yield pid
            continue
        while free in there:
            free += 1
        there.add(free)
        yield free
