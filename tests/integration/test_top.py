"""`pydamon top` on a terminal of its own, with a real program."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pydamon._workloads import QUARTER
from tests.integration.conftest import needs

pytestmark = pytest.mark.live


class Terminal:
    """A command on a terminal of 80 by 24 without colours."""

    def __init__(self, *argv: str) -> None:
        self.said = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1", "LINES": ""}
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            os.execve(sys.executable, [sys.executable, "-m", "pydamon", *argv], environment)

    def wait_for(self, pattern: str, timeout_s: float = 60) -> bool:
        """Whether it has printed that before the time is up."""
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, self.text) and time.monotonic() < deadline:
            if select.select([self._fd], [], [], 0.2)[0] and not self._read():
                break
        return bool(re.search(pattern, self.text))

    @property
    def text(self) -> str:
        """What it has printed, without styles."""
        return re.sub(r"\x1b\[[\d;]*m", "", self.said)

    def press(self, key: str) -> None:
        os.write(self._fd, key.encode())

    def end(self) -> int:
        """Its exit code, once it has gone by itself."""
        while self._read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        try:
            self.said += os.read(self._fd, 65536).decode(errors="replace")
        except OSError:
            return False
        return True


@contextmanager
def terminal(*argv: str) -> Iterator[Terminal]:
    one = Terminal(*argv)
    try:
        yield one
    finally:
        os.close(one._fd)


@pytest.mark.long
@needs("ebpf")
def test_a_program_is_seen_until_it_exits_and_after() -> None:
    program = "import mmap, time\nm = mmap.mmap(-1, 64 << 20)\nend = time.time() + 3\n"
    program += "while time.time() < end: m[:] = m[:1] * len(m)"
    with terminal("top", "--", sys.executable, "-c", program) as top:
        assert top.wait_for(r"working set [\d.]+ MiB")
        assert top.wait_for(r"[5-9]│"), "the newest column has something hot"
        assert top.wait_for("all that was watched has exited")
        assert "\x1b[38;2" not in top.said
        top.press("q")
        assert top.end() == 0


@needs("ebpf")
@pytest.mark.parametrize("signalled", [False, pytest.param(True, marks=pytest.mark.long)])
def test_ctrl_c_ends_it_and_the_command(signalled: bool) -> None:
    """As a key, which is what a terminal makes of it, or as a signal from elsewhere."""
    with terminal("top", "--", sys.executable, str(QUARTER), "16") as top:
        assert top.wait_for("working set [0-9]")
        if signalled:
            os.kill(top.pid, signal.SIGINT)
        else:
            top.press("\x03")
        assert top.end() == 0
        assert top.said.rstrip().endswith("l"), "the terminal is as it was"


def test_an_error_is_one_line() -> None:
    with terminal("top", "--", "no-such-command-anywhere") as top:
        assert top.wait_for("no such command")
        assert top.end() == 1
        assert "Traceback" not in top.said
