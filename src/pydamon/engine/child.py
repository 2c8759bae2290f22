"""A program that is started to be monitored."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence

from pydamon.core.closing import Closing
from pydamon.core.errors import TargetError, UsageError

__all__ = ["Child"]

_SHELL = ("/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh")
_PATIENCE_S = 5


class Child(Closing):
    """Starts *command*, but lets it run only when `go` is called: nothing of it is missed.

    A context manager: leaving it ends the program, if it still runs. Raises `UsageError` for no
    command and `TargetError` for one that cannot be started. With *silent* it reads nothing, and
    what it prints is dropped.
    """

    def __init__(self, command: Sequence[str], *, silent: bool = False) -> None:
        if not command:
            raise UsageError("no command to start", hint="name it behind the `--`")
        if shutil.which(command[0]) is None:
            exists = os.path.exists(command[0])  # noqa: PTH110
            why = "is not an executable file" if exists else "there is no such command"
            raise TargetError(f"cannot start {command[0]!r}: {why}")
        stream = subprocess.DEVNULL if silent else None
        try:
            self._process = subprocess.Popen(
                [*_SHELL, *command], stdin=stream, stdout=stream, stderr=stream
            )
        except OSError as error:
            raise TargetError(f"cannot start {command[0]!r}: {error.strerror}") from None
        # The shell stops itself; it becomes the command, with the same pid, when it goes on.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    @property
    def pid(self) -> int:
        """The pid of the program."""
        return self._process.pid

    def go(self) -> None:
        """Let it run."""
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """End it, if it still runs: its exit code as a shell has it, or 0 where we ended it."""
        code = self._process.poll()
        if code is not None:
            return code if code >= 0 else 128 - code
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return 0

    def close(self) -> None:
        """End it, if it still runs."""
        self.end()
