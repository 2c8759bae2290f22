"""Who owns the memory of live targets, as of the newest look at their pages."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pydamon._data import analysis
from pydamon._data.analysis import OwnerReport
from pydamon._data.recording import Recording
from pydamon._model.closing import Closing
from pydamon._model.errors import PydamonError
from pydamon._model.owners import Owners
from pydamon._model.snapshot import Snapshot
from pydamon._observe.monitor import Monitor
from pydamon._owners.watching import OwnersPoller, OwnerWatch
from pydamon._show.frames.frame import IDLE_NS, Key

__all__ = ["LiveOwners", "reports_by_target"]

_ALWAYS = "proc"
"""The provider that asks nothing of a program."""
_MAPS_EVERY_NS = 10 * 10**9
_TICK_S = 0.5
_MOST_TARGETS = 16
_MOST_OF_TIME = 0.01
"""Reports that take long are rarer, so that they take this part of the time at most."""


class LiveOwners(Closing):
    """Asks providers who owns the memory that a monitor watches, in threads of its own.

    Parameters
    ----------
    mon
        The monitor, which keeps maps of its pages from now on, if it can.
    choices
        Providers to ask besides `proc`: `NAME` or `NAME=ARGUMENT`.
    waits
        Whether the processes are only about to begin.

    Raises
    ------
    UsageError
        If there is no such provider, or a package that it needs is missing.
    TargetError
        If a provider cannot ask these processes.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> from pydamon.live import Feed
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon, LiveOwners(mon) as owners:
    ...     with Feed(mon, "5s", owners):
    ...         owners.report is None  # a simulated program has no process to ask about
    True
    """

    def __init__(self, mon: Monitor, choices: Sequence[str] = (), *, waits: bool = False) -> None:
        control = mon.page_control
        self._has_maps = control is not None and control.keep_page_maps(_MAPS_EVERY_NS)
        self._told: dict[str, list[Owners]] = {}
        self._snapshot: Snapshot | None = None
        self._report: OwnerReport | None = None
        self._by_target: Mapping[Key, OwnerReport] = {}
        self._ends = threading.Event()
        chosen = [choice for choice in choices if choice != _ALWAYS]

        def pids() -> list[int]:
            return [target.pid for target in mon.layout.targets if target.pid]

        self._poller = OwnersPoller([_ALWAYS, *chosen], pids, self._take, waits)
        self._poller.__enter__()
        self._thread = threading.Thread(target=self._run, name="live-owners", daemon=True)
        self._thread.start()

    @property
    def report(self) -> OwnerReport | None:
        """The owners as of the newest look; `None` as long as nothing is known."""
        return self._report

    @property
    def by_target(self) -> Mapping[Key, OwnerReport]:
        """The owners of single targets' memory, by the targets' keys: of the largest targets."""
        return self._by_target

    def see(self, snapshot: Snapshot) -> None:
        """Take the next snapshot of the monitor."""
        if any(snapshot.page_maps) or not self._has_maps:
            self._snapshot = snapshot

    def close(self) -> None:
        """Ask no more."""
        self._ends.set()
        self._thread.join()
        self._poller.__exit__(None, None, None)

    def _take(self, name: str, watch: OwnerWatch) -> None:
        watch.forget(time.time_ns() - 2 * _MAPS_EVERY_NS)
        self._told[name] = watch.owners()

    def _run(self) -> None:
        seen, due_s = None, 0.0
        while not self._ends.wait(_TICK_S):
            snapshot, now_s = self._snapshot, time.monotonic()
            if snapshot is None or snapshot is seen or now_s < due_s or not self._told:
                continue
            is_first, seen = seen is None, snapshot
            began_ns = time.thread_time_ns()
            self._renew(snapshot)
            took_s = (time.thread_time_ns() - began_ns) / 1e9
            # The first report imports what later ones have.
            due_s = 0.0 if is_first else now_s + took_s / _MOST_OF_TIME

    def _renew(self, snapshot: Snapshot) -> None:
        told = [owners for spaces in list(self._told.values()) for owners in spaces]
        recording, spaces = Recording.from_snapshots([snapshot]), Owners.by_space(told)
        try:
            report = analysis.owners(recording, spaces, idle_ns=IDLE_NS)
        except PydamonError:  # its processes have just ended, or are not known to a provider yet
            return
        self._by_target = reports_by_target(recording, spaces, report)
        self._report = replace(report, notes=(*report.notes, *self._poller.failures))


def reports_by_target(
    recording: Recording, spaces: Sequence[Owners], total: OwnerReport
) -> dict[Key, OwnerReport]:
    """The owners of each target's memory, of those that have most; *total* is that of them all.

    Memory that targets share counts in each of them.
    """
    targets = recording.targets
    if len(targets) == 1:
        return {targets[0].key: total}
    size = recording.column("end") - recording.column("start")
    of_row = np.repeat(recording.target_indices, np.diff(recording.target_offsets))
    sizes = np.bincount(of_row, size, len(targets))
    reports = {}
    for place in np.argsort(-sizes)[:_MOST_TARGETS].tolist():
        try:
            part = recording.of_target(targets[place])
            reports[targets[place].key] = analysis.owners(part, spaces, idle_ns=total.idle_ns)
        except PydamonError:  # no provider tells of it
            continue
    return reports
