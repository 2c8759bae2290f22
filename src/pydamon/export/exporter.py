"""Keeps metrics up to date, within one CPU budget, however many processes come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from pydamon.core.errors import ProbeUnavailable, TargetError, UsageError
from pydamon.core.names import printable
from pydamon.engine import Monitor, throttled_restarts
from pydamon.engine.open import check_budget
from pydamon.export.metrics import Metrics
from pydamon.spaces import Members
from pydamon.spaces.once import say_once
from pydamon.start import monitor

__all__ = ["Exporter"]


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
        engine: str = "sampling",
        probe: str = "auto",
        cpu_budget_percent: float = 1.0,
        children: bool = True,
    ) -> None:
        check_budget(cpu_budget_percent)
        self.metrics = metrics
        self._pids: list[int] | Members = pids if callable(pids) else list(pids)
        self._engine = engine
        self._probe = probe
        self._budget = cpu_budget_percent
        self._children = children
        self._mon: Monitor | None = None
        self._stopped = False

    def stop(self) -> None:
        """End soon; safe in a signal handler."""
        self._stopped = True
        if self._mon is not None:
            self._mon.stop()

    def run(self, duration_ns: int | None = None) -> None:
        """Watch until the end."""
        end_ns = None if duration_ns is None else time.monotonic_ns() + duration_ns

        def is_over() -> bool:
            return self._stopped or (end_ns is not None and time.monotonic_ns() >= end_ns)

        for _ in throttled_restarts(lambda: self._budget, is_over):
            if not callable(self._pids) or any(True for _ in self._pids()):
                try:
                    self._watch(is_over)
                except (UsageError, ProbeUnavailable):
                    raise
                except TargetError:
                    if not callable(self._pids):
                        raise  # otherwise they were gone again before they could be watched
                except Exception as error:
                    # Whoever watches many goes on with the others, whatever one of them has done.
                    if not callable(self._pids):
                        raise
                    text = f"watching starts again: {type(error).__name__}: {error}"
                    say_once(text, printable(text))
            self.metrics.update(None)
            if not callable(self._pids):
                return

    def _watch(self, is_over: Callable[[], bool]) -> None:
        with monitor(
            self._pids,
            engine=self._engine,
            probe=self._probe,
            cpu_budget_percent=self._budget,
            children=self._children,
        ) as self._mon:
            for snapshot in self._mon:
                self.metrics.update(snapshot, self._mon)
                if is_over():
                    break
        self._mon = None
