"""What every monitor is, whoever samples: pydamon or the kernel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from datetime import timedelta

from pydamon._model.attrs import Attrs
from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._model.snapshot import Snapshot
from pydamon._model.units import parse_duration_ns
from pydamon._observe.targets import Layout

__all__ = ["Monitor"]


class Monitor(Closing):
    """Iterate over it for a snapshot an aggregation.

    The iteration ends when the last target has exited, or after `stop`. A context manager: leaving
    it gives everything back.
    """

    engine: str
    """What takes the samples: `"sampling"` (a probe of pydamon's) or `"kernel"` (its DAMON)."""
    probe_name: str
    """What checks for accesses: the name of the probe; `"kernel"` where the kernel does."""
    passed_over: dict[str, ProbeUnavailable]
    """The engines and probes that would have been preferred, and why they do not work here."""

    @property
    @abstractmethod
    def attrs(self) -> Attrs:
        """The attributes as they are used now: with stretched or tuned intervals."""

    @property
    def caveat(self) -> str:
        """Why figures may be wrong at the moment; empty where nothing is known to be amiss."""
        return ""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """The targets, as they were at the last update."""

    @abstractmethod
    def change(self, attrs: Attrs) -> None:
        """Go on with other attributes; what was counted is carried over."""

    @abstractmethod
    def stop(self) -> None:
        """End the iteration soon; safe in a signal handler."""

    def run(self, duration: str | timedelta | None = None) -> Iterator[Snapshot]:
        """The snapshots of the next *duration*, or until the targets are gone.

        Raises `UsageError` for a duration of 0.
        """
        if duration is None:
            return iter(self)
        duration_ns = parse_duration_ns(duration)
        if duration_ns == 0:
            raise UsageError("the duration must be longer than 0")
        return self._run(duration_ns)

    def __iter__(self) -> Iterator[Snapshot]:
        return self._run(None)

    @abstractmethod
    def _run(self, duration_ns: int | None) -> Iterator[Snapshot]:
        """The snapshots of the next *duration_ns* (`None`: without end)."""
