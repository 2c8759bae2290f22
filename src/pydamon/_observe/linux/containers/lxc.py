"""LXC, LXD and Incus: the cgroup has the name."""

from __future__ import annotations

from collections.abc import Mapping

from pydamon._observe.linux.containers.base import Container
from pydamon._observe.linux.host import HostFiles

__all__ = ["Lxc"]

_PREFIX = "lxc.payload"


class Lxc:
    """Containers of LXC, whose ids are names."""

    name = "lxc"

    def id_in(self, path: tuple[str, ...], files: HostFiles) -> str:
        """lxc.payload.NAME, lxc.payload/NAME, or lxc/NAME; lxc.monitor is no container."""
        if path[-1].startswith(f"{_PREFIX}."):
            return path[-1].removeprefix(f"{_PREFIX}.")
        return path[-1] if path[-2:-1] in ((_PREFIX,), ("lxc",)) else ""

    def names(self, container: Container, files: HostFiles) -> Mapping[str, str]:
        """The id is the name."""
        return {"name": container.id} if container.runtime == self.name else {}
