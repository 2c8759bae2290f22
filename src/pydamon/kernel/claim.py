"""Taking the kernel's DAMON for oneself, and giving it back whatever happens.

Nothing of anybody else's is ever changed. Our own kdamond is switched off when the claim is closed;
should this process die without that, a guardian does it: a shell that waits at a pipe. If that was
killed too, a record in /run says what is left, for `leftover` and `pydamon doctor`.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from pydamon.core.closing import Closing
from pydamon.core.errors import KernelError, ProbeUnavailable
from pydamon.kernel.files import Files
from pydamon.kernel.kdamond import ADMIN, Kdamond, Settings
from pydamon.kernel.owner import MODULES, STATE, Record, describe_user, started_at

__all__ = ["Claim", "check_free", "leftover", "remove_leftover"]

_PATIENCE_S = 2.0
"""For the guardian of a pydamon that was killed a moment ago."""
# Reads which kdamond it is answerable for. When the pipe ends without "done", and that (or none:
# it has ended by itself) is what the files say, it is switched off and its directory removed.
_GUARDIAN = """
while read -r word; do mine=$word; done
[ -z "$mine" ] || [ "$mine" = done ] && exit
read -r now <0/pid || exit
[ "$now" = "$mine" ] && echo off >0/state
[ "$now" = "$mine" ] || [ "$now" = -1 ] || exit
echo 0 >nr_kdamonds && rm -f "$1"
"""


class Claim(Closing):
    """The only kdamond of the kernel's DAMON, for this process alone; `kdamond` drives it.

    Raises `ProbeUnavailable` where the kernel has no DAMON, this user may not use it, or somebody
    else does: nothing is written then.
    """

    def __init__(self, files: Files | None = None, *, state: Path = STATE) -> None:
        self._files = files or Files(ADMIN)
        self._state = state
        self._record = Record(os.getpid(), started_at(os.getpid()))
        self._stack = ExitStack()
        self._guardian: subprocess.Popen[bytes] | None = None
        self.kdamond = Kdamond(self._files)
        """What is ours."""
        check_free(self._files, state)
        with self._stack:
            lock = self._lock()
            check_free(self._files, state)
            self._guard(lock)
            self._record.write(state)
            self._stack.callback(Record.remove, state)
            self._files.write("nr_kdamonds", 1)
            self._stack.callback(self._give_back)
            self._tell("-1")
            self._stack = self._stack.pop_all()

    def start(self, settings: Settings) -> None:
        """Switch the kdamond on with these settings."""
        self._configure(settings)
        self.kdamond.start()
        self._note()

    def change(self, settings: Settings) -> None:
        """Give other settings to the kdamond while it runs."""
        self._configure(settings)
        self.kdamond.commit()

    def close(self) -> None:
        """Switch it off and leave everything as it was found."""
        self._stack.close()

    def _configure(self, settings: Settings) -> None:
        try:
            self.kdamond.configure(settings)
        finally:
            self._note()  # even half of it is ours

    def _note(self) -> None:
        """Write down what is ours, in case nobody is there to clean up later."""
        self._record = self._record.of(self._files)
        self._record.write(self._state)
        self._tell(str(self._record.kdamond or -1))

    def _give_back(self) -> None:
        if not self._record.fits(self._files):
            raise KernelError(
                "somebody changed the kernel's DAMON while it was ours; it was left as it is"
            )
        self.kdamond.stop()
        self._files.write("nr_kdamonds", 0)

    def _lock(self) -> int:
        """Keep other pydamons out until this process is gone, and its guardian if it has one.

        Returns the descriptor that the guardian is to keep open.
        """
        try:
            self._state.mkdir(mode=0o755, exist_ok=True)
            fd = os.open(self._state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ProbeUnavailable(
                f"cannot note in {self._state} what is ours: {error.strerror}"
            ) from None
        self._stack.callback(os.close, fd)
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError:
                record = Record.read(self._state)
                lives = record is not None and record.owner_lives
                if lives or time.monotonic() > deadline_s:
                    raise ProbeUnavailable(
                        "the kernel's DAMON is in use by another pydamon"
                    ) from None
            time.sleep(0.02)

    def _guard(self, lock: int) -> None:
        # A session of its own, so that Ctrl-C and the end of a terminal do not end it.
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDIAN, "pydamon-guardian", str(self._state / "kdamond.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._files.root,
            pass_fds=(lock,),
            start_new_session=True,
        )
        self._stack.callback(self._dismiss)

    def _tell(self, word: str) -> None:
        assert self._guardian is not None
        assert self._guardian.stdin is not None
        with suppress(BrokenPipeError):  # somebody killed it; the record is left
            self._guardian.stdin.write(f"{word}\n".encode())
            self._guardian.stdin.flush()

    def _dismiss(self) -> None:
        assert self._guardian is not None
        assert self._guardian.stdin is not None
        self._tell("done")
        with suppress(BrokenPipeError):
            self._guardian.stdin.close()
        self._guardian.wait()


def check_free(files: Files | None = None, state: Path = STATE, modules: Path = MODULES) -> None:
    """Raise `ProbeUnavailable` unless the kernel's DAMON is there and nobody uses it."""
    files = files or Files(ADMIN)
    if not files.has("nr_kdamonds"):
        raise ProbeUnavailable(
            "this kernel has no DAMON that can be driven (CONFIG_DAMON_SYSFS, Linux 5.18)"
        )
    deadline_s = time.monotonic() + _PATIENCE_S
    while why := describe_user(files, state, modules):
        record = Record.read(state)
        ours = record is not None and not record.owner_lives
        if not ours or time.monotonic() > deadline_s:
            raise ProbeUnavailable(f"the kernel's DAMON is {why}", hint=_hint(why, modules))
        time.sleep(0.05)


def _hint(why: str, modules: Path) -> str:
    if "killed" in why:
        return "`pydamon doctor --clean` removes it"
    module = why.rpartition(" ")[2].lower()
    if module.startswith("damon_"):
        return f"it can be switched off: echo N >{modules / module}/parameters/enabled"
    return ""


def leftover(files: Files | None = None, state: Path = STATE) -> Record | None:
    """The record of a kdamond that a pydamon left behind that was killed, as it left it."""
    files = files or Files(ADMIN)
    record = Record.read(state)
    try:
        left = record is not None and not record.owner_lives and record.fits(files)
    except (KernelError, ProbeUnavailable):
        return None
    return record if left else None


def remove_leftover(files: Files | None = None, state: Path = STATE) -> bool:
    """Switch off and remove what a pydamon left behind that was killed; whether there was any."""
    files = files or Files(ADMIN)
    if leftover(files, state) is None:
        return False
    Kdamond(files).stop()
    files.write("nr_kdamonds", 0)
    Record.remove(state)
    return True
