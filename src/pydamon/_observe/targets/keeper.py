"""A script that starts a command and stays its parent, to end all its descendants later.

    python keeper.py CONTROL REPORT LIMIT COMMAND...

It adopts orphans below it (PR_SET_CHILD_SUBREAPER): a process in the background cannot escape, and
every descendant is one of the command. It stays in the terminal's foreground process group with the
command, so that Ctrl-C, Ctrl-Z and reading from the terminal work as usual.

CONTROL and REPORT are descriptors. It reads "go" and "end" from CONTROL, and writes "pid N",
"exit CODE" and "ending" to REPORT. If CONTROL ends without "end", it leaves all processes alone,
but for a command that was never told to go.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator

_PR_SET_CHILD_SUBREAPER = 36
_SHELL = ("/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh")
_PATIENCE_S = 5.0
"""Descendants have so long to end by SIGTERM; then they get SIGKILL."""
_LAST_S = 3.0
"""So long after that the script gives up."""
_PAUSE_S = 0.01
_FOR_COMMAND = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that the terminal sends to the command, too; the script itself survives them."""


class Keeper:
    """The command and its descendants."""

    def __init__(self, control: int, report: int, command: list[str]) -> None:
        self._control = control
        self._report = report
        self._runs = True
        self._started = False
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)
        for number in _FOR_COMMAND:
            # The command inherits ignored signals, but not handlers.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _nothing)
        # The shell stops itself; when it goes on, it becomes the command, with the same pid.
        self._pid = os.posix_spawn(
            _SHELL[0],
            [*_SHELL, *command],
            os.environ,
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
        os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._say(f"pid {self._pid}")

    def run(self) -> None:
        """Obey CONTROL until the end."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._woken:
                    os.read(fd, 1 << 16)
                    continue
                words = os.read(fd, 1 << 10)
                if not words:
                    if not self._started:
                        os.kill(self._pid, signal.SIGKILL)
                    return
                if b"go" in words and self._runs:
                    self._started = True
                    os.kill(self._pid, signal.SIGCONT)
                if b"end" in words:
                    self._reap()
                    self._say("ending")
                    self._end()
                    return
            self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (end := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)) is not None:
                if end.si_pid == self._pid:
                    self._runs = False
                    own = end.si_code == os.CLD_EXITED
                    self._say(f"exit {end.si_status if own else 128 + end.si_status}")

    def _end(self) -> None:
        """End every descendant: from the top, so that each can end its own children properly."""
        begin_s, asked = time.monotonic(), set[int]()
        while True:
            left, passed_s = 0, time.monotonic() - begin_s
            for depth, pid, pidfd in self._descendants():
                left += 1
                if passed_s > _PATIENCE_S:
                    _send(pidfd, signal.SIGKILL)
                elif depth == 0 and pid not in asked:
                    asked.add(pid)
                    _send(pidfd, signal.SIGTERM)
                    _send(pidfd, signal.SIGCONT)
            self._reap()
            if not left or passed_s > _PATIENCE_S + _LAST_S:
                return
            time.sleep(_PAUSE_S)

    def _descendants(self) -> Iterator[tuple[int, int, int]]:
        """Depth, pid and descriptor (open for the moment) of each living descendant."""
        unseen = [(0, os.getpid())]
        while unseen:
            depth, parent = unseen.pop()
            for pid in _children_of(parent):
                try:
                    pidfd = os.pidfd_open(pid)
                except OSError:
                    continue
                try:
                    # The pid may belong to another process by now.
                    if _parent_of(pid) == parent and not select.select([pidfd], [], [], 0)[0]:
                        yield depth, pid, pidfd
                finally:
                    os.close(pidfd)
                unseen.append((depth + 1, pid))

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._report, f"{text}\n".encode())


def _children_of(pid: int) -> list[int]:
    try:
        children: list[int] = []
        for tid in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{tid}/children", "rb") as file:  # noqa: PTH123
                children.extend(map(int, file.read().split()))
        return children
    except FileNotFoundError:  # it has ended, or the kernel has no CONFIG_PROC_CHILDREN
        every = [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
        return [child for child in every if _parent_of(child) == pid]
    except OSError:
        return []


def _parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _send(pidfd: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):  # it has ended, or runs as somebody else
        signal.pidfd_send_signal(pidfd, number)


def _nothing(*_: object) -> None:
    """The handler of signals that only wake the script, or are for the command."""


def main() -> None:
    """Keep the command that the arguments name."""
    control, report, limit, *command = sys.argv[1:]
    for fd in (control, report):
        os.set_inheritable(int(fd), False)
    if limit:
        soft, _, hard = limit.partition(":")
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), int(hard)))
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Keeper(int(control), int(report), command).run()


if __name__ == "__main__":
    main()
