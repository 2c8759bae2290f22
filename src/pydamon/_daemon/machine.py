"""What the daemon knows of the kernel and of processes: layouts, targets."""

from __future__ import annotations

import os
import select
from typing import Any


class Refused(Exception):  # noqa: N818
    """A request that this peer may not make, or that makes no sense; the text is for the peer."""


class Malformed(Exception):  # noqa: N818
    """A message that no client of ours sends: the connection ends."""


class Fields:
    """Reads and writes the fields of a structure in a map."""

    def __init__(self, memory: memoryview, fields: dict[str, list[int]]) -> None:
        self._memory, self._fields = memory, fields

    def __getitem__(self, name: str) -> int:
        at, size = self._fields[name]
        return int.from_bytes(self._memory[at : at + size], "little")

    def __setitem__(self, name: str, value: int) -> None:
        at, size = self._fields[name]
        self._memory[at : at + size] = value.to_bytes(size, "little")


class Kernel:
    """The plan: programs, layouts, and what root's part found out about this kernel."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.facts: dict[str, int] = plan["facts"]
        self.own_pidfd = os.pidfd_open(os.getpid())


class Target:
    """A process whose memory a peer may read: it sent an open pagemap of it."""

    def __init__(self, pidfd: int, pagemap: int, uid: int) -> None:
        self.pidfd, self._pagemap = pidfd, pagemap
        self._poll = select.poll()
        self._poll.register(pidfd, select.POLLIN)
        self.pid = _pid_of(pidfd)
        self._owner = self._current_owner()
        if not self._owner or (self._owner[0] == 0 and uid != 0):
            raise Refused("it is root's, or may not be dumped")

    def may_be_watched(self) -> bool:
        """Whether it lives, with the credentials that it had when it was opened.

        Its memory is another matter: the programs themselves end a target that has called exec.
        """
        return not self._poll.poll(0) and self._current_owner() == self._owner

    def close(self) -> None:
        """Let go of the process; its memory was kept from being taken for another's until now."""
        os.close(self.pidfd)
        os.close(self._pagemap)

    def _current_owner(self) -> tuple[int, int] | None:
        """The owner of its pagemap: root, once it may not be dumped any more."""
        try:
            status = os.stat(f"/proc/{self.pid}/pagemap")  # noqa: PTH116
        except OSError:
            return None
        return status.st_uid, status.st_gid


def _pid_of(pidfd: int) -> int:
    """The process of a pidfd, as this process sees pids; raises `Refused` for another file."""
    with open(f"/proc/self/fdinfo/{pidfd}", "rb") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(b"Pid:"):
                return int(line.split()[1])
    raise Refused("the first descriptor is no pidfd")
