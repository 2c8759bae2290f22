"""A session: the BPF programs for one peer, the targets that it may watch, and their steps.

A peer writes into the shared memory at any time. So the daemon takes its parameters from messages,
copies bulk data between the shared memory and the maps, and decides nothing by what it copies: the
programs walk the user part of the page tables of this session's targets only, whatever a region or
block says. What goes back holds no physical or kernel address.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time

from .bpf import Programs, advise
from .machine import Fields, Kernel, Refused, Target, pid_of, type_of_file_system
from .protocol import LOOKS, RANGES, TABLES, areas

__all__ = ["Session"]

_PROGRAMS = (
    *("tick", "verify", "scan", "choose", "arm", "settle", "look_now"),
    *("on_tick", "find_task", "find_file"),
)
_SEALS = 0x0001 | 0x0002 | 0x0004
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW"""
_ADD_SEALS = 1033
_NEVER = (1 << 64) - 1
_GONE = (1 << 64) - 1
_PROC_MAGIC = 0x9FA0
_CLEAR_NS = 20_000_000
"""The CPU time for ranges that are cleared one by one; the rest counts as refused."""


class Session:
    """The programs for one peer, loaded until `close`."""

    def __init__(self, kernel: Kernel, regions: int, targets: int) -> None:
        self._kernel, plan = kernel, kernel.plan
        counts = {"entries": regions, "blocks": regions, "targets": targets + 1, "frames": 1}
        self._programs = Programs(plan, _PROGRAMS, counts)
        self._maps = self._programs.maps
        self.regions, self._unproven = regions, targets
        self._targets: list[Target | None] = [None] * targets
        strides = (self._maps[name].stride for name in ("entries", "blocks", "paces"))
        self._areas = areas(regions, targets, *strides)
        self.memory_fd, self._shared = _shared_memory(self._areas["all"].size)
        self._control = Fields(self._maps["controls"].memory, plan["control"])
        self._pace = Fields(self._maps["paces"].memory, plan["pace"])
        for name, value in kernel.facts.items():
            self._control[name] = value
        self._control["max_ranges"] = RANGES
        self._pace["due"] = _NEVER
        self.takes_looks = self._programs.attach("on_tick")
        low, high = plan["marks"] & 0xFF, plan["marks"] >> 8 & 0xFF
        self._masks = bytes(n & low for n in range(256)), bytes(n & high for n in range(256))

    @property
    def levels(self) -> int:
        """How many levels page tables have."""
        return self._kernel.facts["levels"]

    @property
    def capacity(self) -> int:
        """How many targets there may be."""
        return len(self._targets)

    @property
    def held(self) -> int:
        """How many targets there are."""
        return sum(target is not None for target in self._targets)

    # ---- What a peer may watch ----

    def set_target(self, index: int, pidfd: int, pagemap: int) -> Target:
        """Watch a process by an open pagemap of its memory, which the peer sent; owns both after.

        The kernel let somebody open the file, who passed it on: that is the right to see what it
        shows. It must be of the memory that the process has now, which the file keeps, so that
        nothing else can take its place.
        """
        self.drop_target(index)
        size = self._maps["targets"].stride
        place = self._unproven * size
        targets = self._maps["targets"].memory
        control = self._control
        targets[place : place + size] = bytes(size)
        control["target"], control["tgid"] = self._unproven, 0
        try:
            if not self._programs.iterate("find_task", pidfd):
                targets[place : place + size] = bytes(size)
                control["tgid"] = pid_of(pidfd)
                self._programs.iterate("find_task", pidfd)
        except OSError:
            raise Refused("the first descriptor is no pidfd") from None
        control["peeked"], control["first"] = 0, pagemap
        control["count"] = self._kernel.plan["file_private"]
        own = os.pidfd_open(os.getpid())
        try:
            control["tgid"] = 0
            if not self._programs.iterate("find_file", own):
                control["peeked"], control["tgid"] = 0, os.getpid()
                self._programs.iterate("find_file", own)
        finally:
            os.close(own)
        row = targets[place : place + size]
        targets[place : place + size] = bytes(size)
        if control["peeked"] != 1:
            raise Refused("the second descriptor is no pagemap of the memory that the process has")
        # Only now is it safe to ask the file: one of FUSE's would not need to answer.
        if type_of_file_system(pagemap) != _PROC_MAGIC:
            raise Refused("the second descriptor is no file of /proc")
        target = self._targets[index] = Target(pidfd, pagemap)
        targets[index * size : (index + 1) * size] = row
        return target

    def drop_target(self, index: int) -> None:
        """Do not watch a target any more."""
        target = self._targets[index]
        if target is not None:
            size = self._maps["targets"].stride
            self._maps["targets"].memory[index * size : (index + 1) * size] = bytes(size)
            self._targets[index] = None
            target.close()

    def check_targets(self) -> None:
        """Drop the targets that may not be watched any more."""
        for index, target in enumerate(self._targets):
            if target is not None and not target.may_be_watched():
                self.drop_target(index)

    def tell_gone(self) -> None:
        """Tell the peer which targets have another memory now, or none."""
        target = self._kernel.plan["target"]
        size, memory = self._maps["targets"].stride, self._maps["targets"].memory
        gone = bytearray(memory[target["gone"] : self._unproven * size : size])
        for index, held in enumerate(self._targets):
            if held is None:
                gone[index] = 1
        at = self._areas["gone"].offset
        self._shared[at : at + len(gone)] = gone

    # ---- Steps ----

    def tick(self, regions: int, number: int, check: int, pick: int) -> int:
        """Check the samples, choose new ones; how many ranges are to be cleared first."""
        control, size = self._control, regions * self._maps["entries"].stride
        self._take("entries", "entries", size)
        control["first"], control["count"], control["n_ranges"] = 0, regions, 0
        control["tick"], control["check"], control["pick"] = number, check, pick
        self._programs.run("tick")
        listed = control["n_ranges"]
        self._give("entries", "entries", size)
        self._give_list(listed)
        return listed

    def verify(self, regions: int) -> tuple[int, int, int]:
        """Clear what `tick` listed: how many samples are doubtful, how many refused, ns."""
        control, size = self._control, regions * self._maps["entries"].stride
        listed = control["n_ranges"]
        refused, clear_ns = self._clear_listed()
        control["first"], control["count"], control["n_ranges"] = 0, listed, 0
        self._programs.run("verify")
        self._give("entries", "entries", size)
        self._give_numbers("doubtful", control["n_ranges"])
        return control["n_ranges"], refused, clear_ns

    def begin(
        self, regions: int, looks: int, after_ns: tuple[int, ...], *, first: bool, copies: bool
    ) -> tuple[int, int, int, int, int, int]:
        """Begin an epoch: choose blocks, clear them, arm them; see `Op.BEGIN` for the values."""
        control, pace = self._control, self._pace
        size = regions * self._maps["blocks"].stride
        pace["due"] = _NEVER
        if first:
            pace["n_armed"] = pace["epoch"] = 0
        self._take("blocks", "blocks", size)
        pace["n_looks"] = min(looks, LOOKS - 1) if self.takes_looks else 0
        times = self._kernel.plan["pace"]["after_ns"][0]
        self._maps["paces"].memory[times : times + 24] = struct.pack("<3Q", *after_ns)
        control["first"], control["count"], control["n_ranges"] = 0, regions, 0
        self._programs.run("choose")
        listed = control["n_ranges"]
        tables = min(control["n_copied"], TABLES) if copies and listed else 0
        self._give_list(listed)
        begin_ns = time.monotonic_ns()
        refused, clear_ns = self._clear_listed()
        pace["armed_ns"] = (begin_ns + time.monotonic_ns()) // 2
        control["n_ranges"] = 0
        self._programs.run("arm")
        doubtful = control["n_ranges"]
        self._give_numbers("doubtful", doubtful)
        if tables:
            self._give("places", "places", tables * 16)
            self._give_tables(tables)
        self._give("blocks", "blocks", size)
        self._give("pace", "paces", self._areas["pace"].size)
        return pace["n_armed"], listed, doubtful, refused, tables, clear_ns

    def look(self) -> None:
        """Look at the blocks of the epoch now."""
        self._programs.run("look_now")

    def settle(self, regions: int, changed: int) -> None:
        """End an epoch, with what the peer found out about blocks since it began."""
        blocks, stride = self._maps["blocks"], self._maps["blocks"].stride
        until = self._kernel.plan["block"]["young"]
        at = self._areas["refused"].offset
        for (index,) in struct.iter_unpack("<I", self._shared[at : at + 4 * changed]):
            if index < regions:
                begin, here = index * stride, self._areas["blocks"].offset + index * stride
                blocks.memory[begin : begin + until] = self._shared[here : here + until]
        self._programs.run("settle")
        self._give("blocks", "blocks", regions * stride)
        self._give("pace", "paces", self._areas["pace"].size)

    def scan(self, shift: int, tables: int) -> None:
        """Copy page tables of one level: the marks of their entries, without any address."""
        plan, control = self._kernel.plan, self._control
        top = plan["page_shift"] + plan["table_bits"] * (self.levels - 1)
        if shift not in range(plan["page_shift"], top + 1, plan["table_bits"]):
            raise Refused("there is no such level of page tables")
        self._take("places", "places", tables * 16)
        control["shift"], control["count"] = shift, tables
        self._programs.run("scan")
        self._give_tables(tables, top=shift == top)

    def advise(self, index: int, ranges: int) -> int:
        """Clear the ranges that the peer lists: bytes cleared, or minus the errno."""
        target = self._targets[index] if index < len(self._targets) else None
        if target is None:
            raise Refused("there is no such target")
        self._take("ranges", "ranges", ranges * 16)
        return advise(target.pidfd, self._maps["ranges"].address, ranges)

    def close(self) -> None:
        """Unload the programs, and let go of all targets."""
        self._programs.close()
        for index in range(len(self._targets)):
            self.drop_target(index)
        if self.memory_fd >= 0:
            os.close(self.memory_fd)
            self.memory_fd = -1

    # ---- Between the maps and the shared memory ----

    def _take(self, area: str, name: str, size: int) -> None:
        at = self._areas[area].offset
        self._maps[name].memory[:size] = self._shared[at : at + size]

    def _give(self, area: str, name: str, size: int) -> None:
        at = self._areas[area].offset
        self._shared[at : at + size] = self._maps[name].memory[:size]

    def _give_list(self, listed: int) -> None:
        memory = self._maps["ranges"].memory
        at = self._areas["ranges"].offset
        self._shared[at : at + 16 * listed] = memory[: 16 * listed]
        self._give_numbers("pending", listed)

    def _give_numbers(self, area: str, count: int) -> None:
        """The first numbers of `pending`, which has them 8 bytes apart."""
        at, pending = self._areas[area].offset, self._maps["pending"]
        numbers = range(0, count * pending.stride, pending.stride)
        self._shared[at : at + 4 * count] = b"".join(pending.memory[n : n + 4] for n in numbers)

    def _give_tables(self, tables: int, *, top: bool = False) -> None:
        """The low bits of entries that say how a page is mapped: no bit of an address."""
        copied, size = self._maps["tables"].memory, tables * 4096
        for area, place, mask in zip(("low", "high"), (0, 1), self._masks, strict=True):
            marks = copied[place:size:8].translate(mask)
            if top:  # the upper half maps the kernel
                users = self._kernel.plan["user_entries"]
                rows = (marks[at : at + users] for at in range(0, len(marks), 512))
                marks = b"".join(row + bytes(512 - users) for row in rows)
            at = self._areas[area].offset
            self._shared[at : at + len(marks)] = marks
        parents = struct.unpack(f"<{tables}Q", self._maps["parents"].memory[: 8 * tables])
        allowed = self._kernel.plan["marks"]
        words = (0xFFFF if parent == _GONE else parent & allowed for parent in parents)
        at = self._areas["parents"].offset
        self._shared[at : at + 2 * tables] = struct.pack(f"<{tables}H", *words)

    def _clear_listed(self) -> tuple[int, int]:
        """Clear the ranges that a program listed: how many regions were refused, and the time."""
        target, size = self._kernel.plan["target"], self._maps["targets"].stride
        memory, ranges = self._maps["targets"].memory, self._maps["ranges"]
        begin_ns, offset, refused = time.thread_time_ns(), 0, bytearray()
        for index, held in enumerate(self._targets):
            row = index * size
            (wanted,) = struct.unpack_from("<Q", memory, row + target["bytes"])
            (count,) = struct.unpack_from("<I", memory, row + target["n_ranges"])
            if not count:
                continue
            count = min(count, RANGES - offset)
            at = ranges.address + 16 * offset
            if held is None or advise(held.pidfd, at, count) != wanted:
                refused += self._clear_one_by_one(held, offset, count)
            struct.pack_into("<Q", memory, row + target["bytes"], 0)
            struct.pack_into("<I", memory, row + target["n_ranges"], 0)
            offset += count
        at = self._areas["refused"].offset
        self._shared[at : at + len(refused)] = bytes(refused)
        return len(refused) // 4, time.thread_time_ns() - begin_ns

    def _clear_one_by_one(self, target: Target | None, offset: int, count: int) -> bytes:
        """Clear ranges of which some are refused: the regions of those."""
        ranges, pending = self._maps["ranges"], self._maps["pending"]
        refused, until_ns = bytearray(), time.thread_time_ns() + _CLEAR_NS
        for place in range(offset, offset + count):
            done = -1
            if target is not None and time.thread_time_ns() < until_ns:
                done = advise(target.pidfd, ranges.address + 16 * place, 1)
            if done <= 0 and -done not in (0, 4, 12):  # EINTR; ENOMEM: a hole, and the rest is done
                at = place * pending.stride
                refused += pending.memory[at : at + 4]
        return bytes(refused)


def _shared_memory(size: int) -> tuple[int, mmap.mmap]:
    """Memory to share with a peer, which neither can resize."""
    fd = os.memfd_create("pydamon", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
    return fd, mmap.mmap(fd, size)
