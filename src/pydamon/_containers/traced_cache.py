"""The page cache that containers read, by the tracing of reads."""

from __future__ import annotations

from pydamon._containers.cache import CacheUse
from pydamon._observe.cache import CacheMonitor
from pydamon._observe.linux.containers import Container

__all__ = ["TracedCache"]


class TracedCache:
    """A `CacheSource` that asks a `CacheMonitor`.

    Parameters
    ----------
    monitor
        It must be open while containers are watched. Where it does not trace reads, nothing is
        known.

    Examples
    --------
    >>> from pydamon.cache import CacheMonitor
    >>> from pydamon.containers import ContainerWatch, TracedCache
    >>> with CacheMonitor("kernel") as monitor:
    ...     ContainerWatch(TracedCache(monitor)).result()
    []
    """

    def __init__(self, monitor: CacheMonitor) -> None:
        self._monitor = monitor

    def used_within(self, container: Container, within_ns: int) -> CacheUse | None:
        """The page cache that a container read within a time.

        Parameters
        ----------
        container
            The container, with its cgroup.
        within_ns
            The time before now.

        Returns
        -------
        CacheUse or None
            An estimate; `None` where reads are not traced.
        """
        used = self._monitor.used_within(container.cgroup, within_ns)
        return None if used is None else CacheUse(used, "reads, by BPF")
