"""/proc/PID/clear_refs: clear the accessed bits of a whole process."""

from __future__ import annotations

import os

__all__ = ["clear_refs"]

_ALL_PAGES = b"1"


def clear_refs(pid: int) -> None:
    """Clear the accessed bit of every page that a process maps, shared or not.

    About 0.06 us a resident page, while the process cannot map or unmap. The TLB is not flushed:
    pages that stay in it all the time are not seen to be accessed again. Raises `OSError`.
    """
    fd = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, _ALL_PAGES)
    finally:
        os.close(fd)
