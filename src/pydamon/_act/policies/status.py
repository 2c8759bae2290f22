"""Status files: how others see what a service is doing."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pydamon._model.closing import Closing
from pydamon._model.errors import UsageError

__all__ = ["StatusFile", "read_statuses", "status_directory"]


def status_directory() -> Path:
    """The directory of status files: /run/pydamon for root, else one that the user owns."""
    if os.geteuid() == 0:
        return Path("/run/pydamon")
    own = os.environ.get("XDG_RUNTIME_DIR") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(own, "pydamon")


class StatusFile(Closing):
    """A file with the status of a service, which goes away when the service ends.

    Parameters
    ----------
    name
        The name of the service.
    directory
        Where the file is; /run/pydamon by default, or a directory that the user owns.

    Raises
    ------
    UsageError
        If a service of that name runs already.

    Examples
    --------
    >>> import tempfile
    >>> from pydamon.policies import StatusFile, read_statuses
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     with StatusFile("mine", directory) as file:
    ...         file.write({"policy": "reclaim"})
    ...         print(read_statuses(directory)["mine"]["policy"])
    reclaim
    """

    def __init__(self, name: str, directory: str | Path | None = None) -> None:
        self.path = Path(directory or status_directory()) / f"{name}.json"
        if (status := _read(self.path)) is not None:
            raise UsageError(
                f"a service named {name} is running already, as pid {status['pid']}",
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
            self._works = False  # a service that cannot show its status runs all the same

    def close(self) -> None:
        """Remove the file."""
        with suppress(OSError):  # it may be where this user may not even look
            self.path.unlink()


def read_statuses(directory: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """Return the last status of each service that runs now, by name.

    Parameters
    ----------
    directory
        As for `StatusFile`.
    """
    paths = sorted(Path(directory or status_directory()).glob("*.json"))
    statuses = ((path.stem, _read(path)) for path in paths)
    return {name: status for name, status in statuses if status is not None}


def _read(path: Path) -> dict[str, Any] | None:
    """A status, if the process that wrote it still runs."""
    try:
        status: dict[str, Any] = json.loads(path.read_bytes())
        if psutil.Process(status["pid"]).create_time() == status["created"]:
            return status
    except (OSError, ValueError, KeyError, TypeError, RecursionError, psutil.Error):
        pass
    return None
