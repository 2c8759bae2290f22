"""A program that is started to be monitored."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydamon._model.closing import Closing
from pydamon._model.errors import TargetError, UsageError
from pydamon._observe.linux import process as refusal

__all__ = ["Child"]

_KEEPER = Path(__file__).with_name("keeper.py")


class Child(Closing):
    """Starts *command*, but lets it run only when `go` is called: nothing of it is missed.

    A context manager: leaving it ends the program, and everything that it has started, in the
    background too. Raises `UsageError` for no command and `TargetError` for one that cannot be
    started. With *silent* it reads nothing, and what it prints is dropped.
    """

    def __init__(self, command: Sequence[str], *, silent: bool = False) -> None:
        if not command:
            raise UsageError("no command to start", hint="name it behind the `--`")
        if shutil.which(command[0]) is None:
            exists = os.path.exists(command[0])  # noqa: PTH110
            why = "is not an executable file" if exists else "there is no such command"
            raise TargetError(f"cannot start {command[0]!r}: {why}")
        stream = subprocess.DEVNULL if silent else None
        limit = refusal.original_file_limit
        told, self._control = os.pipe()
        report, tells = os.pipe()
        self._report = os.fdopen(report, "rb", buffering=0)
        self._code: int | None = None
        self._is_ours = False
        """Whether we have asked for its end."""
        try:
            self._keeper = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", _KEEPER, str(told), str(tells)),
                    f"{limit[0]}:{limit[1]}" if limit else "",
                    *command,
                ],
                stdin=stream,
                stdout=stream,
                stderr=stream,
                pass_fds=(told, tells),
            )
        except OSError as error:
            os.close(self._control)
            self._report.close()
            raise refusal.refusal(f"cannot start {command[0]!r}", error) from error
        finally:
            os.close(told)
            os.close(tells)
        word, _, number = self._report.readline().decode().partition(" ")
        if word != "pid":
            self.end()
            raise TargetError(f"cannot start {command[0]!r}")
        self.pid = int(number)
        """The pid of the program."""

    def go(self) -> None:
        """Let it run."""
        with suppress(OSError):
            os.write(self._control, b"go\n")

    def end(self) -> int:
        """End all that still runs: the program's exit code as a shell has it, 0 if we ended it."""
        if self._control >= 0:
            with suppress(OSError):
                os.write(self._control, b"end\n")
            self._keeper.send_signal(signal.SIGCONT)
            for line in self._report:
                word, _, number = line.decode().partition(" ")
                if word == "exit" and not self._is_ours:
                    self._code = int(number)
                self._is_ours |= line == b"ending\n"
            self._keeper.wait()
            os.close(self._control)
            self._report.close()
            self._control = -1
        return self._code or 0

    def close(self) -> None:
        """End all that still runs."""
        self.end()
