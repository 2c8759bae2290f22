"""Survival sampling with the BPF programs: blocks of pages, cleared once an epoch.

The looks between two clears happen at timer interrupts, in the kernel, so that this process wakes
up once an epoch; where no tracepoint may be used, it wakes up for every look.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeUnavailable
from pydamon._model.ranges import PAGE_SIZE, order_keys
from pydamon._model.regions import LOOKS, RegionTable
from pydamon._model.survival import BLOCK_PAGES, Survival
from pydamon._observe.probes.base import Witness
from pydamon._observe.probes.ebpf.btf import BLOCK, IDLE, MOST_ARMED, NEVER, Pace
from pydamon._observe.probes.ebpf.loader import Program
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.epochs import EpochCounts, Epochs
from pydamon._observe.probes.split_hints import NO_SPAN, split_hints

__all__ = ["Host", "SurvivalSampler"]

BLOCK_BYTES = BLOCK_PAGES * PAGE_SIZE
_TRACEPOINTS = ("local_timer_entry", "hrtimer_expire_entry")
"""The timer interrupt: on x86 its own tracepoint, elsewhere that of its timers."""
_LATE, _TICK_NS = 2, 4_000_000
"""Looks that come so many times too late are better taken from here: a machine without ticks."""
_CHECKED = 0.1
"""The part of the doubtful blocks that is checked, in regions of which blocks could be cleared."""


class Host(Protocol):
    """What a sampler needs of its session."""

    @property
    def machine(self) -> Machine:
        """The programs; others after `make_room`."""
        ...

    @property
    def lost(self) -> bool:
        """Whether a target has another address space now, or none."""
        ...

    def make_room(self, regions: int) -> None:
        """Get ready to watch so many regions."""
        ...

    def fill(
        self, rows: NDArray[Any], table: RegionTable, share: NDArray[np.float64] | float
    ) -> None:
        """Set what the programs must know of regions that are watched a *share* of the time."""
        ...

    witness: Witness | None
    """Told which pages are accessed before they are cleared."""

    def witness_copied(self) -> None:
        """Tell the witness which pages are accessed in the tables that a program copied."""
        ...

    def clear_listed(self) -> list[int]:
        """Clear the ranges that a program listed; the regions in which that was refused."""
        ...

    def can_be_cleared(self, target: int, address: int) -> bool:
        """Whether a clear has any effect on a page."""
        ...

    def note_blind(self, rows: NDArray[Any]) -> None:
        """Remember the regions in which nothing could be watched."""
        ...


class SurvivalSampler(Epochs):
    """Watches a block of pages in each region, epoch by epoch."""

    most_blocks = MOST_ARMED

    def __init__(self, host: Host) -> None:
        self._host = host
        self._after_ns: Sequence[int] = ()
        self._link: int | None = None
        self._is_late = False
        self._rng = random.Random()
        self._knows_pages = False
        self._bind(host.machine)

    @classmethod
    def possible(cls, machine: Machine) -> bool:
        """Whether the programs are there; they need `bpf_loop` (Linux 5.17)."""
        return "settle" in machine.programs

    def _bind(self, machine: Machine) -> None:
        """Use these programs, and their maps."""
        self._detach()
        maps, programs = machine.maps, machine.programs
        self._machine = machine
        self._pace = Pace.from_buffer(maps["paces"].memory)
        self._looked_ns = np.frombuffer(self._pace.looked_ns, np.uint64)
        self._blocks = maps["blocks"].array(BLOCK)
        self._settle, self._choose = programs["settle"], programs["choose"]
        self._arm, self._look = programs["arm"], programs["look_now"]
        self._count = self._epochs = 0
        self._trusted = np.zeros(0, np.bool_)
        """Whether each region's blocks could be cleared before."""
        self._look_ns = np.zeros(LOOKS)
        self._pace.due = NEVER
        self._link = _attached(programs.get("on_tick"))
        self.plan(self._after_ns)

    @property
    def paced_by_kernel(self) -> bool:
        return self._link is not None and not self._is_late

    @property
    def interrupt_ns(self) -> int:
        return int(self._pace.busy_ns)

    def close(self) -> None:
        """Let the interrupts go by, and forget the maps."""
        self._detach()
        vars(self).clear()

    def _detach(self) -> None:
        """Let the interrupts go by; the kernel does the same when this process ends, however."""
        if self._link is not None:
            os.close(self._link)
            self._link = None

    def plan(self, after_ns: Sequence[int]) -> None:
        assert len(after_ns) < LOOKS
        self._after_ns = after_ns
        self._pace.n_looks = len(after_ns)
        self._pace.after_ns[: len(after_ns)] = list(after_ns)

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        self._host.make_room(len(table))
        if self._host.machine is not self._machine:
            self._bind(self._host.machine)
        self._count = len(table)
        self._trusted = Survival.of_rows(table.evidence).epochs > 0
        rows = np.zeros(self._count, BLOCK)
        self._host.fill(rows, table, share)
        rows["hit"], rows["miss"] = NO_SPAN, NO_SPAN
        self._blocks[: self._count] = rows
        self._look_ns[:] = 0
        self._epochs = 0
        self._pace.n_armed = self._pace.epoch = 0

    def begin(self) -> None:
        control = self._machine.control
        control.first, control.count, control.n_ranges = 0, self._count, 0
        self._pace.n_looks = len(self._after_ns) if self.paced_by_kernel else 0
        self._choose.run()
        if control.n_ranges and self._host.witness is not None:
            self._tell(self._host.witness, control.n_ranges)
        # Accesses count from the clear on, however long this process then waits for a CPU.
        begin_ns = time.monotonic_ns()
        refused = self._host.clear_listed() if control.n_ranges else []
        self._pace.armed_ns = (begin_ns + time.monotonic_ns()) // 2
        self._give_up(refused)
        control.n_ranges = 0
        self._arm.run()
        if control.n_ranges:
            self._resolve(self._machine.pending[: control.n_ranges].tolist())

    def _tell(self, witness: Witness, count: int) -> None:
        """Tell which pages are accessed in the ranges that will be cleared."""
        blocks = self._blocks[self._machine.pending[:count]]
        witness(
            lambda: (
                order_keys(blocks["target"], blocks["addr"].astype(np.int64)),
                blocks["before"],
            )
        )
        if self._machine.control.n_copied:
            self._host.witness_copied()

    def look(self) -> None:
        self._look.run()

    def end(self) -> None:
        if not self._pace.n_armed:
            return
        self._settle.run()
        self._count_epoch()

    def _count_epoch(self) -> None:
        self._look_ns += self._looked_ns
        self._epochs += 1

    def counts(self) -> EpochCounts:
        blocks = self._blocks[: self._count]
        sums = Survival(
            blocks["pages"].astype(np.float64),
            blocks["epochs"].astype(np.float64),
            blocks["seen"].T.astype(np.float64),
            blocks["hit_epochs"].T.astype(np.float64),
        )
        unobservable = blocks["unobservable"].astype(np.float64)
        self._host.note_blind(blocks[(sums.pages == 0) & (unobservable > 0)])
        look_ns = self._look_ns / max(1, self._epochs)
        if self.paced_by_kernel and self._after_ns and self._epochs:
            # Once is enough: whatever has no ticks now will have none later.
            self._is_late = bool(look_ns[0] > _LATE * self._after_ns[0] + _TICK_NS)
        return EpochCounts(
            sums,
            look_ns,
            self._epochs,
            unobservable,
            split_hints(blocks["hit"].astype(np.int64), blocks["miss"].astype(np.int64)),
            lost=self._host.lost,
        )

    def _resolve(self, doubtful: list[int]) -> None:
        """Blocks with pages that are accessed right after the clear: touched again, or stuck?"""
        for index in doubtful:
            block = self._blocks[index]
            if (
                self._trusted[index]
                and not block["unobservable"]
                and self._rng.random() >= _CHECKED
            ):
                continue
            hot = int(block["hot"])
            page = (hot & -hot).bit_length() - 1
            address = int(block["addr"]) + page * PAGE_SIZE
            if self._host.can_be_cleared(int(block["target"]), address):
                continue
            self._trusted[index] = False
            self._know_pages()
            left = int(block["valid"]) & ~hot
            block["valid"], block["hot"] = left, 0
            if not left:
                self._give_up([index])

    def _know_pages(self) -> None:
        """From now on, let `arm` leave out pages that several processes map.

        That takes 40 ms of CPU time once, for which there must be a reason.
        """
        if not self._knows_pages:
            self._knows_pages = True
            with suppress(ProbeUnavailable):
                self._host.machine.know_pages()

    def _give_up(self, indices: list[int]) -> None:
        """The blocks of these regions cannot be watched."""
        for index in indices:
            block = self._blocks[index]
            block["state"], block["valid"] = IDLE, 0
            block["unobservable"] += 1


def _attached(program: Program | None) -> int | None:
    """The descriptor of the pacemaker; `None` where this user, or this kernel, may not have it."""
    for tracepoint in _TRACEPOINTS if program else ():
        try:
            assert program is not None
            return program.attach(tracepoint)
        except OSError:
            continue
    return None
