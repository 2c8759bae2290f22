"""Survival sampling with the BPF programs: blocks of pages, cleared once an epoch.

The looks between two clears happen at timer interrupts, in the kernel, so that this process wakes
up once an epoch; where no tracepoint may be used, it wakes up for every look.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pydamon._model.regions import PAGE_SIZE
from pydamon._model.survival import Survival
from pydamon._observe.probes.ebpf.btf import BLOCK, IDLE, LOOKS, MOST_ARMED, NEVER, Pace
from pydamon._observe.probes.ebpf.loader import Program
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.split_hints import NO_SPAN, split_hints

__all__ = ["SurvivalSampler"]

_TRACEPOINTS = ("local_timer_entry", "hrtimer_expire_entry")
"""The timer interrupt: on x86 its own tracepoint, elsewhere that of its timers."""
_LATE = 2
"""Looks that come so many times too late are better taken from here: a machine without ticks."""


class SurvivalSampler:
    """Watches a block of pages in each region, epoch by epoch.

    *clear* clears what the programs list in `ranges`, and *can_be_cleared* says of a page of a
    target whether a clear has any effect on it.
    """

    most_blocks = MOST_ARMED
    """Blocks of one epoch."""

    def __init__(
        self,
        machine: Machine,
        clear: Callable[[int], None],
        can_be_cleared: Callable[[int, int], bool],
    ) -> None:
        maps, programs = machine.maps, machine.programs
        self._machine = machine
        self._clear = clear
        self._can_be_cleared = can_be_cleared
        self._pace = Pace.from_buffer(maps["paces"].memory)
        self._blocks = maps["blocks"].array(BLOCK)
        self._count = 0
        self._settle, self._choose = programs["settle"], programs["choose"]
        self._arm, self._look = programs["arm"], programs["look_now"]
        self._look_ns = np.zeros(LOOKS)
        self._epochs = 0
        self._pace.due = NEVER
        self._link = _attached(programs.get("on_tick"))

    @property
    def paced_by_kernel(self) -> bool:
        """Whether the kernel takes the looks between two clears."""
        return self._link is not None

    @property
    def interrupt_ns(self) -> int:
        """Time that looks took in interrupts so far, on whatever CPU."""
        return int(self._pace.busy_ns)

    def close(self) -> None:
        """Let the interrupts go by; the kernel does the same when this process ends, however."""
        if self._link is not None:
            os.close(self._link)
            self._link = None

    def plan(self, after_ns: Sequence[int]) -> None:
        """Look so long after each clear, and at the end of the epoch."""
        assert len(after_ns) < LOOKS
        self._pace.n_looks = len(after_ns)
        self._pace.after_ns[: len(after_ns)] = list(after_ns)

    def watch(self, rows: NDArray[np.void]) -> None:
        """Begin with these regions: rows of `BLOCK`, of which only what is to be said is set."""
        self._count = len(rows)
        rows["hit"], rows["miss"] = NO_SPAN, NO_SPAN
        self._blocks[: len(rows)] = rows
        self._look_ns[:] = 0
        self._epochs = 0
        self._pace.n_armed = self._pace.epoch = 0

    def end_epoch(self) -> None:
        """Take the last look at what is armed."""
        if not self._pace.n_armed:
            return
        self._settle.run()
        self._look_ns += self._pace.looked_ns
        self._epochs += 1

    def begin_epoch(self) -> None:
        """Choose new blocks, clear them, and let the looks begin."""
        control = self._machine.control
        control.first, control.count, control.n_ranges = 0, self._count, 0
        self._choose.run()
        if control.n_ranges:
            self._clear(control.n_ranges)
        control.n_ranges = 0
        self._arm.run()
        if control.n_ranges:
            self._resolve(self._machine.pending[: control.n_ranges].tolist())

    def look(self) -> None:
        """Take a look now, where the kernel does not."""
        self._look.run()

    def _resolve(self, doubtful: list[int]) -> None:
        """Blocks with pages that are accessed right after the clear: touched again, or stuck?"""
        for index in doubtful:
            block = self._blocks[index]
            hot = int(block["hot"])
            page = (hot & -hot).bit_length() - 1
            if self._can_be_cleared(int(block["target"]), int(block["addr"]) + page * PAGE_SIZE):
                continue
            left = int(block["valid"]) & ~hot
            block["valid"], block["hot"] = left, 0
            if not left:
                block["state"] = IDLE
                block["unobservable"] += 1

    def sums(self) -> tuple[Survival, NDArray[np.float64]]:
        """What was seen since `watch`, and when the looks came on average (ns)."""
        blocks = self._blocks[: self._count]
        sums = Survival(
            blocks["pages"].astype(np.float64),
            blocks["epochs"].astype(np.float64),
            blocks["seen"].T.astype(np.float64),
            blocks["hit_epochs"].T.astype(np.float64),
        )
        return sums, self._look_ns / max(1, self._epochs)

    @property
    def unobservable(self) -> NDArray[np.float64]:
        """How often nothing of a block could be cleared, for each region."""
        return self._blocks["unobservable"][: self._count].astype(np.float64)

    def split_hints(self) -> NDArray[np.int64]:
        """Where accessed and idle blocks of a region part, or 0."""
        blocks = self._blocks[: self._count]
        return split_hints(blocks["hit"].astype(np.int64), blocks["miss"].astype(np.int64))


def _attached(program: Program | None) -> int | None:
    """The descriptor of the pacemaker; `None` where this user, or this kernel, may not have it."""
    for tracepoint in _TRACEPOINTS if program else ():
        try:
            assert program is not None
            return program.attach(tracepoint)
        except OSError:
            continue
    return None
