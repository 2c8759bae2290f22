"""A process, held by a file descriptor so that its pid cannot come to mean another one."""

from __future__ import annotations

import os
import select
from pathlib import Path

from pydamon.core.errors import TargetError
from pydamon.core.regions import PAGE_SIZE
from pydamon.core.snapshot import Footprint

__all__ = ["Process"]

_PF_EXITING, _PF_KTHREAD = 0x4, 0x200000


class Process:
    """A process that was alive when this was made.

    Raises `TargetError` for a pid that does not exist or is a kernel thread.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        if pid <= 0:
            raise TargetError(f"there is no process with pid {pid}")
        try:
            # pidfd_open came with Linux 5.3.
            self.pidfd = os.pidfd_open(pid)
        except (ProcessLookupError, OverflowError):
            raise TargetError(f"there is no process with pid {pid}") from None
        except OSError as error:
            hint = "name the pid of the process, not of one of its threads"
            raise TargetError(f"cannot watch pid {pid}: {error.strerror}", hint=hint) from None
        if self._is_kernel_thread():
            self.close()
            raise TargetError(f"pid {pid} is a kernel thread, which has no memory of its own")
        self._poll = select.poll()
        self._poll.register(self.pidfd, select.POLLIN)

    @property
    def alive(self) -> bool:
        """Whether the process still runs (a zombie does not)."""
        return not self._poll.poll(0)

    @property
    def ends(self) -> bool:
        """Whether it has ended or is about to: its memory is gone before it counts as ended."""
        return not self.alive or bool(self._flags() & _PF_EXITING)

    @property
    def name(self) -> str:
        """The command name, as `comm` has it; empty where that cannot be read."""
        try:
            return Path(f"/proc/{self.pid}/comm").read_text(errors="replace").strip()
        except OSError:
            return ""

    def footprint(self) -> Footprint:
        """What it has mapped and what of that is in memory; zeros once it is gone."""
        try:
            size, resident = Path(f"/proc/{self.pid}/statm").read_bytes().split()[:2]
        except (OSError, ValueError):
            return Footprint()
        return Footprint(int(size) * PAGE_SIZE, int(resident) * PAGE_SIZE)

    def close(self) -> None:
        """Let go of the process."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _is_kernel_thread(self) -> bool:
        return bool(self._flags() & _PF_KTHREAD)

    def _flags(self) -> int:
        """The kernel's flags of the process; those of one that ends where there is none."""
        try:
            return int(Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[6])
        except (OSError, IndexError, ValueError):
            return _PF_EXITING
