"""A session whose programs the daemon runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError
from pydamon._model.mappings import MappingTable
from pydamon._model.regions import RegionTable
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.process import Process, refusal
from pydamon._observe.probes.daemon.client import DaemonClock
from pydamon._observe.probes.daemon.machine import DaemonMachine
from pydamon._observe.probes.ebpf.session import EbpfSession
from pydamon._observe.probes.ebpf.survival import SurvivalSampler
from pydamon._observe.probes.epochs import EpochCounts
from pydamon._observe.probes.scanning import frames_in_pagemaps

__all__ = ["DaemonSession"]


class DaemonSession(EbpfSession):
    """A session of the `daemon` probe; see `pydamon._observe.probes.Session`."""

    def __init__(self) -> None:
        self._daemon_clock = DaemonClock()
        super().__init__()
        self.clock = self._daemon_clock

    @property
    def daemon_machine(self) -> DaemonMachine:
        """The machine, by its own type."""
        assert isinstance(self._machine, DaemonMachine)
        return self._machine

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        most = len(self._machine.targets)
        if len(processes) > most:
            raise ProbeError(
                f"the daemon watches at most {most} processes at once",
                hint="name fewer processes, or run as root",
            )
        super().set_targets(processes, mappings)

    def make_room(self, regions: int) -> None:
        super().make_room(regions)
        if regions > len(self._machine.entries):
            raise ProbeError(
                f"the daemon watches at most {len(self._machine.entries)} regions at once",
                hint="set --max-regions lower",
            )

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        raise ProbeError("the daemon has no plain sampling")

    def shared_frames(self, stretches: Stretches) -> NDArray[np.uint32]:
        return frames_in_pagemaps(self._pages, stretches)  # the daemon gives no frames away

    def _new_sampler(self) -> SurvivalSampler:
        return _DaemonSampler(self)

    def _load(self, entries: int, targets: int) -> DaemonMachine:
        return DaemonMachine(entries, targets, self._daemon_clock)

    def _find_address_spaces(
        self, processes: Sequence[Process]
    ) -> list[tuple[Process, OSError | int]]:
        refused: list[tuple[Process, OSError | int]] = []
        for index, process in enumerate(processes):
            known = index < len(self._processes) and self._processes[index] is process
            if not known or self._machine.targets[index]["gone"]:
                refused.append((process, self.daemon_machine.watch(index, process) or 0))
        return refused

    def _find_lost(self) -> None:
        lost = np.flatnonzero(self._machine.targets["gone"][: len(self._processes)])
        for index in lost.tolist():
            process = self._processes[index]
            if not process.alive:
                continue
            error = self.daemon_machine.watch(index, process)
            if error and not process.ends:
                self._give_up(process, refusal(f"cannot watch pid {process.pid}", error))


class _DaemonSampler(SurvivalSampler):
    """Survival sampling: the daemon chooses, clears and arms blocks in one request."""

    def __init__(self, host: DaemonSession) -> None:
        self._session = host
        self._is_first = True
        self._armed = 0
        """How many blocks the epoch under way has."""
        self._changed: list[int] = []
        """Blocks about which something was found out since the epoch began."""
        super().__init__(host)

    @property
    def paced_by_kernel(self) -> bool:
        return self._session.daemon_machine.is_paced and not self._is_late

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        self._session.daemon_machine.settle()
        super().watch(table, share)
        self._is_first = True
        self._armed = 0

    def begin(self) -> None:
        host, machine = self._session, self._session.daemon_machine
        after_ns = list(self._after_ns) if self.paced_by_kernel else []
        witness = host.witness
        began = machine.begin(
            self._count, after_ns, first=self._is_first, copies=witness is not None
        )
        self._is_first, self._armed = False, began.armed
        host.interruption_ns += began.clear_ns
        if began.listed and witness is not None:
            self._tell(witness, began.listed)
        refused = began.refused.tolist()
        self._give_up(refused)
        doubtful = [index for index in began.doubtful.tolist() if index not in refused]
        self._resolve(doubtful)
        self._changed = refused + doubtful

    def end(self) -> None:
        if self._armed:
            self._session.daemon_machine.end(self._count, self._changed, self._count_epoch)
            self._armed = 0

    def counts(self) -> EpochCounts:
        self._session.daemon_machine.settle()
        return super().counts()
