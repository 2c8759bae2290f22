"""Which container, systemd unit or cgroup each process belongs to."""

from __future__ import annotations

from collections.abc import Iterable

from pydamon._observe.linux.cgroups import cgroup_of
from pydamon._observe.linux.containers import Container, container_of
from pydamon._observe.linux.host import HostFiles
from pydamon._observe.linux.procfs import every_process
from pydamon._observe.targets.remembered import Remembered

__all__ = ["ContainerTable"]


_NAMES_HOLD_S = 600.0
"""Names of a container do not change; its files may only be late."""


class ContainerTable:
    """The container of each process; what was read holds for a while, so that asking is cheap."""

    def __init__(self) -> None:
        self._cgroups = Remembered(cgroup_of)
        files = HostFiles()
        self._containers = Remembered[str, Container](
            lambda path: container_of(path, files), most_s=_NAMES_HOLD_S
        )

    def of(self, pids: Iterable[int]) -> dict[int, Container]:
        """The containers of these processes, or the units or cgroups of those that have none."""
        cgroups = self._cgroups.of(pids)
        by_path = self._containers.of(set(cgroups.values()))
        return {pid: by_path[path] for pid, path in cgroups.items() if path}

    def of_all(self) -> dict[int, Container]:
        """The containers, units or cgroups of all processes."""
        return self.of(every_process())
