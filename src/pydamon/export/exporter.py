"""Keeps metrics up to date, within one CPU budget, however many processes come and go."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pydamon.core.errors import TargetError
from pydamon.engine import SamplingMonitor, monitor
from pydamon.export.metrics import Metrics
from pydamon.spaces import Members

__all__ = ["Exporter"]

_LOOK_S = 0.5
_LONGEST_REST_S = 30.0


class Exporter:
    """Watches processes, or those that a function names, with one monitor for all of them.

    `run` returns when named processes are gone, and for a function only after `stop`, or when the
    time is up: it waits for processes to come. Raises what `monitor` raises.
    """

    def __init__(
        self,
        pids: Iterable[int] | Members,
        metrics: Metrics,
        *,
        probe: str = "auto",
        cpu_budget_percent: float = 1.0,
        children: bool = True,
    ) -> None:
        self.metrics = metrics
        self._pids: list[int] | Members = pids if callable(pids) else list(pids)
        self._probe = probe
        self._budget = cpu_budget_percent
        self._children = children
        self._mon: SamplingMonitor | None = None
        self._stopped = False

    def stop(self) -> None:
        """End soon; safe in a signal handler."""
        self._stopped = True
        if self._mon is not None:
            self._mon.stop()

    def run(self, duration_ns: int | None = None) -> None:
        """Watch until the end."""
        end_ns = None if duration_ns is None else time.monotonic_ns() + duration_ns
        while not self._stopped:
            begin_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
            if not callable(self._pids) or any(True for _ in self._pids()):
                try:
                    self._watch(end_ns)
                except TargetError:
                    if not callable(self._pids):
                        raise  # otherwise they were gone again before they could be watched
            self.metrics.update(None)
            if not callable(self._pids) or (end_ns and time.monotonic_ns() >= end_ns):
                return
            # Where all come and go at once, starting over is what costs: that is in the budget too.
            spent_ns = time.thread_time_ns() - cpu_ns
            rest_s = (100 * spent_ns / self._budget - (time.monotonic_ns() - begin_ns)) / 1e9
            self._rest(min(max(rest_s, _LOOK_S), _LONGEST_REST_S), end_ns)

    def _watch(self, end_ns: int | None) -> None:
        with monitor(
            self._pids,
            probe=self._probe,
            cpu_budget_percent=self._budget,
            children=self._children,
        ) as self._mon:
            for snapshot in self._mon:
                self.metrics.update(snapshot, self._mon)
                if self._stopped or (end_ns and time.monotonic_ns() >= end_ns):
                    break
        self._mon = None

    def _rest(self, seconds: float, end_ns: int | None) -> None:
        until_ns = time.monotonic_ns() + int(seconds * 1e9)
        until_ns = until_ns if end_ns is None else min(until_ns, end_ns)
        while not self._stopped and (left_ns := until_ns - time.monotonic_ns()) > 0:
            time.sleep(min(left_ns / 1e9, _LOOK_S))
