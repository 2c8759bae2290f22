"""New files: who may read them, and whose they are."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["PRIVATE", "create_file"]

PRIVATE = 0o600
"""A recording tells the command lines and addresses of programs: it is for its owner alone."""


def create_file(path: Path, *, private: bool) -> int:
    """Create a file to write to, for its owner alone if *private*; its descriptor.

    Under sudo it belongs to the user who called sudo, who can then read and delete it. Raises
    `OSError`, as for a file that exists.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(path, flags, PRIVATE if private else 0o666)
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdecimal() and gid.isdecimal():
        with suppress(OSError):  # a file system without owners
            os.fchown(fd, int(uid), int(gid))
    return fd
