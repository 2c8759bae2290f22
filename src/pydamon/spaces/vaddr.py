"""Virtual memory of processes, as they and their mappings come and go."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pydamon.core.errors import TargetError, UsageError
from pydamon.core.mappings import MappingTable
from pydamon.core.regions import PAGE_SIZE, Ranges
from pydamon.core.snapshot import Target
from pydamon.probes.process import Process
from pydamon.spaces.base import Layout
from pydamon.spaces.maps import USER_END, Rule, parse_maps, ranges_of, read_maps

__all__ = ["Members", "VaddrSpace"]

Members = Callable[[], Iterable[int]]
"""Says which pids belong to a group of processes now."""


@dataclass(slots=True)
class _Member:
    process: Process
    maps: bytes
    mappings: MappingTable
    target: Target


class VaddrSpace:
    """Everything that some processes map, or the given *ranges* (bytes) of a single one.

    With *children*, processes that they start are followed too. If *pids* is a function, it is
    asked at each update who belongs to them now, and children do not matter. `rule` says how
    mappings become ranges. Raises `TargetError` for a process that is not there or may not be
    looked at, and `UsageError` for ranges that make no sense.
    """

    def __init__(
        self,
        pids: Iterable[int] | Members,
        *,
        rule: Rule = Rule.GAPS,
        children: bool = True,
        ranges: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.rule = rule
        self._find = pids if callable(pids) else None
        self._children = children and ranges is None and self._find is None
        self._ranges = None if ranges is None else _checked(ranges)
        self._members: dict[int, _Member] = {}
        self._layout: tuple[int, Layout] | None = None
        """The last layout and its `max_ranges`, while it holds."""
        if callable(pids):
            self._follow(pids)
            return
        pids = list(dict.fromkeys(pids))
        if not pids:
            raise UsageError("no process to monitor")
        if ranges is not None and len(pids) != 1:
            raise UsageError("address ranges are those of one process")
        try:
            for pid in pids:
                self._add(pid)
        except BaseException:
            self.close()
            raise

    def update(self, max_ranges: int) -> Layout:
        """Drop who exited, add children, read the mappings again.

        The result is the same object as long as nothing has changed.
        """
        for pid, member in list(self._members.items()):
            self._refresh(pid, member)
        if self._find is not None:
            self._follow(self._find)
        if self._children:
            self._adopt()
        if self._layout is not None and self._layout[0] == max_ranges:
            return self._layout[1]
        members = list(self._members.values())
        share = max_ranges // max(1, len(members))
        layout = Layout(
            tuple(member.target for member in members),
            [member.process for member in members],
            [member.mappings for member in members],
            [self._ranges_of(member, share) for member in members],
        )
        self._layout = (max_ranges, layout)
        return layout

    @property
    def follows_memory(self) -> bool:
        """Whether only what has memory is meant: not so where ranges, or DAMON's, were named."""
        return self.rule is Rule.GAPS and self._ranges is None

    @property
    def alive(self) -> bool:
        """Whether any of the processes still runs, or somebody else belongs to the group now."""
        if any(member.process.alive for member in self._members.values()):
            return True
        return self._find is not None and any(pid != os.getpid() for pid in self._find())

    def close(self) -> None:
        """Let go of the processes."""
        for member in self._members.values():
            member.process.close()
        self._members.clear()

    def _add(self, pid: int) -> None:
        process = Process(pid)
        try:
            maps = read_maps(pid)
        except OSError as error:
            process.close()
            hint = "" if os.geteuid() == 0 else "run as root, or as the user who runs the process"
            message = f"cannot watch pid {pid}: {error.strerror}"
            raise TargetError(message, hint=hint) from None
        if not maps:
            process.close()
            raise TargetError(f"there is no process with pid {pid}: it has exited")
        mappings = parse_maps(maps)
        self._layout = None
        self._members[pid] = _Member(process, maps, mappings, Target(pid, process.name, mappings))

    def _refresh(self, pid: int, member: _Member) -> None:
        try:
            maps = read_maps(pid) if member.process.alive else b""
        except OSError:
            maps = b""
        if not maps:
            self._drop(pid)
        elif maps != member.maps:
            self._layout = None
            member.maps, member.mappings = maps, parse_maps(maps)
            member.target = Target(pid, member.process.name, member.mappings)

    def _drop(self, pid: int) -> None:
        self._members.pop(pid).process.close()
        self._layout = None

    def _follow(self, find: Members) -> None:
        """Make the members those that *find* names, as far as they may be looked at."""
        wanted = set(find()) - {os.getpid()}
        for pid in self._members.keys() - wanted:
            self._drop(pid)
        for pid in sorted(wanted - self._members.keys()):
            with suppress(TargetError):
                self._add(pid)

    def _adopt(self) -> None:
        """Add the descendants that may be looked at."""
        unseen = list(self._members)
        while unseen:
            for pid in _children_of(unseen.pop()):
                if pid not in self._members:
                    try:
                        self._add(pid)
                    except TargetError:
                        continue  # gone again, or run as somebody else
                    unseen.append(pid)

    def _ranges_of(self, member: _Member, max_ranges: int) -> Ranges:
        if self._ranges is not None:
            return self._ranges
        return ranges_of(member.mappings, self.rule, max_ranges)


def _checked(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """Whole pages, sorted, without overlap."""
    if not ranges or any(start >= end for start, end in ranges):
        raise UsageError("an address range must start below its end")
    if any(start < 0 or end > USER_END for start, end in ranges):
        raise UsageError("an address range lies outside what a process can map")
    bounds = np.array(sorted(ranges), np.int64).reshape(-1, 2)
    bounds[:, 0] = bounds[:, 0] // PAGE_SIZE * PAGE_SIZE
    bounds[:, 1] = -(-bounds[:, 1] // PAGE_SIZE) * PAGE_SIZE
    if (bounds[1:, 0] < bounds[:-1, 1]).any():
        raise UsageError("address ranges overlap")
    return bounds


def _children_of(pid: int) -> list[int]:
    """Pids of the children that each thread of a process started."""
    found: list[int] = []
    try:
        for thread in os.scandir(f"/proc/{pid}/task"):
            text = Path(thread.path, "children").read_bytes()
            found.extend(map(int, text.split()))
    except OSError:
        pass  # exited meanwhile
    return found
