"""Sampling and scanning with the BPF programs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetGoneError
from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import Stretches
from pydamon._model.regions import PAGE_SIZE, Ranges, RegionTable, order_keys
from pydamon._observe.linux import madvise
from pydamon._observe.linux.madvise import clear_ranges, clear_refs, may_clear
from pydamon._observe.linux.pages import PageFlags
from pydamon._observe.linux.process import Process, refusal
from pydamon._observe.probes.base import (
    Clock,
    Counts,
    ManyBits,
    PageBits,
    RealClock,
    Session,
    sampling_schedule,
)
from pydamon._observe.probes.ebpf.btf import ARMED, IDLE
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.ebpf.readback import ReadBack
from pydamon._observe.probes.ebpf.scan import PageRows, Scanner, file_ranges, populated
from pydamon._observe.probes.refs import NO_SPAN, borders

__all__ = ["EbpfSession"]

_MIN_ENTRIES = 4096
_MIN_TARGETS = 1024
_TRY_AGAIN = 0.125
_MUCH_PAGES = 1024
_MOST_STUCK_PAGES = 1 << 26
"""Pages of stretches for which is remembered what could not be cleared."""
_BLIND_SHARE = 0.125
"""Regions in which nothing could be watched last time are still tried, but seldom."""

SMALL_BLOCK = 16 * PAGE_SIZE
"""Clearing 16 neighbours costs what clearing one page does: the flush of the TLB dominates.
Pages that nobody touches again need no clear when they are sampled next."""
LARGE_BLOCK = 512 * PAGE_SIZE
"""For regions that lie cold, where one clear is then enough for long; and for files, whose pages
may be part of a large folio, which the kernel would split to advise about a part of it."""
_NOT_AGAIN_BYTES = 4 * LARGE_BLOCK
"""In larger regions a sample hardly ever meets a block that was cleared before."""


class EbpfSession(Session):
    """A session of the `ebpf` probe; see `pydamon._observe.probes.Session`."""

    def __init__(self) -> None:
        self.clock: Clock = RealClock()
        self._machine = Machine(_MIN_ENTRIES, _MIN_TARGETS)
        self._flags: list[PageFlags] = []
        self._stuck: dict[tuple[Process, int, int], NDArray[np.bool_]] = {}
        """Pages that could not be cleared, by process and stretch of a scan."""
        self._stuck_pages = 0
        self._shares_much: set[Process] = set()
        """Processes with so many of them that it is worth to clear everything another way."""
        self._has_huge: set[Process] = set()
        """Processes that were seen to have huge pages."""
        self._mappings: list[MappingTable] = []
        self._files: list[NDArray[np.int64]] = []
        self._all_runs = self._all_files = _Ranges.of([])
        self._count = 0
        self._blind: tuple[NDArray[np.int64], ...] = (np.empty(0, np.int64),) * 2
        self._armed = False
        self._rng = np.random.default_rng()
        self._scanner = Scanner(self._machine, [], [], [])
        self.read_back = ReadBack()
        """What another monitor that is at work took."""

    @property
    def caveat(self) -> str:
        return self.read_back.caveat

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        if len(processes) > len(self._machine.targets):
            self._reload(len(self._machine.entries), 2 * len(processes))
        self.read_back.ask(self._machine)
        self._count = 0
        refused = []
        for index, process in enumerate(processes):
            known = index < len(self._processes) and self._processes[index] is process
            if known and not self._machine.targets[index]["gone"]:
                continue
            refused.append((process, may_clear(process)))
            self._machine.find_address_space(index, process)
        for flags in self._flags:
            flags.close()
        self._stuck.clear()
        self._stuck_pages = 0
        self._blind = (np.empty(0, np.int64),) * 2
        self._processes = list(processes)
        self._shares_much &= set(processes)
        self._has_huge &= set(processes)
        self._flags = [PageFlags(process) for process in processes]
        for process, number in refused:
            if number and not process.ends:
                self._give_up(process, refusal(f"cannot watch pid {process.pid}", number))
        if len(processes) > 1:
            # Likely shared among the targets themselves, as the buffers of a database are.
            self._shares_much |= {
                process
                for process, table in zip(processes, mappings, strict=True)
                if _shared_bytes(table) > _MUCH_PAGES * PAGE_SIZE
            }
        pairs = zip(self._mappings, self._files, strict=True)
        of_table = {id(table): ranges for table, ranges in pairs}
        self._files = [
            of_table[id(table)] if id(table) in of_table else file_ranges(table)
            for table in mappings
        ]
        self._mappings = list(mappings)
        self._all_runs = _Ranges.of([table.runs for table in mappings])
        self._all_files = _Ranges.of(self._files)
        self._scanner = Scanner(self._machine, self._processes, self._mappings, self._flags)

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        n = len(table)
        if n > len(self._machine.entries):
            self._reload(2 * n, len(self._machine.targets))
        self._find_lost()
        self.read_back.ask(self._machine)
        entries = self._machine.entries[:n]
        entries["start"], entries["end"] = table.start, table.end
        entries["target"] = table.target
        entries["state"] = IDLE
        share = np.where(self._in_blind_spot(table), share * _BLIND_SHARE, share)
        entries["period"], entries["phase"] = sampling_schedule(share, self._rng)
        self._set_blocks(entries, table)
        self._machine.counters[:n] = 0
        self._machine.spans[:n] = (*NO_SPAN, *NO_SPAN)
        self._count = n
        self._armed = False
        self._machine.control.tick = 0
        self.tick()

    def tick(self, last: bool = False) -> None:
        control, count = self._machine.control, self._count
        control.check, control.pick, control.n_ranges = self._armed, not last, 0
        batch = self._machine.batch
        for first in range(0, count, batch):
            control.first, control.count = first, min(batch, count - first)
            self._machine.tick.run()
        self._armed = not last
        control.tick += 1
        if control.n_ranges:
            self._clear(control.n_ranges)

    def counts(self) -> Counts:
        spans = self._machine.spans[: self._count].astype(np.int64)
        hits, checks, unobservable = self._machine.counters[: self._count].T.astype(np.float64)
        blind = (checks == 0) & (unobservable > 0)
        entries = self._machine.entries[: self._count][blind]
        self._blind = tuple(
            order_keys(entries["target"], entries[end].astype(np.int64)) for end in ("start", "end")
        )
        return Counts(
            hits,
            checks,
            unobservable,
            border=borders(spans[:, :2], spans[:, 2:]),
            lost=bool(self._machine.targets["gone"][: len(self._processes)].any()),
        )

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        found, bits = self._scanned(Stretches.of([(target, start, end)]), clear)
        if bits.gone.any():
            raise TargetGoneError("its memory is gone: it has exited, or called exec")
        huge = found.flat(np.broadcast_to(found.huge[:, None], found.bits.shape))
        return PageBits(start, bits.present, huge, bits.accessed, bits.unobservable)

    def scan_many(self, stretches: Stretches, *, clear: bool) -> ManyBits:
        return self._scanned(stretches, clear)[1]

    def _scanned(self, stretches: Stretches, clear: bool) -> tuple[PageRows, ManyBits]:
        if clear:
            self.read_back.ask(self._machine)
        found = self._scanner.read(stretches)
        if found.huge.any():
            targets = np.unique(found.keys[found.huge] >> 44).tolist()
            self._has_huge |= {self._processes[target] for target in targets}
        accessed = found.flat(found.accessed)
        stuck = np.zeros(len(accessed), np.bool_)
        if clear and accessed.any():
            begin_ns = time.thread_time_ns()
            stuck = self._scanner.clear(found, accessed, self._stuck_before(stretches))
            self.interruption_ns += time.thread_time_ns() - begin_ns
            self._remember(stretches, stuck)
        present = found.flat(found.present)
        return found, ManyBits(present, accessed & ~stuck, stuck, found.gone_stretches)

    def _stuck_before(self, stretches: Stretches) -> NDArray[np.bool_]:
        """Which pages could not be cleared the last time, and need not be tried again.

        What is shared may be shared no longer: now and then everything is tried.
        """
        stuck = np.zeros(int(stretches.offsets[-1]), np.bool_)
        tried = self._rng.random(len(stretches)) < _TRY_AGAIN
        for index, key in enumerate(self._keys(stretches)):
            before = self._stuck.get(key)
            if before is not None and not tried[index]:
                stuck[slice(*stretches.offsets[index : index + 2])] = before
        return stuck

    def _remember(self, stretches: Stretches, stuck: NDArray[np.bool_]) -> None:
        for index, key in enumerate(self._keys(stretches)):
            mine = stuck[slice(*stretches.offsets[index : index + 2])]
            self._stuck_pages -= len(self._stuck.pop(key, ()))
            count = int(np.count_nonzero(mine))
            if count > _MUCH_PAGES:
                self._shares_much.add(key[0])
            if count:
                if self._stuck_pages > _MOST_STUCK_PAGES:
                    self._stuck.clear()
                    self._stuck_pages = 0
                self._stuck[key] = mine.copy()
                self._stuck_pages += len(mine)

    def _keys(self, stretches: Stretches) -> Iterator[tuple[Process, int, int]]:
        """The process, start and end of each."""
        columns = (stretches.target.tolist(), stretches.start.tolist(), stretches.end.tolist())
        for target, start, end in zip(*columns, strict=True):
            yield self._processes[target], start, end

    def populated(self) -> list[Ranges] | None:
        return populated(self._machine, len(self._processes))

    def look(self, target: int, spots: NDArray[np.int64], *, clear: bool) -> NDArray[np.float64]:
        try:
            accessed, _ = self._scanner.read_spots(target, spots)
            share: NDArray[np.float64] = accessed.mean(axis=1)
            if clear:
                begin_ns = time.thread_time_ns()
                share[self._scanner.clear_spots(target, spots, accessed)] = np.nan
                self.interruption_ns += time.thread_time_ns() - begin_ns
        except TargetGoneError:
            return np.full(len(spots), np.nan)
        return share

    def clear_whole(self, target: int) -> bool:
        process = self._processes[target]
        if process.without_leader:
            return self.clear_shared(target)
        if self._rng.random() < _TRY_AGAIN:
            self._shares_much.discard(process)
        # Small pages do not stay in a TLB for long, and to clear twice makes the window longer.
        small = process in self._shares_much and process not in self._has_huge
        return small and self.clear_shared(target)

    def leaves_much(self, target: int) -> bool:
        return self._processes[target] in self._shares_much & self._has_huge

    def clear_shared(self, target: int) -> bool:
        try:
            clear_refs(self._processes[target])
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._machine.close()
        for flags in self._flags:
            flags.close()
        self._flags = []

    def _clear(self, count: int) -> None:
        """Clear what `tick` asked for, and find out what really was cleared."""
        machine = self._machine
        begin_ns = time.thread_time_ns()
        offset = 0
        for index in (
            np.flatnonzero(machine.targets["n_ranges"]) if len(self._processes) > 1 else (0,)
        ):
            target = machine.targets[index]
            n, wanted = int(target["n_ranges"]), int(target["bytes"])
            at = machine.ranges_address + offset * madvise.RANGE_BYTES
            process = self._processes[int(index)]
            if madvise.advise_at(process.pidfd, at, n, madvise.MADV_COLD) != wanted:
                self._clear_one_by_one(process, offset, n)
            target["n_ranges"], target["bytes"] = 0, 0
            offset += n
        self.interruption_ns += time.thread_time_ns() - begin_ns
        control = machine.control
        control.n_ranges = 0
        for first in range(0, count, machine.batch):
            control.first, control.count = first, min(machine.batch, count - first)
            machine.verify.run()
        if control.n_ranges:
            self._resolve(machine.pending[: control.n_ranges].tolist())

    def _clear_one_by_one(self, process: Process, offset: int, count: int) -> None:
        """A range was refused: go on behind it. What cannot be advised cannot be watched."""
        ranges = self._machine.ranges[offset : offset + count]
        rows = ranges.view(np.uint64).reshape(-1, 2)
        refused = clear_ranges(process, rows)
        entries = self._machine.entries
        for index in self._machine.pending[offset + refused].tolist():
            entries[index]["state"] = IDLE
            entries[index]["unobservable"] += 1

    def _resolve(self, doubtful: list[int]) -> None:
        """Samples that still are accessed right after the clear: touched again, or stuck?"""
        entries = self._machine.entries
        for index in doubtful:
            entry = entries[index]
            if self._flags[entry["target"]].can_be_cleared(int(entry["addr"])):
                entry["state"] = ARMED
            else:
                entry["state"] = IDLE
                entry["unobservable"] += 1

    def _find_lost(self) -> None:
        """Find the new address space of processes that called exec."""
        lost = np.flatnonzero(self._machine.targets["gone"][: len(self._processes)])
        for index in lost.tolist():
            if self._processes[index].alive:
                self._machine.find_address_space(index, self._processes[index])

    def _in_blind_spot(self, table: RegionTable) -> NDArray[np.bool_]:
        """Which regions lie where no sample could be watched the last time."""
        start, end = self._blind
        if not len(start):
            return np.zeros(len(table), np.bool_)
        at = np.searchsorted(start, order_keys(table.target, table.start), side="right") - 1
        return (at >= 0) & (order_keys(table.target, table.end) <= end[at])

    def _set_blocks(self, entries: NDArray[Any], table: RegionTable) -> None:
        """Say how much to clear around a sample: whole blocks, but nothing that is not mapped."""
        entries["low"] = entries["high"] = 0
        again = (table.last_nr_accesses < 1) & (table.size <= _NOT_AGAIN_BYTES)
        entries["block"] = np.where(again, LARGE_BLOCK, SMALL_BLOCK)
        bounds, inside = self._all_runs.last_before(table.target, table.start + 1)
        entries["low"][inside], entries["high"][inside] = bounds[inside].T
        bounds, inside = self._all_files.last_before(table.target, table.end)
        entries["block"][inside & (table.start < bounds[:, 1])] = LARGE_BLOCK

    def _reload(self, entries: int, targets: int) -> None:
        self._machine.close()
        self._machine = Machine(entries, targets)
        self.read_back.apply(self._machine)
        self._scanner = Scanner(self._machine, self._processes, self._mappings, self._flags)
        for index, process in enumerate(self._processes):
            self._machine.find_address_space(index, process)


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Ranges of all targets, in the order of targets and addresses."""

    target: NDArray[np.int32]
    bounds: NDArray[np.int64]
    keys: NDArray[np.int64]

    @classmethod
    def of(cls, ranges: Sequence[NDArray[np.int64]]) -> Self:
        target = np.repeat(np.arange(len(ranges), dtype=np.int32), [len(one) for one in ranges])
        bounds = np.concatenate([np.empty((0, 2), np.int64), *ranges])
        return cls(target, bounds, order_keys(target, bounds[:, 0]))

    def last_before(
        self, target: NDArray[np.int32], address: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """For each address the target's last range that begins below it, and whether there is any.

        Ranges begin at whole pages.
        """
        if not len(self.keys):
            return np.zeros((len(target), 2), np.int64), np.zeros(len(target), np.bool_)
        beyond = address + PAGE_SIZE - 1
        at = np.searchsorted(self.keys, order_keys(target, beyond), side="left") - 1
        return self.bounds[at], (at >= 0) & (self.target[at] == target)


def _shared_bytes(mappings: MappingTable) -> int:
    return sum(m.end - m.start for m in mappings.mappings if m.perms.endswith("s"))
