"""Schemes at work on a monitor, whoever acts: pydamon, or the kernel that monitors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from pydamon._model.closing import Closing
from pydamon._model.display import Displayable
from pydamon._model.schemes import Scheme, SchemeStats
from pydamon._model.snapshot import Snapshot
from pydamon._observe.monitor import Monitor

__all__ = ["Applied", "AppliedScheme", "Tried"]


@dataclass(frozen=True, slots=True)
class Tried:
    """A part of a target that a scheme was applied to.

    `tried_bytes` of it were tried: all of it, or its idle pages where the grain is a page.
    `applied_bytes` is how many bytes the action was done to.
    """

    target: int
    start: int
    end: int
    applied_bytes: int
    tried_bytes: int


class AppliedScheme(Protocol):
    """A scheme at work: its statistics and its state. `Applied` has one for each scheme.

    It is a result: terminals and notebooks show it.
    """

    def __rich__(self) -> Any: ...

    @property
    def scheme(self) -> Scheme:
        """The scheme as it was given to `apply`."""
        ...

    @property
    def stats(self) -> SchemeStats:
        """What it did so far; in a dry run, what it would have done by now."""
        ...

    @property
    def effective_bytes(self) -> int | None:
        """What its quota allows in this reset interval; `None` is no limit."""
        ...

    @property
    def state(self) -> str:
        """Whether it is on, for people; if not, why."""
        ...

    @property
    def grain(self) -> str:
        """What it acts on: `"region"`, or `"page"` where the monitor keeps ages of pages."""
        ...

    @property
    def tried(self) -> Sequence[Tried]:
        """What it was applied to the last time; empty where the kernel acts."""
        ...

    @property
    def done(self) -> bool:
        """Whether it has been applied to as many snapshots as `Scheme.max_snapshots` says."""
        ...


class Applied(Closing, Displayable):
    """Iterates over a monitor's snapshots, to each of which the schemes have been applied.

    `apply` makes it. The iteration ends with the monitor's, or when all schemes are done. It is a
    context manager: leaving it ends the schemes, and the monitor goes on.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Scheme, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 1 << 26, rate_hz=1000),)),))
    >>> mon = pydamon.simulate(trace, [(0, 1 << 28)])
    >>> with pydamon.apply(mon, Scheme("stat")) as applied:
    ...     snapshots = list(applied.run("1s"))
    >>> len(applied), applied[0].state, applied[0].stats.nr_snapshots == len(snapshots)
    (1, 'on', True)
    """

    schemes: Sequence[AppliedScheme]
    """The schemes with their statistics, in the order in which they are applied."""

    def __init__(self, mon: Monitor, *, dry_run: bool) -> None:
        self._mon = mon
        self.dry_run = dry_run
        """Whether it only counts what would be done."""

    def __getitem__(self, index: int) -> AppliedScheme:
        return self.schemes[index]

    def __len__(self) -> int:
        return len(self.schemes)

    def __iter__(self) -> Iterator[Snapshot]:
        return self.run()

    @property
    def done(self) -> bool:
        """Whether there are schemes, and all of them are done."""
        return bool(self.schemes) and all(scheme.done for scheme in self.schemes)

    def run(self, duration: str | timedelta | None = None) -> Iterator[Snapshot]:
        """Yield the snapshots of the next *duration*, with the schemes applied to each.

        Parameters
        ----------
        duration
            As for `Monitor.run`.

        Yields
        ------
        Snapshot
            One per aggregation, until the targets are gone or all schemes are done.
        """
        for snapshot in self._mon.run(duration):
            self.act_on(snapshot)
            yield snapshot
            if self.done:
                return
        self.refresh()

    @abstractmethod
    def act_on(self, snapshot: Snapshot) -> None:
        """Apply the schemes to a snapshot of the monitor, for those who iterate themselves."""

    def complaints(self) -> list[str]:
        """Return the processes that are left alone since the last call, and why, for people."""
        return []

    def refresh(self) -> None:
        """Bring the statistics up to date, where somebody else acts."""
