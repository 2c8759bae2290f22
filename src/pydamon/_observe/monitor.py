"""The seam of the engines: what to monitor, and what a monitor is, whoever takes the samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

from pydamon._model.attrs import Attrs
from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._model.snapshot import Snapshot, Target
from pydamon._model.units import parse_duration_ns
from pydamon._observe.linux.procfs import Rule
from pydamon._observe.options import MonitorOptions
from pydamon._observe.targets import Layout, Members, PaddrSpace, VaddrSpace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pydamon._model.regions import Ranges
    from pydamon._model.schemes import Scheme, SchemeStats
    from pydamon._observe.linux.process import Process
    from pydamon._observe.targets.selection import TargetSelection

__all__ = [
    "Engine",
    "Monitor",
    "PageControl",
    "PassedSource",
    "PhysicalMemory",
    "Processes",
    "SchemeRunner",
    "Selection",
]


@dataclass(frozen=True, slots=True)
class Processes:
    """The virtual memory of processes, named by pid or by a function that lists their pids.

    With `children`, processes that they start are monitored too. `ranges` limits monitoring to
    these bytes of a single process.
    """

    pids: tuple[int, ...] | Members
    children: bool = True
    ranges: tuple[tuple[int, int], ...] | None = None

    @classmethod
    def of(
        cls,
        pids: int | Iterable[int] | Members | TargetSelection,
        *,
        children: bool = True,
        ranges: Sequence[tuple[int, int]] | None = None,
    ) -> Self:
        """A selection that can be opened more than once, even if *pids* is an iterator."""
        if isinstance(pids, int):
            pids = (pids,)
        elif not isinstance(pids, Iterable) and not callable(pids):
            children = children and pids.children
            pids = pids.pids or pids.present_members()
        return cls(
            pids if callable(pids) else tuple(pids),
            children,
            None if ranges is None else tuple(ranges),
        )

    def open(self, rule: Rule) -> VaddrSpace:
        """Find the processes and what they map; raises `TargetError` and `UsageError`."""
        return VaddrSpace(self.pids, rule=rule, children=self.children, ranges=self.ranges)


@dataclass(frozen=True, slots=True)
class PhysicalMemory:
    """Physical memory: all, or that of some nodes.

    With a `cgroup`, only memory that is charged to it counts as touched.
    """

    nodes: tuple[int, ...] = ()
    cgroup: str | None = None

    def open(self) -> PaddrSpace:
        """Find the memory; raises `TargetError` and `UsageError`."""
        return PaddrSpace(self.nodes)


Selection: TypeAlias = Processes | PhysicalMemory


class Engine(Protocol):
    """A way to monitor: pydamon's own sampling, or the kernel's DAMON."""

    @property
    def name(self) -> str:
        """What the parameter `engine` and `--engine` call it."""
        ...

    def open(self, selection: Selection, options: MonitorOptions) -> Monitor:
        """Start to monitor.

        Raises `ProbeUnavailable` where the engine does not work here, `TargetError` for memory
        that cannot be monitored, and `UsageError` for options that it does not have.
        """
        ...


class PageControl(Protocol):
    """A monitor's access to pages and ages, which pydamon needs to apply schemes itself."""

    @property
    def scans(self) -> bool:
        """Whether the probe can look at single pages, as `young` does."""
        ...

    def young(self, process: Process, start: int, end: int) -> NDArray[np.bool_]:
        """Return for each page of a range whether it was accessed since it was last cleared.

        Raises `ProbeError` where the probe cannot look at single pages.
        """
        ...

    def idle_pages(
        self, process: Process, start: int, end: int, idle_ns: int
    ) -> NDArray[np.bool_] | None:
        """For each page of a range: whether it is in memory and has been idle for long enough.

        That is at least *idle_ns*, for certain: also not accessed since the last look. False where
        its age is not known. `None` where this monitor keeps no ages of pages.
        """
        ...

    def reset_age(self, target: Target, ranges: Ranges) -> None:
        """Count the age of these bytes from now on: a scheme has just acted on them."""
        ...

    def keep_page_maps(self, every_ns: int) -> bool:
        """Keep maps of pages in snapshots so often, unless they are kept already.

        Returns whether this monitor keeps ages of pages.
        """
        ...


class SchemeRunner(Protocol):
    """Something that applies schemes itself while it monitors."""

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """The schemes that are applied now."""
        ...

    def set_schemes(self, schemes: Iterable[Scheme]) -> None:
        """Apply these schemes, and no others, from now on.

        Raises `UsageError` for schemes that only pydamon can apply, and `ProbeUnavailable` for
        what this machine lacks; the schemes stay as they were then.
        """
        ...

    def stats(self) -> list[tuple[SchemeStats, int]]:
        """Return what each scheme did so far, and how many bytes its quota allows now.

        Empty once the targets are gone.
        """
        ...


class PassedSource(Protocol):
    """Tells how much of each region of a snapshot is of some kinds of pages."""

    def added_to(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with `passed`.

        Parameters
        ----------
        snapshot
            A snapshot of the monitor, as its engine made it.
        """
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class Monitor(Closing):
    """Yields one snapshot per aggregation.

    The iteration ends when the last target has exited, or after `stop`. A monitor is a context
    manager: leaving it closes it. Get one from `monitor`, `monitor_physical` or `simulate`.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 1 << 26, rate_hz=1000),)),))
    >>> with pydamon.simulate(trace, [(0, 1 << 28)]) as mon:
    ...     *_, snapshot = mon.run("2s")
    >>> mon.engine, mon.probe_name
    ('sampling', 'trace')
    >>> pydamon.format_size(snapshot.working_set())
    '64 MiB'
    """

    engine: str
    """What takes the samples: ``"sampling"`` (one of pydamon's probes) or ``"kernel"``."""
    probe_name: str
    """What checks for accesses: the name of the probe; ``"kernel"`` where the kernel does."""
    passed_looks: PassedSource | None = None
    """What adds `Snapshot.passed`; `None` where it was not asked for, or the engine does it."""
    fallback_reasons: dict[str, ProbeUnavailable]
    """The preferred engines and probes that do not work here, and why."""

    @property
    @abstractmethod
    def attrs(self) -> Attrs:
        """The attributes in use now, with stretched or tuned intervals."""

    @property
    def joined(self) -> str:
        """The kdamond of somebody else's that it looks on at, and its user; empty if it is ours."""
        return ""

    @property
    def caveat(self) -> str:
        """Why figures may be wrong at the moment; empty where no reason is known."""
        return ""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """The targets and their mappings, as of the last update."""

    @property
    def page_control(self) -> PageControl | None:
        """Access to pages and ages; `None` for an engine that has none."""
        return None

    @property
    def scheme_runner(self) -> SchemeRunner | None:
        """What applies schemes in pydamon's place; `None` where pydamon applies them."""
        return None

    @property
    def kdamond_cpu_ns(self) -> int:
        """CPU time of the kernel thread that monitors; 0 where there is none."""
        return 0

    @abstractmethod
    def change(self, attrs: Attrs) -> None:
        """Go on with other attributes; counts and ages are carried over.

        Parameters
        ----------
        attrs
            The attributes that take the place of the named ones.
        """

    @abstractmethod
    def stop(self) -> None:
        """End the iteration soon; safe in a signal handler."""

    def run(self, duration: str | timedelta | None = None) -> Iterator[Snapshot]:
        """Yield the snapshots of the next *duration*, or until the targets are gone.

        Parameters
        ----------
        duration
            Text such as ``"10s"``, or a `timedelta`; `None` is no end.

        Yields
        ------
        Snapshot
            One per aggregation; at least one, however short the duration is.

        Raises
        ------
        UsageError
            For a duration of 0.
        """
        if duration is None:
            return iter(self)
        duration_ns = parse_duration_ns(duration)
        if duration_ns == 0:
            raise UsageError("the duration must be longer than 0")
        return self._completed(self._run(duration_ns))

    def __iter__(self) -> Iterator[Snapshot]:
        return self._completed(self._run(None))

    def _completed(self, snapshots: Iterator[Snapshot]) -> Iterator[Snapshot]:
        """The snapshots with what looks at pages tell of them."""
        looks = self.passed_looks
        return snapshots if looks is None else map(looks.added_to, snapshots)

    @abstractmethod
    def _run(self, duration_ns: int | None) -> Iterator[Snapshot]:
        """Yield the snapshots of the next *duration_ns* (`None`: without end)."""
