"""Windows: the spans of time that snapshots are of, and what passes them."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from pydamon._model.regions import RegionTable
from pydamon._observe.pace import Pacer
from pydamon._observe.probes.base import Clock, Session
from pydamon._observe.sampling.memory import CHECK_NS, MonitoredMemory

__all__ = ["CpuMeter", "Ticks", "Window", "WindowTimer"]


class Window(NamedTuple):
    """What one window saw, and what seeing it cost."""

    start_ns: int
    end_ns: int
    table: RegionTable
    """The regions with their access rates in this window; they are not aged or merged yet."""
    lost: bool
    """Whether a target has no memory, or new memory, so that an update is due."""
    ticks: int
    late_ticks: int
    sampling_cpu_ns: int
    clearing_ns: int
    """The part of the sampling that went to clears, without those of the first samples, which are
    chosen along with the work that is done once a window."""
    survey_cpu_ns: int = 0
    interrupt_ns: int = 0
    """The part of the sampling that passed in interrupts, on whatever CPU."""
    closes: bool = True
    """Whether regions change now; else the next window goes on with them."""
    has_news: bool = True
    """Whether anything was seen since the window before."""


class CpuMeter:
    """Sums up the CPU time of this thread inside its `with` blocks."""

    def __init__(self, clock: Clock) -> None:
        self.cpu_ns = 0
        self._clock = clock
        self._begin_ns = 0

    def __enter__(self) -> None:
        self._begin_ns = self._clock.cpu_ns()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cpu_ns += self._clock.cpu_ns() - self._begin_ns


class Ticks(NamedTuple):
    """How many ticks a window had, and how many came too late."""

    total: int
    late: int


class WindowTimer:
    """Lets time pass, unless the memory of the targets ends the window early."""

    def __init__(self, session: Session, memory: MonitoredMemory, pacer: Pacer) -> None:
        self._session = session
        self._memory = memory
        self._pacer = pacer

    def wait_until(self, end_ns: int, check_ns: int = CHECK_NS) -> bool:
        """Wait for a time; False if the window must end before.

        The memory of the targets is checked every *check_ns*, and more often at the start.
        """
        clock, memory = self._session.clock, self._memory
        while (now_ns := clock.now_ns()) < end_ns and not memory.stopped:
            interval_ns = memory.check_interval_ns(now_ns, check_ns)
            # Not just before the end: that is a check, too.
            next_ns = now_ns + interval_ns
            clock.wait_until(end_ns if next_ns > end_ns - interval_ns // 2 else next_ns)
            if memory.ends_window(clock.now_ns()):
                return False
        return not memory.stopped

    def tick_until(
        self, start_ns: int, length_ns: int, at_quarter: Callable[[], None] | None = None
    ) -> Ticks:
        """Sample until a window is over; *at_quarter* is called after a quarter of it."""
        clock, memory = self._session.clock, self._memory
        # As many whole intervals as come closest, so that the window ends when it should.
        sampling_ns = length_ns // max(1, round(length_ns / self._pacer.effective.sampling_ns))
        end_ns = start_ns + length_ns
        deadline_ns, checked_ns, ticks, late_ticks = start_ns, start_ns, 0, 0
        while True:
            deadline_ns += sampling_ns
            clock.wait_until(deadline_ns)
            now_ns = clock.now_ns()
            missed = (now_ns - deadline_ns) // sampling_ns
            if missed > 0:
                late_ticks += missed
                deadline_ns += missed * sampling_ns
            is_last = deadline_ns + sampling_ns // 2 > end_ns or memory.stopped
            if now_ns - checked_ns > memory.check_interval_ns(now_ns):
                checked_ns = now_ns
                is_last |= memory.ends_window(now_ns)
            if at_quarter is not None and now_ns - start_ns >= length_ns // 4:
                at_quarter()
                at_quarter = None
            ticks += 1
            self._session.tick(is_last)
            if is_last:
                return Ticks(ticks, late_ticks)
