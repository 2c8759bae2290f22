"""The status of running services: a file each, for `pydamon status` and for scripts."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pydamon.core.closing import Closing
from pydamon.core.errors import UsageError

__all__ = ["StatusFile", "read_statuses", "status_directory"]


def status_directory() -> Path:
    """Where status files are: /run/pydamon for root, else where only the user can write."""
    if os.geteuid() == 0:
        return Path("/run/pydamon")
    own = os.environ.get("XDG_RUNTIME_DIR") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(own, "pydamon")


class StatusFile(Closing):
    """The file that tells what a service is doing; it is gone when the service ends.

    Raises `UsageError` if a service of that name runs already.
    """

    def __init__(self, name: str, directory: Path | None = None) -> None:
        directory = directory or status_directory()
        self.path = directory / f"{name}.json"
        if (old := _read(self.path)) is not None:
            raise UsageError(
                f"a service named {name} is running already, as pid {old['pid']}",
                hint="end it first, or give this one another name",
            )
        self._created = psutil.Process().create_time()
        self._works = True

    def write(self, status: dict[str, Any]) -> None:
        """Replace the file at once, so that nobody reads half of it."""
        if not self._works:
            return
        text = json.dumps({"pid": os.getpid(), "created": self._created, **status})
        part = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            part.write_text(text)
            part.replace(self.path)
        except OSError:
            self._works = False  # nobody can be told, which is no reason to stop

    def close(self) -> None:
        """Remove it."""
        with suppress(OSError):  # it may be where this user may not even look
            self.path.unlink()


def read_statuses(directory: Path | None = None) -> dict[str, dict[str, Any]]:
    """What the services that run now have written last, by name."""
    paths = sorted((directory or status_directory()).glob("*.json"))
    found = ((path.stem, _read(path)) for path in paths)
    return {name: status for name, status in found if status is not None}


def _read(path: Path) -> dict[str, Any] | None:
    """A status, if whoever wrote it still runs."""
    try:
        status: dict[str, Any] = json.loads(path.read_bytes())
        if psutil.Process(status["pid"]).create_time() == status["created"]:
            return status
    except (OSError, ValueError, KeyError, TypeError, RecursionError, psutil.Error):
        pass
    return None
