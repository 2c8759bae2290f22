"""systemd-nspawn and others that register with systemd-machined: the cgroup has the name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydamon._observe.linux.containers.base import Container
from pydamon._observe.linux.host import HostFiles

__all__ = ["Machined", "unescaped"]

_SCOPE = re.compile(r"machine-(.+)\.scope")
_SERVICE = re.compile(r"systemd-nspawn@(.+)\.service")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def unescaped(name: str) -> str:
    """The text that systemd escaped for the name of a unit."""
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)
    return plain if plain.isprintable() else name


class Machined:
    """Containers of systemd-nspawn, and virtual machines of libvirt."""

    name = "machine"

    def id_in(self, path: tuple[str, ...], files: HostFiles) -> str:
        """machine-NAME.scope, or systemd-nspawn@NAME.service."""
        match = _SCOPE.fullmatch(path[-1]) or _SERVICE.fullmatch(path[-1])
        return unescaped(match[1]) if match else ""

    def names(self, container: Container, files: HostFiles) -> Mapping[str, str]:
        """The id is the name."""
        return {"name": container.id} if container.runtime == self.name else {}
