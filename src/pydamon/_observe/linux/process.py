"""A process: its identity, whether it lives, its files in /proc, and why it refuses to be read."""

from __future__ import annotations

import errno
import os
import resource
import select
import time
from functools import cache

from pydamon._model.errors import TargetError
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Footprint
from pydamon._observe.linux.procfs import PF_KTHREAD, Stat, read, text_of

__all__ = ["KernelThread", "Process", "hint_for", "original_file_limit", "refusal", "room_for"]

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")


class KernelThread(TargetError):  # noqa: N818
    """The pid is that of a kernel thread, which never has memory of its own."""


class Process:
    """A running process, held by a descriptor, so that no later process is taken for it.

    A process lives while any of its threads does. The first thread may exit before the others: the
    files of /proc/PID that tell of memory are empty then, and those of another thread are read.

    Raises `TargetError` for a pid that does not exist or is a kernel thread.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.pidfd = -1
        self.given_up: TargetError | None = None
        """Why the process is not watched any more, though it may run on."""
        if pid <= 0:
            raise TargetError(f"there is no process with pid {pid}")
        try:
            # pidfd_open came with Linux 5.3.
            self.pidfd = os.pidfd_open(pid)
        except (ProcessLookupError, OverflowError):
            raise TargetError(f"there is no process with pid {pid}") from None
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise refusal(f"cannot watch pid {pid}", error) from error
            hint = "name the pid of the process, not of one of its threads"
            raise TargetError(f"cannot watch pid {pid}: it is a thread", hint=hint) from None
        self._poll = select.poll()
        self._poll.register(self.pidfd, select.POLLIN)
        self.tid = pid
        """The thread whose files in /proc are read for the memory."""
        try:
            stat = self._stat(pid)
            if stat is not None and stat.flags & PF_KTHREAD:
                raise KernelThread(f"pid {pid} is a kernel thread, which has no memory of its own")
            # If it lives now, the stat was its own, and not that of a later process with its pid.
            if stat is None or not self.alive:
                raise TargetError(f"there is no process with pid {pid}: it has exited")
        except BaseException:
            self.close()
            raise
        self.started_ns = _booted_ns() + stat.started_ticks * _TICK_NS
        """When it started (Unix time): pid and start identify a process."""

    @property
    def alive(self) -> bool:
        """Whether any of its threads lives (a zombie does not), and it is still watched."""
        return self.given_up is None and self.pidfd >= 0 and not self._poll.poll(0)

    @property
    def ends(self) -> bool:
        """Whether it has exited or is exiting: its memory is gone before it counts as exited."""
        return not self.alive or not self._find_thread()

    @property
    def without_leader(self) -> bool:
        """Whether its first thread had exited when memory was last read, and others go on.

        process_madvise(2) does not find the memory of such a process by its pidfd.
        """
        return self.tid != self.pid

    @property
    def name(self) -> str:
        """The command name from `comm`; empty where that cannot be read."""
        try:
            return text_of(read(f"/proc/{self.pid}/comm").removesuffix(b"\n"))
        except OSError:
            return ""

    def give_up(self, reason: TargetError) -> None:
        """Do not watch the process any more: it counts as exited from now on."""
        self.given_up = reason

    def path(self, name: str) -> str:
        """The path of a file of /proc that tells of memory."""
        directory = f"{self.pid}" if self.tid == self.pid else f"{self.pid}/task/{self.tid}"
        return f"/proc/{directory}/{name}"

    def read(self, name: str) -> bytes:
        """Read a file of /proc that tells of memory: empty if there is none. Raises `OSError`.

        The data is never that of a later process with the same pid.
        """
        try:
            data = read(self.path(name))
        except (FileNotFoundError, ProcessLookupError):
            data = b""
        if not data and self.alive and self._find_thread():
            data = read(self.path(name))
        if not self.alive:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        return data

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open such a file: a descriptor. Raises `OSError`."""
        if not self._find_thread():
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        fd = os.open(self.path(name), flags | os.O_CLOEXEC)
        if not self.alive:
            os.close(fd)
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        return fd

    def threads(self) -> list[int]:
        """The ids of its threads; none once it has exited."""
        try:
            return sorted(int(name) for name in os.listdir(f"/proc/{self.pid}/task"))  # noqa: PTH208
        except OSError:
            return []

    def footprint(self) -> Footprint:
        """Its VSZ and RSS; zeros once it has exited."""
        try:
            size, resident = self.read("statm").split()[:2]
            if size == b"0" and self.alive and self._find_thread():
                size, resident = self.read("statm").split()[:2]
        except (OSError, ValueError):
            return Footprint()
        return Footprint(int(size) * PAGE_SIZE, int(resident) * PAGE_SIZE)

    def major_faults(self) -> int:
        """How often its threads have waited for a page from a disk or swap; 0 if not known."""
        try:
            stat = Stat.of(read(f"/proc/{self.pid}/stat"))  # of all threads, not of the first
        except OSError:
            return 0
        return stat.major_faults if stat is not None and self.alive else 0

    def close(self) -> None:
        """Let go of the process."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _find_thread(self) -> bool:
        """Choose a thread that has memory, the current one if possible; False if none has."""
        if self._has_memory(self.tid):
            return True
        for tid in self.threads():
            if self._has_memory(tid):
                self.tid = tid
                return True
        return False

    def _has_memory(self, tid: int) -> bool:
        stat = self._stat(tid)
        return stat is not None and stat.lives

    def _stat(self, tid: int) -> Stat | None:
        try:
            return Stat.of(read(f"/proc/{self.pid}/task/{tid}/stat"))
        except OSError:
            return None


@cache
def _booted_ns() -> int:
    """When the machine booted (Unix time); read once, so that starts of processes compare equal."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


_RESERVE = 64
"""Descriptors that are left for everything but targets: output, sockets, libraries."""


def refusal(what: str, error: OSError | int) -> TargetError:
    """An error that says *what* failed, why, and what to do."""
    number = error if isinstance(error, int) else error.errno or 0
    if number in (errno.ESRCH, errno.ENOENT):
        return TargetError(f"{what}: it has exited")
    why = (None if isinstance(error, int) else error.strerror) or os.strerror(number)
    refused = TargetError(f"{what}: {why}", hint=hint_for(number))
    refused.__cause__ = OSError(number, os.strerror(number)) if isinstance(error, int) else error
    return refused


def hint_for(number: int) -> str:
    """What to do about an errno; empty where there is no advice."""
    if number == errno.EMFILE:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            f"watch fewer processes, or raise the limit of open files, which is {max(soft, hard)}: "
            "ulimit -n as root, limits.conf, or LimitNOFILE= of a unit"
        )
    if number == errno.ENFILE:
        return "the whole machine has no file left to open: see sysctl fs.file-max"
    if number == errno.ENOMEM:
        return "the machine, or the cgroup, is out of memory: watch fewer processes"
    if number in (errno.EACCES, errno.EPERM):
        if os.geteuid() != 0:
            return (
                "run as root, or as the user who runs the process, who sees single pages where "
                "root runs `pydamon daemon`"
            )
        return "root lacks a capability here (CAP_SYS_PTRACE, CAP_SYS_NICE), as in a container"
    return ""


def room_for(descriptor: int) -> bool:
    """Whether a descriptor of this number leaves enough descriptors for everything else.

    If need be, the soft limit of open files is raised to the hard limit: it is only low for
    programs that use select(2). Programs that we start get the old limit (`original_file_limit`).
    """
    global original_file_limit  # noqa: PLW0603  (a limit is the process's, too)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptor < soft - _RESERVE:
        return True
    if soft == hard:
        # Targets get half of very few descriptors.
        return descriptor < soft // 2
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return descriptor < soft // 2
    original_file_limit = original_file_limit or (soft, hard)
    return room_for(descriptor)


original_file_limit: tuple[int, int] | None = None
"""The soft and hard limit of open files before `room_for` raised it; `None` if it did not."""
