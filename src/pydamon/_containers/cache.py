"""The seam for page cache that is used without being mapped: who can tell fills it in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pydamon._observe.linux.containers import Container

__all__ = ["CacheSource", "CacheUse"]


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How much page cache a container used that none of its processes maps.

    Parameters
    ----------
    used_bytes
        How much was read or written within the time that was asked about.
    source
        Where the figure comes from.

    Examples
    --------
    >>> from pydamon.containers import CacheUse
    >>> CacheUse(50 << 20, "reads, by BPF").used_bytes >> 20
    50
    """

    used_bytes: int
    source: str


class CacheSource(Protocol):
    """Tells how much page cache a container used."""

    def used_within(self, container: Container, within_ns: int) -> CacheUse | None:
        """The page cache that was used within a time; `None` where that is not known.

        Parameters
        ----------
        container
            The container, with its cgroup.
        within_ns
            The time before now.
        """
        ...
