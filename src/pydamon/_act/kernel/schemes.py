"""Schemes that a monitor runs itself, as the kernel's DAMON does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from attrs import evolve

from pydamon._act.applied import Applied, Tried
from pydamon._model.display import Displayable
from pydamon._model.schemes import Scheme, SchemeStats, Watermarks
from pydamon._model.snapshot import Snapshot
from pydamon._observe.monitor import Monitor, SchemeRunner

__all__ = ["KernelScheme", "KernelSchemes"]

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
        self.schemes: tuple[KernelScheme, ...] = tuple(map(KernelScheme, schemes))
        self._given = tuple(map(_counting, schemes)) if dry_run else tuple(schemes)
        runner.set_schemes(self._given)

    def act_on(self, snapshot: Snapshot) -> None:
        """Refresh the statistics once a second: the kernel acts by itself."""
        del snapshot
        if time.monotonic() - self._refreshed_s >= _REFRESH_S:
            self.refresh()

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


def _counting(scheme: Scheme) -> Scheme:
    """The same scheme, but it only counts."""
    return evolve(scheme, action="stat", target_node=None, destinations=(), watermarks=Watermarks())
