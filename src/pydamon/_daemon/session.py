"""A session: the BPF programs for one peer, the targets that it may watch, and their steps.

A peer writes into the shared memory at any time. So the daemon takes its parameters from messages,
copies bulk data between the shared memory and the maps, and decides nothing by what it copies: the
programs walk the user part of the page tables of this session's targets only, whatever a region or
block says. What goes back holds no physical or kernel address.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import time

from .bpf import Programs, advise
from .machine import Fields, Kernel, Malformed, Refused, Target
from .protocol import (
    ARMED_BLOCKS,
    COPY,
    FIRST,
    LOOKS,
    MAX_TABLES,
    RANGES,
    READ_BACK,
    SETTLE,
    TABLES,
    areas,
)

_libc = ctypes.CDLL(None)
_PUNCH_HOLE = 1 | 2
"""FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE"""
_SEALS = 0x0001 | 0x0002 | 0x0004
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW"""
_ADD_SEALS = 1033
_NEVER = (1 << 64) - 1
_LONGEST_NS = 1 << 60
_CHECK_NS = 10**9
"""How often the rights to targets are looked at again."""
_CLEAR_NS = 20_000_000
"""The CPU time for ranges that are cleared one by one; the rest counts as refused."""


class Session:
    """The programs for one peer, loaded until `close`."""

    def __init__(self, kernel: Kernel, regions: int, targets: int) -> None:
        self.kernel, plan = kernel, kernel.plan
        counts = {"entries": 1, "blocks": regions, "targets": targets + 1, "frames": 1}
        self._programs = Programs(plan, plan["session"], counts)
        self._maps = self._programs.maps
        self.regions, self.capacity = regions, targets
        self.targets: dict[int, Target] = {}
        strides = (self._maps[name].stride for name in ("blocks", "paces"))
        self._areas = areas(regions, targets, *strides)
        self._size = self._areas["all"][1]
        try:
            self.memory_fd, self._shared = _shared_memory(self._size)
        except BaseException:  # out of descriptors or memory
            self._programs.close()
            raise
        self._control = Fields(self._maps["controls"].memory, plan["control"])
        self._pace = Fields(self._maps["paces"].memory, plan["pace"])
        for name, value in kernel.facts.items():
            self._control[name] = value
        self._control["max_ranges"] = RANGES
        self._pace["due"] = _NEVER
        self._checked_ns = time.monotonic_ns()
        size = self._maps["targets"].stride
        self._gone = self._maps["targets"].memory[plan["target"]["gone"] : targets * size : size]
        """Whether each target has another memory now, or none: what programs note, or `Session`."""
        self._gone[:] = b"\1" * targets
        self.takes_looks = self._programs.attach("on_tick")

    # ---- What a peer may watch ----

    def set_target(self, index: int, pidfd: int, pagemap: int, uid: int) -> Target:
        """Watch a process by an open pagemap of its memory, which peer *uid* sent; owns both after.

        The kernel let somebody open the file, who passed it on: that is the right to see what it
        shows. It must be of the memory that the process has now, which the file keeps, so that
        nothing else can take its place.
        """
        self.drop_target(index)
        size = self._maps["targets"].stride
        place = self.capacity * size
        targets = self._maps["targets"].memory
        control = self._control
        targets[place : place + size] = bytes(size)
        control["target"], control["tgid"] = self.capacity, 0
        try:
            self._programs.iterate("find_task", pidfd)
        except OSError:
            raise Refused("the first descriptor is no pidfd of a process that lives") from None
        control["peeked"], control["first"] = 0, pagemap
        control["count"] = self.kernel.plan["file_private"]
        self._programs.iterate("find_file", self.kernel.own_pidfd)
        row = bytes(targets[place : place + size])
        targets[place : place + size] = bytes(size)
        if control["peeked"] != 1:
            raise Refused("the second descriptor is no pagemap of the memory that the process has")
        target = self.targets[index] = Target(pidfd, pagemap, uid)
        targets[index * size : (index + 1) * size] = row
        return target

    def drop_target(self, index: int) -> None:
        """Do not watch a target any more."""
        target = self.targets.pop(index, None)
        if target is not None:
            size = self._maps["targets"].stride
            self._maps["targets"].memory[index * size : (index + 1) * size] = bytes(size)
            self._gone[index] = 1
            target.close()

    def check_targets(self) -> None:
        """Drop the targets that may not be watched any more."""
        now_ns = time.monotonic_ns()
        if now_ns - self._checked_ns > _CHECK_NS:
            self._checked_ns = now_ns
            for index, target in list(self.targets.items()):
                if not target.may_be_watched():
                    self.drop_target(index)

    def tell_gone(self) -> None:
        """Tell the peer which targets have another memory now, or none."""
        self._put("gone", self._gone)

    # ---- Steps ----

    def begin(
        self,
        regions: int,
        looks: int,
        *arguments: int,
    ) -> tuple[int, ...]:
        """Begin an epoch: choose blocks, clear them, arm them; see `Op.BEGIN`."""
        control, pace = self._control, self._pace
        *times, marks, changed = arguments[: LOOKS + 1]
        size = within(regions, self.regions) * self._maps["blocks"].stride
        pace["due"] = _NEVER
        if marks & SETTLE:
            self._settle(regions, changed)
        if marks & FIRST:
            pace["n_armed"] = pace["epoch"] = 0
            self._take("blocks", size)
        pace["n_looks"] = within(looks, LOOKS - 1) if self.takes_looks else 0
        at = self.kernel.plan["pace"]["after_ns"][0]
        after = struct.pack(f"<{len(times)}Q", *(min(ns, _LONGEST_NS) for ns in times))
        self._maps["paces"].memory[at : at + len(after)] = after
        control["first"], control["count"], control["n_ranges"] = 0, regions, 0
        self._set_read_back(marks)
        self._programs.run("choose")
        listed = control["n_ranges"]
        tables = min(control["n_copied"], TABLES) if marks & COPY and listed else 0
        refused = clear_ns = 0
        begin_ns = end_ns = time.monotonic_ns()
        if listed:
            self._give("pending", listed * self._maps["pending"].stride)
            refused, clear_ns = self._clear_listed()
            end_ns = time.monotonic_ns()
        pace["armed_ns"] = (begin_ns + end_ns) // 2
        control["n_ranges"] = 0
        self._programs.run("arm")
        doubtful = control["n_ranges"]
        self._give("pending", doubtful * self._maps["pending"].stride, area="doubtful")
        self._give("places", tables * 16)
        self._give_tables(0, tables)
        self._give("blocks", size)
        return pace["n_armed"], listed, doubtful, refused, tables, clear_ns

    def look(self, *_: int) -> tuple[int, ...]:
        """Look at the blocks of the epoch now."""
        self._programs.run("look_now")
        return ()

    def settle(self, regions: int, changed: int, *_: int) -> tuple[int, ...]:
        """End an epoch, with what the peer found out about blocks since it began."""
        size = within(regions, self.regions) * self._maps["blocks"].stride
        self._settle(regions, changed)
        self._give("blocks", size)
        return ()

    def _settle(self, regions: int, changed: int) -> None:
        blocks, stride = self._maps["blocks"], self._maps["blocks"].stride
        until = self.kernel.plan["block"]["young"]
        at = self._areas["refused"][0]
        numbers = bytes(self._shared[at : at + 4 * within(changed, ARMED_BLOCKS)])
        for (index,) in struct.iter_unpack("<I", numbers):
            if index < regions:
                begin, here = index * stride, self._areas["blocks"][0] + index * stride
                blocks.memory[begin : begin + until] = self._shared[here : here + until]
        self._programs.run("settle")
        self._give("paces", self._areas["paces"][1])

    def scan(self, shift: int, tables: int, marks: int, *_: int) -> tuple[int, ...]:
        """Copy page tables of one level: the marks of their entries, without any address."""
        plan, control = self.kernel.plan, self._control
        top = self.kernel.facts["top_shift"]
        if shift not in range(plan["page_shift"], top + 1, plan["level_bits"]):
            raise Malformed("there is no such level of page tables")
        self._set_read_back(marks)
        control["shift"] = shift
        for first in range(0, within(tables, MAX_TABLES), TABLES):
            control["count"] = count = min(TABLES, tables - first)
            self._take("places", count * 16, first * 16)
            self._programs.run("scan")
            self._give_tables(first, count)
        return ()

    def advise(self, index: int, ranges: int, *_: int) -> tuple[int, ...]:
        """Clear the ranges that the peer lists: bytes cleared and 1, or the errno behind a 0."""
        target = self.targets.get(index)
        if target is None:
            raise Refused("there is no such target")
        self._take("ranges", within(ranges, RANGES) * 16)
        done = advise(target.pidfd, self._maps["ranges"].address, ranges)
        return (done + 1, 0) if done >= 0 else (0, -done)

    def close(self) -> None:
        """Unload the programs, and let go of all targets."""
        self._programs.close()
        for index in list(self.targets):
            self.drop_target(index)
        # The peer may keep the memory for as long as it likes, but not at the daemon's cost.
        _libc.fallocate(self.memory_fd, _PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(self._size))
        os.close(self.memory_fd)

    # ---- Between the maps and the shared memory ----

    def _take(self, name: str, size: int, skipped: int = 0) -> None:
        at = self._areas[name][0] + skipped
        self._maps[name].memory[:size] = self._shared[at : at + size]

    def _give(self, name: str, size: int, skipped: int = 0, area: str = "") -> None:
        self._put(area or name, self._maps[name].memory[:size], skipped)

    def _put(self, area: str, data: bytes | bytearray | memoryview, skipped: int = 0) -> None:
        at = self._areas[area][0] + skipped
        self._shared[at : at + len(data)] = data

    def _give_tables(self, first: int, count: int) -> None:
        """The low bits of entries that say how a page is mapped: no bit of an address."""
        for name in ("marks", "parents"):
            stride = self._maps[name].stride
            self._give(name, count * stride, first * stride)

    def _set_read_back(self, marks: int) -> None:
        self._control["young"] = self.kernel.facts["young"] if marks & READ_BACK else 0

    def _clear_listed(self) -> tuple[int, int]:
        """Clear the ranges that a program listed: how many regions were refused, and the time."""
        target, size = self.kernel.plan["target"], self._maps["targets"].stride
        memory, ranges = self._maps["targets"].memory, self._maps["ranges"]
        begin_ns, offset, refused = time.thread_time_ns(), 0, bytearray()
        for index, held in sorted(self.targets.items()):
            row = index * size
            (wanted,) = struct.unpack_from("<Q", memory, row + target["bytes"])
            (count,) = struct.unpack_from("<I", memory, row + target["n_ranges"])
            if not count:
                continue
            count = min(count, RANGES - offset)
            at = ranges.address + 16 * offset
            if advise(held.pidfd, at, count) != wanted:
                refused += self._clear_one_by_one(held, offset, count)
            struct.pack_into("<Q", memory, row + target["bytes"], 0)
            struct.pack_into("<I", memory, row + target["n_ranges"], 0)
            offset += count
        self._put("refused", refused)
        return len(refused) // 4, time.thread_time_ns() - begin_ns

    def _clear_one_by_one(self, target: Target, offset: int, count: int) -> bytes:
        """Clear ranges of which some are refused: the regions of those."""
        ranges, pending = self._maps["ranges"], self._maps["pending"]
        refused, until_ns = bytearray(), time.thread_time_ns() + _CLEAR_NS
        for place in range(offset, offset + count):
            done = -1
            if time.thread_time_ns() < until_ns:
                done = advise(target.pidfd, ranges.address + 16 * place, 1)
            if done <= 0 and -done not in (0, 4, 12):  # EINTR; ENOMEM: a hole, and the rest is done
                at = place * pending.stride
                refused += pending.memory[at : at + 4]
        return bytes(refused)


def within(number: int, most: int) -> int:
    """The number, if it is in range; raises `Malformed`."""
    if number > most:
        raise Malformed("a number out of range")
    return number


def _shared_memory(size: int) -> tuple[int, memoryview]:
    """Memory to share with a peer, which neither can resize."""
    fd = os.memfd_create("pydamon", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
        return fd, memoryview(mmap.mmap(fd, size))
    except BaseException:
        os.close(fd)
        raise
