"""The virtual memory of processes, which come and go, as their mappings do."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cmp_to_key
from itertools import pairwise

import numpy as np

from pydamon._model.display import printable
from pydamon._model.errors import TargetError, UsageError
from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import PAGE_SIZE, Ranges
from pydamon._model.snapshot import Target
from pydamon._observe.linux.arch import system_call
from pydamon._observe.linux.process import KernelThread, Process, refusal, room_for
from pydamon._observe.linux.procfs import USER_END, Rule, parse_maps, ranges_of, read
from pydamon._observe.targets.base import Layout, say_once
from pydamon._observe.targets.container_table import ContainerTable

__all__ = ["Members", "VaddrSpace", "can_compare", "shared_memory"]

_KCMP = system_call("kcmp")
_KCMP_VM = 1
"""Compare address spaces."""
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def can_compare() -> bool:
    """Whether this kernel can compare address spaces (CONFIG_KCMP), and this user may ask."""
    return _compare(os.getpid(), os.getpid()) == 0


def shared_memory(processes: Sequence[Process]) -> dict[Process, Process]:
    """Map each process that shares the address space of an earlier one to that process.

    The kernel orders address spaces, so that sorting brings equal ones together: n log n calls of
    about 1 us. Processes that have just exited, or may not be compared, are left out.
    """

    def order(a: int, b: int) -> int:
        # 0 is equal, 1 less, 2 greater; without an answer any order will do.
        answer = _compare(processes[a].tid, processes[b].tid)
        return {0: a - b, 1: -1, 2: 1}.get(answer, a - b)

    ordered = sorted(range(len(processes)), key=cmp_to_key(order))
    first: dict[Process, Process] = {}
    for before, after in pairwise(ordered):
        owner, twin = processes[before], processes[after]
        if _compare(owner.tid, twin.tid) == 0:
            first[twin] = first.get(owner, owner)
    return first


def _compare(a: int, b: int) -> int:
    return int(_syscall(_KCMP, a, b, _KCMP_VM, 0, 0))


_RETRY_S = 30.0
"""How long to leave a process alone that refused: it may give up its privileges later."""

Members = Callable[[], Iterable[int]]
"""Returns the pids that belong to a group of processes now."""


@dataclass(slots=True)
class _Member:
    process: Process
    maps: bytes
    mappings: MappingTable
    target: Target
    has_own_memory: bool = True
    """False if an earlier member has the same address space, which is watched once."""


class VaddrSpace:
    """All mapped memory of some processes, or the given *ranges* (bytes) of a single one.

    With *children*, the processes that they start are followed, too. If *pids* is a function, each
    update calls it for the processes of that moment, and children do not matter. `rule` says how
    mappings become ranges. pydamon itself is never watched. Raises `TargetError` for a process that
    does not exist or may not be watched, and `UsageError` for ranges that make no sense.

    Among several processes, an error ends the watching of a single one only, with one warning to
    the logger `pydamon`.
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
        """The last layout and its `max_ranges`, until something changes."""
        self._refused: dict[int, float] = {}
        """Pids that cannot be watched, and when to try again (monotonic s)."""
        self._containers = ContainerTable()
        self._compared: set[Process] = set()
        """The members whose address spaces were compared."""
        _check_pids()
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
        """Drop processes that have exited, add children, and read the mappings again.

        The result is the same object as long as nothing has changed.
        """
        for pid, member in list(self._members.items()):
            self._refresh(pid, member)
        if self._find is not None:
            self._follow(self._find)
        if self._children:
            self._adopt()
        self._find_shared()
        self._find_containers()
        if self._layout is not None and self._layout[0] == max_ranges:
            return self._layout[1]
        members = [member for member in self._members.values() if member.has_own_memory]
        layout = Layout(
            tuple(member.target for member in members),
            [member.process for member in members],
            [member.mappings for member in members],
            [self._ranges_of(member, max_ranges) for member in members],
        )
        self._layout = (max_ranges, layout)
        return layout

    @property
    def follows_memory(self) -> bool:
        """Whether to monitor only memory: not if ranges were given, or DAMON's rule."""
        return self.rule is Rule.GAPS and self._ranges is None

    @property
    def alive(self) -> bool:
        """Whether any of the processes still runs, or the group has another one."""
        if any(member.process.alive for member in self._members.values()):
            return True
        return self._find is not None and any(pid != os.getpid() for pid in self._find())

    def close(self) -> None:
        """Release the processes."""
        for member in self._members.values():
            member.process.close()
        self._members.clear()

    def _add(self, pid: int) -> None:
        if pid == os.getpid():
            raise TargetError(
                f"pid {pid} is pydamon itself, which cannot watch itself",
                hint="watch it from another process: pydamon record PID",
            )
        process = Process(pid)
        try:
            maps = process.read("maps")
            if not maps:
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        except OSError as error:
            process.close()
            raise refusal(f"cannot watch pid {pid}", error) from error
        mappings = parse_maps(maps)
        self._layout = None
        self._members[pid] = _Member(process, maps, mappings, _target(process, mappings))

    def _try_to_add(self, pid: int) -> bool:
        """Add one of many processes: it may have exited, or be another user's."""
        if time.monotonic() < self._refused.get(pid, 0):
            return False
        try:
            self._add(pid)
            if not room_for(self._members[pid].process.pidfd):
                self._drop(pid)
                raise refusal(f"cannot watch pid {pid}", errno.EMFILE)
        except KernelThread:
            self._refused[pid] = time.monotonic() + _RETRY_S
            return False
        except TargetError as error:
            cause = error.__cause__
            if isinstance(cause, OSError):
                self._refused[pid] = time.monotonic() + _RETRY_S
                reason = cause.strerror or ""
                hint = f" ({error.hint})" if error.hint else ""
                say_once(reason, f"not all processes can be watched: {error}{hint}")
            return False
        return True

    def _refresh(self, pid: int, member: _Member) -> None:
        reason: TargetError | OSError | None = None
        try:
            maps = member.process.read("maps") if member.process.alive else b""
        except (FileNotFoundError, ProcessLookupError):
            maps = b""
        except OSError as error:
            maps, reason = b"", error
        if not maps:
            self._drop(pid, member.process.given_up or reason)
        elif maps != member.maps:
            self._layout = None
            member.maps, member.mappings = maps, parse_maps(maps)
            container = member.target.container
            member.target = replace(_target(member.process, member.mappings), container=container)
            # It may have called exec, and so have memory of its own now.
            self._compared.discard(member.process)

    def _drop(self, pid: int, reason: TargetError | OSError | None = None) -> None:
        """Release a process; with a *reason* other than its exit, log a warning."""
        member = self._members.pop(pid)
        member.process.close()
        self._layout = None
        self._compared.discard(member.process)
        if reason is None:
            return
        self._refused[pid] = time.monotonic() + _RETRY_S
        why = str(reason) if isinstance(reason, TargetError) else reason.strerror
        name = printable(member.target.name)
        key = f"{pid} {member.process.started_ns}"
        say_once(key, f"pid {pid} ({name}) is watched no longer: {why}")

    def _follow(self, find: Members) -> None:
        """Make the processes that *find* names the members, as far as they may be watched."""
        wanted = set(find()) - {os.getpid()}
        for pid in self._members.keys() - wanted:
            self._drop(pid)
        self._refused = {pid: s for pid, s in self._refused.items() if pid in wanted}
        for pid in sorted(wanted - self._members.keys()):
            self._try_to_add(pid)

    def _adopt(self) -> None:
        """Add the descendants that may be watched, but not ourselves and our helpers."""
        unseen = list(self._members)
        while unseen:
            known = self._members.keys() | {os.getpid()}
            children = [pid for pid in _children_of(unseen.pop()) if pid not in known]
            unseen.extend(pid for pid in children if self._try_to_add(pid))

    def _find_containers(self) -> None:
        """Note the container of each member, which may enter it after its start."""
        for pid, container in self._containers.of(self._members).items():
            member = self._members[pid]
            if member.target.container != container.label:
                self._layout = None
                member.target = replace(member.target, container=container.label)

    def _find_shared(self) -> None:
        """Find the members that share the address space of an earlier one."""
        members = list(self._members.values())
        new = any(member.process not in self._compared for member in members)
        if not new and all(member.has_own_memory for member in members):
            return
        if len(members) > 1 and not can_compare():
            say_once("kcmp", "processes that share an address space may be counted twice here")
        shared = shared_memory([member.process for member in members])
        for member in members:
            own = member.process not in shared
            if own != member.has_own_memory:
                member.has_own_memory = own
                self._layout = None
        self._compared = {member.process for member in members}

    def _ranges_of(self, member: _Member, max_ranges: int) -> Ranges:
        if self._ranges is not None:
            return self._ranges
        return ranges_of(member.mappings, self.rule, max_ranges)


def _target(process: Process, mappings: MappingTable) -> Target:
    return Target(process.pid, process.name, mappings, process.started_ns)


def _check_pids() -> None:
    """Raise `TargetError` if /proc is that of another pid namespace, or missing."""
    try:
        ours = os.readlink("/proc/self")  # noqa: PTH115
    except OSError:
        raise TargetError("there is no /proc", hint="mount -t proc proc /proc") from None
    if ours != str(os.getpid()):
        raise TargetError(
            "/proc is that of another pid namespace, where pids mean other processes",
            hint="mount the /proc of this one: unshare --mount-proc, or mount -t proc proc /proc",
        )


def _checked(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """The ranges in whole pages, sorted; raises `UsageError` if they make no sense."""
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
    """The pids of the children that all threads of a process started."""
    children: list[int] = []
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            children.extend(map(int, read(f"/proc/{pid}/task/{tid}/children").split()))
    except OSError:
        pass  # exited meanwhile
    return children
