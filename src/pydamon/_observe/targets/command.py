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
from pydamon._observe.linux import process

__all__ = ["Child"]

_KEEPER = Path(__file__).with_name("keeper.py")


class Child(Closing):
    """Starts a command, which runs only when `go` is called, so that a monitor misses nothing.

    Leaving this context manager ends the program and everything that it has started, in the
    background too. With *silent* the program has no input, and its output is dropped. Raises
    `UsageError` without a command, and `TargetError` if it cannot be started.
    """

    def __init__(self, command: Sequence[str], *, silent: bool = False) -> None:
        if not command:
            raise UsageError("no command to start", hint="name it behind the `--`")
        if shutil.which(command[0]) is None:
            exists = os.path.exists(command[0])  # noqa: PTH110
            why = "is not an executable file" if exists else "there is no such command"
            raise TargetError(f"cannot start {command[0]!r}: {why}")
        stream = subprocess.DEVNULL if silent else None
        limit = process.original_file_limit
        keeper_control, self._control = os.pipe()
        report, keeper_report = os.pipe()
        self._report = os.fdopen(report, "rb", buffering=0)
        self._code: int | None = None
        self._is_ours = False
        """Whether the program ended because we asked for that."""
        try:
            self._keeper = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", _KEEPER),
                    *(str(keeper_control), str(keeper_report)),
                    f"{limit[0]}:{limit[1]}" if limit else "",
                    *command,
                ],
                stdin=stream,
                stdout=stream,
                stderr=stream,
                pass_fds=(keeper_control, keeper_report),
            )
        except OSError as error:
            os.close(self._control)
            self._report.close()
            raise process.refusal(f"cannot start {command[0]!r}", error) from error
        finally:
            os.close(keeper_control)
            os.close(keeper_report)
        word, _, number = self._report.readline().decode().partition(" ")
        if word != "pid":
            self.end()
            raise TargetError(f"cannot start {command[0]!r}")
        self.pid = int(number)
        """The pid of the program."""

    def go(self) -> None:
        """Let the program run."""
        with suppress(OSError):
            os.write(self._control, b"go\n")

    def end(self) -> int:
        """End everything that still runs.

        Returns the program's exit code as a shell has it; 0 if it was ended here.
        """
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
        """End everything that still runs."""
        self.end()
