"""Sampling and scanning with the BPF programs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetGoneError
from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import Ranges, from_order_keys, keyed
from pydamon._model.regions import RegionTable
from pydamon._model.runs import unique
from pydamon._model.stretches import Stretches
from pydamon._observe.linux import madvise
from pydamon._observe.linux.madvise import clear_ranges, clear_refs, may_clear
from pydamon._observe.linux.pagemap import ProcessPages
from pydamon._observe.linux.process import Process, refusal
from pydamon._observe.probes.base import (
    Accessed,
    Clock,
    Counts,
    ManyBits,
    PageBits,
    RealClock,
    Session,
    Witness,
)
from pydamon._observe.probes.ebpf.btf import ARMED, IDLE
from pydamon._observe.probes.ebpf.entries import EntryFiller
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.ebpf.page_frames import frames_in_tables
from pydamon._observe.probes.ebpf.populated import populated
from pydamon._observe.probes.ebpf.readback import ReadBack
from pydamon._observe.probes.ebpf.scan import PageRows, Scanner, file_ranges
from pydamon._observe.probes.ebpf.stuck import TRY_AGAIN, ClearedBefore, StuckPages, sharing_much
from pydamon._observe.probes.ebpf.survival import SurvivalSampler
from pydamon._observe.probes.epochs import Epochs
from pydamon._observe.probes.split_hints import NO_SPAN, split_hints

__all__ = ["EbpfSession"]

_MIN_ENTRIES = 4096
_MIN_TARGETS = 1024

Refused = tuple[Process, OSError | int]


class EbpfSession(Session):
    """A session of the `ebpf` probe; see `pydamon._observe.probes.Session`."""

    def __init__(self) -> None:
        self.clock: Clock = RealClock()
        self._machine = self._load(_MIN_ENTRIES, _MIN_TARGETS)
        self._pages: list[ProcessPages] = []
        self._rng = np.random.default_rng()
        self._stuck = StuckPages(self._rng)
        self._cleared_before = ClearedBefore(self._rng)
        self._entries = EntryFiller(self._rng)
        self._shares_much: set[Process] = set()
        """Processes with so many stuck pages that it pays to clear everything another way."""
        self._shared_much: set[Process] = set()
        """Those for which that was known before."""
        self._has_huge: set[Process] = set()
        """Processes that were seen to have huge pages."""
        self._mappings: list[MappingTable] = []
        self._files: list[Ranges] = []
        self._count = 0
        self._armed = False
        self._epochs: SurvivalSampler | None = None
        self._scanner = Scanner(self._machine, [], [], [], self._cleared_before)
        self.read_back = ReadBack()
        """Accesses that another monitor took."""

    @property
    def caveat(self) -> str:
        return self.read_back.caveat

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        if len(processes) > len(self._machine.targets):
            self._reload(len(self._machine.entries), 2 * len(processes))
        self.read_back.ask(self._machine)
        self._count = 0
        refused = self._find_address_spaces(processes)
        for pages in self._pages:
            pages.close()
        self._stuck.clear()
        self._cleared_before.clear()
        self._entries.forget_blind()
        self._processes = list(processes)
        for known in (self._shares_much, self._shared_much, self._has_huge):
            known.intersection_update(processes)
        self._pages = [ProcessPages(process) for process in processes]
        for process, number in refused:
            if number and not process.ends:
                self._give_up(process, refusal(f"cannot watch pid {process.pid}", number))
        if len(processes) > 1:
            # Likely shared among the targets themselves, as the buffers of a database are.
            self._shares_much |= sharing_much(processes, mappings)
        self._set_mappings(mappings)

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        n = len(table)
        self.make_room(n)
        self.fill(self._machine.entries[:n], table, share)
        self._machine.counters[:n] = 0
        self._machine.spans[:n] = (*NO_SPAN, *NO_SPAN)
        self._count = n
        self._armed = False
        self._machine.control.tick = 0
        self.tick()

    @property
    def machine(self) -> Machine:
        """The programs, with room for what is watched."""
        return self._machine

    def make_room(self, regions: int) -> None:
        """Get ready to watch so many regions."""
        if regions > len(self._machine.entries):
            self._reload(2 * regions, len(self._machine.targets))
        self._find_lost()
        self.read_back.ask(self._machine)

    def fill(
        self, rows: NDArray[Any], table: RegionTable, share: NDArray[np.float64] | float
    ) -> None:
        """Set what the programs must know of regions that are watched a *share* of the time."""
        # Whoever asks to be told of clears looks at memory now and then, and clears it.
        self._entries.fill(rows, table, share, all_cleared=self.witness is not None)

    def epochs(self) -> Epochs | None:
        if self._epochs is None and SurvivalSampler.possible(self._machine):
            self._epochs = self._new_sampler()
        return self._epochs

    def _new_sampler(self) -> SurvivalSampler:
        return SurvivalSampler(self)

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
        entries = self._machine.entries[: self._count]
        self.note_blind(entries[(checks == 0) & (unobservable > 0)])
        return Counts(
            hits,
            checks,
            unobservable,
            split_hint=split_hints(spans[:, :2], spans[:, 2:]),
            lost=self.lost,
        )

    @property
    def lost(self) -> bool:
        """Whether a target has another address space now, or none."""
        return bool(self._machine.targets["gone"][: len(self._processes)].any())

    def note_blind(self, rows: NDArray[Any]) -> None:
        """Remember the regions in which nothing could be watched: they are tried seldom."""
        self._entries.note_blind(rows)

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        rows, bits = self._scanned(Stretches.of([(target, start, end)]), clear)
        if bits.gone.any():
            raise TargetGoneError("its memory is gone: it has exited, or called exec")
        huge = rows.flat(np.broadcast_to(rows.huge[:, None], rows.bits.shape))
        return PageBits(start, bits.present, huge, bits.accessed, bits.unobservable)

    def scan_many(
        self, stretches: Stretches, *, clear: bool, kept: NDArray[np.bool_] | None = None
    ) -> ManyBits:
        return self._scanned(stretches, clear, kept, sparing=True)[1]

    def shared_frames(self, stretches: Stretches) -> NDArray[np.uint32]:
        return frames_in_tables(self._machine, stretches)

    def populated(self) -> list[Ranges] | None:
        return populated(self._machine, len(self._processes))

    def look(
        self, targets: NDArray[np.int32], spots: NDArray[np.int64], *, clear: bool
    ) -> NDArray[np.float64]:
        read = self._scanner.read_spots(targets, spots)
        share: NDArray[np.float64] = read.accessed.mean(axis=1)
        share[read.gone] = np.nan
        if clear:
            begin_ns = time.thread_time_ns()
            touched = np.asarray(read.accessed.any(axis=1))
            if self.witness is not None:
                around = self._scanner.tables_around(targets[touched], spots[touched])
                _tell(self.witness, around)
            stuck = self._scanner.clear_spots(targets[touched], spots[touched], read.of(touched))
            share[np.flatnonzero(touched)[stuck]] = np.nan
            self.interruption_ns += time.thread_time_ns() - begin_ns
        return share

    def clear_whole(self, target: int) -> bool:
        process = self._processes[target]
        if process.without_leader:
            return self.clear_process_wide(target)
        if process in self._shares_much:
            self._shared_much.add(process)
            if self._rng.random() < TRY_AGAIN:
                self._shares_much.discard(process)
        # Small pages do not stay in a TLB for long, and to clear twice makes the window longer.
        small = process in self._shares_much and process not in self._has_huge
        return small and self.clear_process_wide(target)

    def needs_process_wide_clear(self, target: int) -> bool:
        # Where it is new that so much is shared, the TLB would hide what is in use all the time.
        known = self._shares_much & (self._has_huge | self._shared_much)
        return self._processes[target] in known

    def clear_process_wide(self, target: int) -> bool:
        try:
            self._witness_target(target)
            clear_refs(self._processes[target])
        except OSError:
            return False
        return True

    def _witness_target(self, target: int) -> None:
        """Tell the witness which pages of a target are accessed."""
        if self.witness is None:
            return
        in_memory = populated(self._machine, len(self._processes))[target]
        read = self._scanner.read(Stretches.of([(target, *row) for row in in_memory.tolist()]))
        _tell(self.witness, (read.keys, read.accessed))

    def witness_copied(self) -> None:
        """Tell the witness which pages are accessed in the tables that `choose` copied."""
        if self.witness is not None:
            self.witness(self._scanner.copied_tables())

    def can_be_cleared(self, target: int, address: int) -> bool:
        """Whether a clear has any effect on a page."""
        return self._pages[target].can_be_cleared(address)

    def close(self) -> None:
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None
        self._machine.close()
        for pages in self._pages:
            pages.close()
        self._pages = []

    def _find_address_spaces(self, processes: Sequence[Process]) -> list[Refused]:
        """Find the address spaces of new processes; the errno with which clears are refused."""
        refused: list[Refused] = []
        for index, process in enumerate(processes):
            known = index < len(self._processes) and self._processes[index] is process
            if known and not self._machine.targets[index]["gone"]:
                continue
            refused.append((process, may_clear(process)))
            self._machine.find_address_space(index, process)
        return refused

    def _find_lost(self) -> None:
        """Find the new address space of processes that called exec."""
        lost = np.flatnonzero(self._machine.targets["gone"][: len(self._processes)])
        for index in lost.tolist():
            if self._processes[index].alive:
                self._machine.find_address_space(index, self._processes[index])

    def _set_mappings(self, mappings: Sequence[MappingTable]) -> None:
        known = {id(t): files for t, files in zip(self._mappings, self._files, strict=True)}
        self._files = [
            known[id(table)] if id(table) in known else file_ranges(table) for table in mappings
        ]
        self._mappings = list(mappings)
        memory = [table.runs for table in mappings]
        self._entries.set_memory(keyed(memory), keyed(self._files))
        self._renew_scanner()

    def _renew_scanner(self) -> None:
        self._scanner = Scanner(
            self._machine, self._processes, self._mappings, self._pages, self._cleared_before
        )

    def _load(self, entries: int, targets: int) -> Machine:
        """Load the programs, with room for so many regions and targets."""
        return Machine(entries, targets)

    def _reload(self, entries: int, targets: int) -> None:
        """Load the programs again, with room for more regions and targets."""
        self._machine.close()
        self._machine = self._load(entries, targets)
        self.read_back.apply(self._machine)
        self._renew_scanner()
        for index, process in enumerate(self._processes):
            self._machine.find_address_space(index, process)

    def _scanned(
        self,
        stretches: Stretches,
        clear: bool,
        kept: NDArray[np.bool_] | None = None,
        sparing: bool = False,
    ) -> tuple[PageRows, ManyBits]:
        if clear:
            self.read_back.ask(self._machine)
        rows = self._scanner.read(stretches, sparing=sparing)
        if rows.huge.any():
            targets, _ = from_order_keys(rows.keys[rows.huge])
            self._has_huge |= {self._processes[target] for target in unique(targets).tolist()}
        accessed = rows.flat(rows.accessed)
        stuck = np.zeros(len(accessed), np.bool_)
        cleared = accessed if kept is None else accessed & ~kept
        if clear and cleared.any():
            begin_ns = time.thread_time_ns()
            skipped = self._stuck.skipped(self._processes, stretches)
            if self.witness is not None:
                marks = self._scanner.cleared_with(rows, cleared & ~skipped)
                _tell(self.witness, (rows.keys, marks))
            stuck = self._scanner.clear(rows, cleared, skipped)
            self.interruption_ns += time.thread_time_ns() - begin_ns
            self._shares_much |= self._stuck.remember(self._processes, stretches, stuck)
        accessed &= ~stuck
        return rows, ManyBits(rows.flat(rows.present), accessed, stuck, rows.gone_stretches)

    def _clear(self, count: int) -> None:
        """Clear the ranges that `tick` asked for, and find out what really was cleared."""
        machine = self._machine
        if self.witness is not None:
            target = machine.entries[machine.pending[:count]]["target"]
            start = machine.ranges["start"][:count].astype(np.int64)
            _tell(self.witness, self._scanner.tables_at(target, start))
        self._give_up_samples(self.clear_listed())
        control = machine.control
        control.n_ranges = 0
        for first in range(0, count, machine.batch):
            control.first, control.count = first, min(machine.batch, count - first)
            machine.verify.run()
        if control.n_ranges:
            self._resolve(machine.pending[: control.n_ranges].tolist())

    def clear_listed(self) -> list[int]:
        """Clear the ranges that a program listed; the regions in which that was refused."""
        machine = self._machine
        begin_ns = time.thread_time_ns()
        offset = 0
        refused: list[int] = []
        several = len(self._processes) > 1
        for index in np.flatnonzero(machine.targets["n_ranges"]) if several else (0,):
            target = machine.targets[index]
            n, wanted = int(target["n_ranges"]), int(target["bytes"])
            at = machine.ranges_address + offset * madvise.RANGE_BYTES
            process = self._processes[int(index)]
            if madvise.advise_at(process.pidfd, at, n, madvise.MADV_COLD) != wanted:
                refused += self._clear_one_by_one(process, offset, n)
            target["n_ranges"], target["bytes"] = 0, 0
            offset += n
        self.interruption_ns += time.thread_time_ns() - begin_ns
        return refused

    def _clear_one_by_one(self, process: Process, offset: int, count: int) -> list[int]:
        """Clear ranges of which one was refused; returns the regions whose range cannot be."""
        ranges = self._machine.ranges[offset : offset + count]
        refused = clear_ranges(process, ranges.view(np.uint64).reshape(-1, 2))
        indices: list[int] = self._machine.pending[offset + refused].tolist()
        return indices

    def _resolve(self, doubtful: list[int]) -> None:
        """Samples still accessed right after the clear were touched again, or are stuck."""
        entries = self._machine.entries
        stuck = []
        for index in doubtful:
            entry = entries[index]
            if self._pages[entry["target"]].can_be_cleared(int(entry["addr"])):
                entry["state"] = ARMED
            else:
                stuck.append(index)
        self._give_up_samples(stuck)

    def _give_up_samples(self, indices: list[int]) -> None:
        """The samples of these entries cannot be watched: they count as unobservable."""
        entries = self._machine.entries
        for index in indices:
            entries[index]["state"] = IDLE
            entries[index]["unobservable"] += 1


def _tell(witness: Witness, accessed: Accessed) -> None:
    witness(lambda: accessed)
