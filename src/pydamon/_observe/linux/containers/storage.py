"""The storage that CRI-O and Podman share: a list of containers with their names."""

from __future__ import annotations

from typing import Any

from pydamon._observe.linux.host import HostFiles

__all__ = ["SYSTEM_STORAGE", "stored_container"]

SYSTEM_STORAGE = "/var/lib/containers/storage"
_LISTS = ("containers.json", "volatile-containers.json")


def stored_container(identifier: str, storage: str, files: HostFiles) -> dict[str, Any]:
    """What a storage says about a container; empty if it does not have it."""
    for name in _LISTS:
        rows = files.json(f"{storage}/overlay-containers/{name}")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and row.get("id") == identifier:
                return row
    return {}
