"""Apply schemes to what a monitor sees: by pydamon, or by the kernel that monitors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from pydamon._act.applied import Applied, Tried
from pydamon._act.memory import Refusal, TargetMemory
from pydamon._act.runtime.acting import PageLooks
from pydamon._act.runtime.candidates import check
from pydamon._act.runtime.pipeline import SchemePipeline
from pydamon._model.display import Displayable
from pydamon._model.errors import ProbeError, SchemeError
from pydamon._model.schemes import Scheme, SchemeStats, Watermarks
from pydamon._model.snapshot import Snapshot
from pydamon._observe.monitor import Monitor, PageControl, SchemeRunner

__all__ = ["AppliedSchemes", "KernelScheme", "KernelSchemes", "apply", "counting"]


def apply(mon: Monitor, *schemes: Scheme, dry_run: bool = False) -> Applied:
    """Apply schemes to what a monitor sees.

    A monitor that runs schemes itself (the kernel's) applies them itself; it heeds no guard and
    calls no Python functions. For all other monitors pydamon acts, and verifies the effect.

    Parameters
    ----------
    mon
        The monitor. It must not be iterated over while `Applied` is.
    *schemes
        What to do, in this order.
    dry_run
        Count what would be done, whatever the watermarks say, and do nothing.

    Returns
    -------
    Applied
        Iterate over it for the snapshots; index it for the state of each scheme.

    Raises
    ------
    SchemeError
        For what this machine, or this user, cannot do to these targets.
    ProbeUnavailable
        For what the kernel's DAMON lacks.

    Examples
    --------
    Page out what was idle for a minute:

    ```python
    scheme = Scheme("pageout", AccessPattern(max_rate=0, min_age="1min"))
    with pydamon.monitor(pid) as mon, pydamon.apply(mon, scheme) as applied:
        for snapshot in applied.run("10min"):
            print(applied[0].stats)
    ```

    Call a function with each hot region:

    >>> import pydamon
    >>> from pydamon import Access, AccessPattern, Phase, Scheme, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 1 << 26, rate_hz=1000),)),))
    >>> mon = pydamon.simulate(trace, [(0, 1 << 28)])
    >>> hot = []
    >>> scheme = Scheme(hot.append, AccessPattern(min_rate="50%", min_age=3))
    >>> with pydamon.apply(mon, scheme) as applied:
    ...     *_, snapshot = applied.run("2s")
    >>> pydamon.format_size(max(region.end for region in hot))
    '64 MiB'
    """
    runner = mon.scheme_runner
    # The kernel counts address space, but a dry run is about resident memory.
    if runner is not None and not (dry_run and mon.layout.processes):
        return KernelSchemes(mon, runner, schemes, dry_run=dry_run)
    if not (dry_run or mon.page_control is not None):
        raise SchemeError(
            "schemes are applied by pydamon only to what it samples itself",
            hint='use monitor(..., engine="sampling")',
        )
    return AppliedSchemes(mon, schemes, dry_run=dry_run)


class AppliedSchemes(Applied):
    """Iterate over a monitor's snapshots, to each of which the schemes have been applied.

    `pydamon.apply` makes it. It ends when the monitor does, or when all schemes are done. It has
    the length of the schemes, and `applied[0]` is the first `AppliedScheme`.

    Parameters
    ----------
    mon
        The monitor.
    schemes
        The schemes, in the order in which they are applied.
    dry_run
        Only count what would be done.

    Raises
    ------
    SchemeError
        For what this machine, or this user, cannot do to these targets.

    Attributes
    ----------
    schemes : tuple of AppliedScheme
        The schemes with their state.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, AccessPattern, Phase, Scheme, Trace
    >>> MIB = 1 << 20
    >>> trace = Trace((Phase(10**9, (Access(0, 16 * MIB, rate_hz=1000),)),))
    >>> idle = Scheme("stat", AccessPattern(max_rate=0, min_age="1s"))
    >>> mon = pydamon.simulate(trace, [(0, 64 * MIB)], seed=1)
    >>> with mon, pydamon.apply(mon, idle, dry_run=True) as applied:
    ...     for snapshot in applied.run("3s"):
    ...         pass
    >>> round(applied[0].stats.sz_applied / MIB)
    48
    """

    def __init__(self, mon: Monitor, schemes: Sequence[Scheme], *, dry_run: bool = False) -> None:
        super().__init__(mon, dry_run=dry_run)
        self._pages = mon.page_control
        """The monitor, if it can look at single pages and change ages."""
        self._memories: dict[int, TargetMemory] = {}
        for scheme in schemes:
            check(scheme.filters, scans=self._pages is not None and self._pages.scans)
        self.schemes: tuple[SchemePipeline, ...] = tuple(
            SchemePipeline(scheme, dry_run=dry_run) for scheme in schemes
        )
        self._follow_targets()
        self._refuse_useless()

    def act_on(self, snapshot: Snapshot) -> None:
        """Apply the schemes to a snapshot of the monitor."""
        self._follow_targets()
        looks = PageLooks(self._young, self._idle)
        for scheme in self.schemes:
            tried = scheme.apply(snapshot, self._memories, looks)
            if scheme.resets_age and self._pages is not None:
                _reset_ages(self._pages, snapshot, tried)

    def complaints(self) -> list[str]:
        """Processes that are left alone since the last call, and why: a line each, for people."""
        complaints = [text for scheme in self.schemes for text in scheme.complaints]
        for scheme in self.schemes:
            scheme.complaints.clear()
        return complaints

    def close(self) -> None:
        """Close the files of the targets; the monitor stays open."""
        for memory in self._memories.values():
            memory.close()
        self._memories.clear()

    def _follow_targets(self) -> None:
        """Follow the targets as they come and go, and their mappings."""
        layout = self._mon.layout
        processes = {process.pid: process for process in layout.processes}
        for pid, memory in list(self._memories.items()):
            if processes.get(pid) is not memory.process:
                memory.close()
                del self._memories[pid]
        for process, mappings in zip(layout.processes, layout.mappings, strict=False):
            if process.pid in self._memories:
                self._memories[process.pid].update(mappings)
            else:
                self._memories[process.pid] = TargetMemory(process, mappings)

    def _refuse_useless(self) -> None:
        """Raise `SchemeError` at once for a scheme that can be applied to none of the targets."""
        for scheme in self.schemes:
            refusals: dict[int, Refusal] = {}
            for pid, memory in self._memories.items():
                refusal = scheme.refusal(memory)
                if refusal is not None and not refusal.gone:
                    refusals[pid] = refusal
            if refusals and len(refusals) == len(self._memories):
                (pid, refusal), more = next(iter(refusals.items())), len(refusals) - 1
                processes = f"pid {pid}" + (f" and {more} more" if more else "")
                raise SchemeError(
                    f"cannot apply {scheme.scheme.label} to {processes}: {refusal.why}",
                    hint=refusal.hint,
                )

    def _young(self, memory: TargetMemory, start: int, end: int) -> NDArray[np.bool_]:
        if self._pages is None or memory.process not in self._mon.layout.processes:
            raise ProbeError("its pages cannot be looked at")
        return self._pages.young(memory.process, start, end)

    def _idle(
        self, memory: TargetMemory, start: int, end: int, idle_ns: int
    ) -> NDArray[np.bool_] | None:
        if self._pages is None:
            return None
        if memory.process not in self._mon.layout.processes:
            raise ProbeError("its pages cannot be looked at")
        return self._pages.idle_pages(memory.process, start, end, idle_ns)


def _reset_ages(pages: PageControl, snapshot: Snapshot, tried: list[Tried]) -> None:
    """Make the regions that a scheme was applied to count as new."""
    parts = sorted((part.target, part.start, part.end) for part in tried)
    for target, rows in groupby(parts, key=itemgetter(0)):
        ranges = np.array([(start, end) for _, start, end in rows], np.int64)
        pages.reset_age(snapshot.targets[target], ranges)


_REFRESH_S = 1.0


@dataclass(slots=True)
class KernelScheme(Displayable):
    """A scheme in the kernel, with the kernel's statistics.

    `stats` are at most a second old, and count since the scheme was given to the kernel. `tried`
    stays empty, since the kernel does not say which regions it tried.
    """

    scheme: Scheme
    stats: SchemeStats = field(default_factory=SchemeStats)
    effective_bytes: int | None = None
    state: str = "in the kernel's hands"
    tried: tuple[Tried, ...] = ()
    grain: str = "region"

    @property
    def done(self) -> bool:
        """Whether it has been applied to as many snapshots as it should be."""
        return 0 < self.scheme.max_snapshots <= self.stats.nr_snapshots


class KernelSchemes(Applied):
    """Gives schemes to the runner of a monitor.

    With *dry_run* the action is `stat`, and no watermark keeps it off: everything is counted and
    nothing is done. The kernel heeds no guard. Closing takes the schemes away from the kernel.
    """

    def __init__(
        self,
        mon: Monitor,
        runner: SchemeRunner,
        schemes: Sequence[Scheme],
        *,
        dry_run: bool = False,
    ) -> None:
        super().__init__(mon, dry_run=dry_run)
        self._runner = runner
        self._refreshed_s = 0.0
        self._by_regions = [scheme.label for scheme in schemes if scheme.grain == "page"]
        self.schemes: tuple[KernelScheme, ...] = tuple(map(KernelScheme, schemes))
        self._given = tuple(map(counting, schemes)) if dry_run else tuple(schemes)
        runner.set_schemes(self._given)

    def act_on(self, snapshot: Snapshot) -> None:
        """Refresh the statistics once a second: the kernel acts by itself."""
        del snapshot
        if time.monotonic() - self._refreshed_s >= _REFRESH_S:
            self.refresh()

    def complaints(self) -> list[str]:
        """Schemes that act on regions though they ask for pages: a line each, once."""
        labels, self._by_regions = self._by_regions, []
        return [f"{label}: acts on regions, as the kernel's DAMON does" for label in labels]

    def refresh(self) -> None:
        """Ask the kernel for its statistics, while it has these schemes."""
        if self._runner.schemes is not self._given:
            return
        for scheme, (stats, effective_bytes) in zip(
            self.schemes, self._runner.stats(), strict=False
        ):
            scheme.stats = stats
            scheme.effective_bytes = effective_bytes if scheme.scheme.quota.limits else None
        self._refreshed_s = time.monotonic()

    def close(self) -> None:
        """Take the schemes away from the kernel, unless it has others by now; the monitor stays."""
        self.refresh()
        if self._runner.schemes is self._given:
            self._runner.set_schemes(())


def counting(scheme: Scheme) -> Scheme:
    """The same scheme, but it only counts."""
    return evolve(scheme, action="stat", target_node=None, destinations=(), watermarks=Watermarks())
