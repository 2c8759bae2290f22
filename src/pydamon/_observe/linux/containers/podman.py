"""Podman: names from its storage, which is the user's own for a rootless container."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydamon._observe.linux.containers.base import Container, hex_id
from pydamon._observe.linux.containers.storage import SYSTEM_STORAGE, stored_container
from pydamon._observe.linux.host import HostFiles, parsed, text_at

__all__ = ["Podman"]

_USER = re.compile(r"/user-(\d{1,10})\.slice/")


class Podman:
    """Containers of Podman, also those of ordinary users."""

    name = "podman"

    def id_in(self, path: tuple[str, ...], files: HostFiles) -> str:
        """libpod-ID.scope, or libpod-ID; libpod-conmon-ID.scope is no container."""
        return hex_id(path[-1], "libpod-")

    def names(self, container: Container, files: HostFiles) -> Mapping[str, str]:
        """The name. A user's files are asked about containers of that user only."""
        storage = SYSTEM_STORAGE
        if user := _USER.search(container.cgroup):
            home = _home_of(user[1], files)
            storage = f"{home}/.local/share/containers/storage" if home else ""
        row = stored_container(container.id, storage, files) if storage else {}
        names = row.get("names")
        name = text_at({"name": names[0]}, "name") if isinstance(names, list) and names else ""
        text = row.get("metadata")
        stored = text_at(parsed(text), "name") if isinstance(text, str) else ""
        return {"name": name or stored}


def _home_of(uid: str, files: HostFiles) -> str:
    for line in files.read("/etc/passwd").decode(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[2] == uid:
            return fields[5] if fields[5].startswith("/") else ""
    return ""
