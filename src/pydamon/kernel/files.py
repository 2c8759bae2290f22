"""The files below a directory of sysfs: read, written, and missed with a reason."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from pydamon.core.errors import KernelError, ProbeUnavailable
from pydamon.kernel.features import missing_file, missing_word

__all__ = ["Files"]

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE_S = 1.0
"""The kernel's thread holds the lock of all files a moment longer than what it was asked takes."""


class Files:
    """Text files below *root*, by paths relative to it.

    Errors are `ProbeUnavailable` for what this kernel or user cannot have, and `KernelError` for
    what it refuses.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, path: str) -> bool:
        """Whether there is such a file or directory."""
        return (self.root / path).exists()

    def read(self, path: str) -> str:
        """What the file says, without white space around it."""
        try:
            return _patiently(self._read, path).strip()
        except OSError as error:
            raise self._explained("read", path, "", error) from None

    def number(self, path: str) -> int:
        """The number that the file holds."""
        text = self.read(path)
        try:
            return int(text)
        except ValueError:
            raise KernelError(f"{self.root / path} holds no number: {text!r}") from None

    def write(self, path: str, value: str | int) -> None:
        """Write a value; the kernel checks it."""
        try:
            _patiently(self._write, path, str(value))
        except OSError as error:
            raise self._explained("write", path, str(value), error) from None

    def numbered(self, path: str) -> list[str]:
        """The paths of the directories 0, 1, ... below one, in that order."""
        try:
            names = [entry.name for entry in os.scandir(self.root / path)]
        except OSError as error:
            raise self._explained("read", path, "", error) from None
        return [f"{path}/{name}" for name in sorted(filter(str.isdigit, names), key=int)]

    def _read(self, path: str) -> str:
        fd = os.open(self.root / path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 1 << 16).decode(errors="replace")
        finally:
            os.close(fd)

    def _write(self, path: str, text: str) -> None:
        fd = os.open(self.root / path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(fd, f"{text}\n".encode())
        finally:
            os.close(fd)

    def _explained(self, verb: str, path: str, value: str, error: OSError) -> Exception:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return ProbeUnavailable(missing_file(path))
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and path.endswith("nr_kdamonds"):
            why = "they are read-only here" if error.errno == errno.EROFS else "only root may"
            return ProbeUnavailable(
                f"cannot {verb} the files of the kernel's DAMON: {why}",
                hint="" if os.geteuid() == 0 else "run as root",
            )
        if error.errno == errno.EINVAL and (lacking := missing_word(value)):
            return ProbeUnavailable(lacking)
        said = f" {value!r} to" if verb == "write" else ""
        return KernelError(f"cannot {verb}{said} {self.root / path}: {error.strerror}")


def _patiently(operation: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Do it again while it is refused because the kernel looks at the files itself just now."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return operation(*args, **options)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline_s:
                raise
        time.sleep(0.002)
