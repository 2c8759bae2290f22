"""What is monitored, how much memory it has, and what a look at it costs."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydamon._model.mappings import MappingTable

__all__ = ["Cost", "Footprint", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A monitored address space.

    Parameters
    ----------
    pid
        The process; 0 where there is none, as in a simulation.
    name
        The command name of the process.
    mappings
        What the process maps.
    started_ns
        When the process started (Unix time), which tells it from others with the same pid; 0 where
        that is not known.
    host
        The machine, where there are several.
    container
        The container, systemd unit or cgroup of the process (see `Container.label`); empty where
        that is not known.

    Examples
    --------
    >>> from pydamon import Target
    >>> Target(7, "app") == Target(7, "app")
    True
    """

    pid: int
    name: str = ""
    mappings: MappingTable = field(default_factory=MappingTable, compare=False, repr=False)
    started_ns: int = 0
    host: str = ""
    container: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[str, int, int, str]:
        """What identifies the target even if its name changes: host, pid and start.

        Where the start is not known, only the name can tell two processes with one pid apart.
        """
        return self.host, self.pid, self.started_ns, "" if self.started_ns else self.name


@dataclass(frozen=True, slots=True)
class Cost:
    """What one aggregation cost.

    Parameters
    ----------
    cpu_ns
        CPU time of the monitor.
    interruption_ns
        An upper estimate of the time that the threads of the targets lost to the monitor.
    late_ticks
        How many samples could not be taken in time.
    """

    cpu_ns: int = 0
    interruption_ns: int = 0
    late_ticks: int = 0


@dataclass(frozen=True, slots=True)
class Footprint:
    """How much a process has mapped (VSZ), and how much of that is in memory (RSS).

    Both are 0 where they are not known.
    """

    vsz_bytes: int = 0
    rss_bytes: int = 0
