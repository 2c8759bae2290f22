"""Made-up access patterns: what a simulated workload does, phase by phase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import UsageError
from pydamon._model.ranges import PAGE_SIZE

__all__ = ["Access", "Phase", "Trace"]


@dataclass(frozen=True, slots=True)
class Access:
    """Memory of one target that is accessed at random.

    Parameters
    ----------
    start, end
        The addresses in bytes, half open.
    rate_hz
        How often each page is accessed in a second, on average.
    stride
        Only the first page of every so many bytes is accessed.
    target
        The number of the target.

    Raises
    ------
    UsageError
        If a value makes no sense.

    Examples
    --------
    >>> from pydamon import Access
    >>> Access(0, 64 << 20, rate_hz=1000).target
    0
    """

    start: int
    end: int
    rate_hz: float = 1e6
    stride: int = PAGE_SIZE
    target: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end or self.rate_hz < 0 or self.stride < PAGE_SIZE:
            raise UsageError(f"not an access pattern: {self}")


@dataclass(frozen=True, slots=True)
class Phase:
    """The accesses during a time; where they overlap, their rates add up.

    Parameters
    ----------
    duration_ns
        How long the phase lasts.
    accesses
        The memory that is accessed.

    Examples
    --------
    >>> from pydamon import Access, Phase
    >>> len(Phase(10**9, (Access(0, 4096),)).accesses)
    1
    """

    duration_ns: int
    accesses: tuple[Access, ...] = ()

    def rate_hz(self, target: NDArray[np.int32], page: NDArray[np.int64]) -> NDArray[np.float64]:
        """How often the page at each address is accessed in a second."""
        rate = np.zeros(len(page))
        for access in self.accesses:
            inside = (page >= access.start) & (page < access.end) & (target == access.target)
            inside &= (page - access.start) % access.stride < PAGE_SIZE
            rate[inside] += access.rate_hz
        return rate


@dataclass(frozen=True, slots=True)
class Trace:
    """Phases, one after the other.

    Parameters
    ----------
    phases
        The phases; the last one never ends, unless the trace repeats.
    repeats
        Whether the first phase follows the last one.

    Raises
    ------
    UsageError
        If there is no phase, or one of length 0.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> busy, idle = Phase(10**9, (Access(0, 8 << 20),)), Phase(10**9)
    >>> mon = pydamon.simulate(Trace((busy, idle), repeats=True), [(0, 16 << 20)])
    >>> {pydamon.format_size(s.working_set()) for s in mon.run("4s")} >= {"8 MiB", "0 B"}
    True
    """

    phases: tuple[Phase, ...]
    repeats: bool = False

    def __post_init__(self) -> None:
        if not self.phases or any(phase.duration_ns <= 0 for phase in self.phases):
            raise UsageError("a trace is made of phases, each longer than 0")

    def touches(
        self,
        target: NDArray[np.int32],
        page: NDArray[np.int64],
        since_ns: NDArray[np.float64],
        now_ns: int,
    ) -> NDArray[np.float64]:
        """How often, on average, the page at each address is accessed between two times."""
        touches = np.zeros(len(page))
        length_ns = sum(phase.duration_ns for phase in self.phases)
        begin_ns = 0
        for phase in self.phases:
            until_ns = begin_ns + phase.duration_ns
            if phase is self.phases[-1] and not self.repeats:
                until_ns = max(until_ns, now_ns)

            def passed_ns(
                at_ns: NDArray[np.float64] | float, begin: int = begin_ns, until: int = until_ns
            ) -> NDArray[np.float64]:
                """How much of the phase had passed at a time."""
                turns, within = divmod(at_ns, length_ns) if self.repeats else (0, at_ns)
                return turns * (until - begin) + np.clip(within - begin, 0, until - begin)

            if phase.accesses:
                lasted_ns = passed_ns(float(now_ns)) - passed_ns(since_ns)
                touches += phase.rate_hz(target, page) * lasted_ns / 1e9
            begin_ns += phase.duration_ns
        return touches
