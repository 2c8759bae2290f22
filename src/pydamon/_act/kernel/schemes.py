"""Schemes that the kernel's DAMON carries out itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from attrs import evolve

from pydamon._act.runtime import Tried
from pydamon._model.closing import Closing
from pydamon._model.display import Displayable
from pydamon._model.schemes import Scheme, SchemeStats, Watermarks
from pydamon._model.snapshot import Snapshot
from pydamon._observe.kernel.monitor import KernelMonitor

__all__ = ["KernelScheme", "KernelSchemes"]

_REFRESH_S = 1.0


@dataclass(slots=True)
class KernelScheme(Displayable):
    """A scheme in the kernel, with what that says of it.

    `stats` are at most a second old, and count since the scheme was given to the kernel. `tried`
    stays empty: the kernel does not say what it was.
    """

    scheme: Scheme
    stats: SchemeStats = field(default_factory=SchemeStats)
    effective_bytes: int | None = None
    state: str = "in the kernel's hands"
    tried: list[Tried] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether it has seen as many snapshots as it was to be applied to."""
        return 0 < self.scheme.max_snapshots <= self.stats.nr_snapshots


class KernelSchemes(Closing, Displayable):
    """Gives schemes to the kernel, and iterates over its snapshots, as `AppliedSchemes` does.

    With *dry_run* the action is `stat`, and no watermark keeps it off: everything is counted and
    nothing is done. The kernel heeds no guard. Leaving it takes the schemes away from the kernel
    again.
    """

    def __init__(
        self, mon: KernelMonitor, schemes: Sequence[Scheme], *, dry_run: bool = False
    ) -> None:
        self._mon = mon
        self.dry_run = dry_run
        """Whether the kernel only counts what it would do."""
        self._refreshed_s = 0.0
        self.schemes = tuple(map(KernelScheme, schemes))
        self._given = tuple(
            evolve(one, action="stat", target_node=None, destinations=(), watermarks=Watermarks())
            if dry_run
            else one
            for one in schemes
        )
        mon.set_schemes(self._given)

    def __getitem__(self, index: int) -> KernelScheme:
        return self.schemes[index]

    def __len__(self) -> int:
        return len(self.schemes)

    def __iter__(self) -> Iterator[Snapshot]:
        return self.run()

    def run(self, duration: str | timedelta | None = None) -> Iterator[Snapshot]:
        """The snapshots of the next *duration*, or until the targets are gone."""
        for snapshot in self._mon.run(duration):
            self.act_on(snapshot)
            yield snapshot
            if self.done:
                return
        self.refresh()

    @property
    def done(self) -> bool:
        """Whether there are schemes, and all of them have ended."""
        return bool(self.schemes) and all(scheme.done for scheme in self.schemes)

    def act_on(self, snapshot: Snapshot) -> None:
        """Note what was done until a snapshot of the monitor: the kernel acts by itself."""
        del snapshot
        if time.monotonic() - self._refreshed_s >= _REFRESH_S:
            self.refresh()

    def complaints(self) -> list[str]:
        """None: the kernel does not say what it leaves alone."""
        return []

    def refresh(self) -> None:
        """Ask the kernel for its statistics, while it has these schemes."""
        if self._mon.schemes is not self._given:
            return
        for scheme, (stats, effective_bytes) in zip(self.schemes, self._mon.stats(), strict=False):
            scheme.stats = stats
            scheme.effective_bytes = effective_bytes if scheme.scheme.quota.limits else None
        self._refreshed_s = time.monotonic()

    def close(self) -> None:
        """Take the schemes away from the kernel, unless it has others by now; the monitor stays."""
        self.refresh()
        if self._mon.schemes is self._given:
            self._mon.set_schemes(())
