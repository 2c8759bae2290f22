"""The host's file system: where it is mounted, and how to read files that strangers wrote."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

__all__ = ["HOST_ROOT", "HostFiles", "host_root", "parsed", "text_at"]

HOST_ROOT = "PYDAMON_HOST_ROOT"
"""The environment variable with the place of the host's file system, for use in a container."""

_MOST_BYTES = 8 << 20
"""The largest file that is read: those of container runtimes have some KiB."""
_MOST_ENTRIES = 100_000
_MOST_LINKS = 40
"""As in the kernel: more symbolic links in one path are taken for a loop."""
_MOST_NAME = 253
"""The longest name that Kubernetes allows; longer ones are not shown."""


def host_root() -> Path:
    """The directory of the host's file system: `/` unless `PYDAMON_HOST_ROOT` says another."""
    return Path(os.environ.get(HOST_ROOT) or "/")


class HostFiles:
    """Reads files of the host by their path on the host; nothing in them can do harm.

    Files may be missing, unreadable, huge, no files at all, or hold anything: all of that reads as
    if there were nothing. Symbolic links lead to where they lead on the host, and never out of its
    root.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = host_root() if root is None else root

    def read(self, path: str) -> bytes:
        """The content of a regular file; empty if there is none."""
        try:
            with open(self._place_of(path), "rb", opener=_open_at_once) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
                    return b""
                return file.read(_MOST_BYTES)
        except (OSError, ValueError):
            return b""

    def json(self, path: str) -> Any:
        """The content of a JSON file; `None` if there is none."""
        return parsed(self.read(path))

    def names(self, path: str) -> list[str]:
        """The names in a directory; none if there is none."""
        try:
            with os.scandir(self._place_of(path)) as entries:
                return [entry.name for entry, _ in zip(entries, range(_MOST_ENTRIES), strict=False)]
        except (OSError, ValueError):
            return []

    def _place_of(self, path: str) -> Path:
        """Where a path of the host is here, without symbolic links: as after chroot(2).

        Raises `OSError` for links in a circle.
        """
        names, place, links = path.split("/")[::-1], list[str](), 0
        while names:
            name = names.pop()
            if name == "..":
                del place[-1:]
            elif name not in ("", "."):
                place.append(name)
                if target := _link_at(self.root.joinpath(*place)):
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    place = [] if target.startswith("/") else place[:-1]
                    names += target.split("/")[::-1]
        return self.root.joinpath(*place)


def _link_at(path: Path) -> str:
    """Where a symbolic link leads; empty for all that is none."""
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _open_at_once(path: str, flags: int) -> int:
    """A pipe must not block."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def parsed(text: bytes | str) -> Any:
    """A document of JSON; `None` if the text is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def text_at(document: Any, *keys: str) -> str:
    """The text at a path of keys in a document; empty if there is none that can be shown."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    if not isinstance(document, str) or not document.isprintable():
        return ""
    return document if len(document) <= _MOST_NAME else ""
