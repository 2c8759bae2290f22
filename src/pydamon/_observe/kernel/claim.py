"""Take the kernel's DAMON for this process alone, and give it back."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import psutil

from pydamon._model.closing import Closing
from pydamon._model.errors import KernelError, ProbeUnavailable
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN, Kdamond
from pydamon._observe.kernel.settings import KdamondSettings
from pydamon._observe.linux.monitors import EXCLUSIVE, MODULES, is_on
from pydamon._observe.linux.procfs import Stat, read

__all__ = [
    "MODULES",
    "STATE",
    "Claim",
    "Record",
    "check_free",
    "describe_user",
    "leftover",
    "remove_leftover",
    "started_at",
]

STATE = Path("/run/pydamon")
"""The directory with the note of which kdamond is ours; a reboot removes both."""
_RECORD = "kdamond.json"
_NO_SIGNATURE = hashlib.sha256().hexdigest()
_SIGNED = ("operations", "pid_target", "nr_regions/min", "nr_regions/max", "/action")
"""KdamondSettings that tell users apart, and that the kernel does not change by itself."""


@dataclass(frozen=True, slots=True)
class Record:
    """The owner of kdamonds, and marks by which they are recognised.

    Processes are known by pid and start time (clock ticks since boot), since pids are reused. Each
    of `kdamonds` is such a pair; a pid of 0 was not switched on yet. `signature` is a hash of their
    settings.
    """

    owner: int
    owner_started: int
    kdamonds: tuple[tuple[int, int], ...] = ((0, 0),)
    signature: str = _NO_SIGNATURE

    @classmethod
    def read(cls, state: Path) -> Self | None:
        """Return the last record that was written, if there is one."""
        try:
            values = json.loads((state / _RECORD).read_text())
            values["kdamonds"] = tuple((int(pid), int(start)) for pid, start in values["kdamonds"])
            return cls(**values)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, state: Path) -> None:
        """Write the record for the next pydamon, or `doctor`, to find."""
        new = state / f"{_RECORD}.new"
        new.write_text(json.dumps(asdict(self)))
        new.replace(state / _RECORD)

    @staticmethod
    def remove(state: Path) -> None:
        """Remove the record: no kdamond is ours any more."""
        with suppress(FileNotFoundError):
            (state / _RECORD).unlink()

    @property
    def owner_lives(self) -> bool:
        """Whether the process that started the kdamond still runs."""
        return started_at(self.owner) == self.owner_started

    def of(self, files: Files) -> Self:
        """Return the record with the kdamonds and the settings of now."""
        pids = [Kdamond(files, number).pid for number in range(len(self.kdamonds))]
        kdamonds = tuple((max(0, pid), started_at(pid)) for pid in pids)
        return replace(self, kdamonds=kdamonds, signature=signature(files, len(pids)))

    def fits(self, files: Files) -> bool:
        """Whether there are as many kdamonds, as their owner left them."""
        if files.number("nr_kdamonds") != len(self.kdamonds):
            return False
        now = self.of(files)
        return now.signature == self.signature and all(map(_goes_with, now.kdamonds, self.kdamonds))


def _goes_with(now: tuple[int, int], before: tuple[int, int]) -> bool:
    """Whether a kdamond may be the one of before.

    If it ended by itself, with its last target (just now, if there is a pid), or was never on, it
    is.
    """
    pid, started = now
    return now == before or (started == 0 and pid in (0, before[0]))


def signature(files: Files, kdamonds: int = 1) -> str:
    """A hash of the settings that tell users apart."""
    lines = [
        f"{path}={text}"
        for number in range(kdamonds)
        for path, text in Kdamond(files, number).written().items()
        if any(word in path for word in _SIGNED)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def started_at(pid: int) -> int:
    """The start time of a process, in clock ticks since boot; 0 where there is none."""
    try:
        stat = Stat.of(read(f"/proc/{pid}/stat"))
    except OSError:
        return 0
    return stat.started_ticks if stat else 0


def describe_user(files: Files, state: Path = STATE, modules: Path = MODULES) -> str:
    """Say why the kernel's DAMON is not free, and who may use it; empty where it is free."""
    on = [name for name in EXCLUSIVE if is_on(modules / name)]
    if on:
        return f"in use by the kernel's own {on[0].upper()}"
    count = files.number("nr_kdamonds")
    if count == 0:
        return ""
    record = Record.read(state)
    if record and record.fits(files):
        if record.owner_lives:
            return f"in use by another pydamon (pid {record.owner})"
        return f"still in use by a pydamon that was killed (pid {record.owner})"
    running = [number for number in range(count) if Kdamond(files, number).running]
    detail = f"{len(running)} of {count} kdamonds run" if running else "set up, but switched off"
    users = _possible_users()
    return f"in use by somebody else ({detail}{f'; perhaps {users}' if users else ''})"


def _possible_users() -> str:
    """Processes that look like users of the kernel's DAMON."""
    users = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = [Path(word).name for word in (process.info["cmdline"] or ())[:2]]
        if any(word in ("damo", "damo.py", "damon") for word in words):
            users.append(f"{' '.join(words)} (pid {process.info['pid']})")
    return ", ".join(users[:3])


_PATIENCE_S = 2.0
"""How long to wait for the guardian of a pydamon that was killed a moment ago."""
# It reads the pids of the kdamonds that it guards. If the pipe ends without "done", and the files
# have these pids (or -1: a kdamond has ended), it switches the kdamonds off and removes them.
_GUARDIAN = """
while read -r line; do mine=$line; done
[ -z "$mine" ] || [ "$mine" = done ] && exit
number=0
for pid in $mine; do
    read -r now <$number/pid || exit
    [ "$now" = "$pid" ] || [ "$now" = -1 ] || exit
    number=$((number + 1))
done
number=0
for pid in $mine; do
    read -r now <$number/pid
    [ "$now" = -1 ] || echo off >$number/state
    number=$((number + 1))
done
echo 0 >nr_kdamonds && rm -f "$1"
"""


class Claim(Closing):
    """All kdamonds of the kernel's DAMON, for this process alone: one, or as many as it asks for.

    Raises `ProbeUnavailable` where the kernel has no DAMON, this user may not use it, or somebody
    else uses it: then nothing is written.
    """

    def __init__(
        self, files: Files | None = None, *, state: Path = STATE, kdamonds: int = 1
    ) -> None:
        self._files = files or Files(ADMIN)
        self._state = state
        none_yet = ((0, 0),) * kdamonds
        self._record = Record(os.getpid(), started_at(os.getpid()), none_yet)
        self._stack = ExitStack()
        self._guardian: subprocess.Popen[bytes] | None = None
        self.kdamonds = tuple(Kdamond(self._files, number) for number in range(kdamonds))
        """Drive the kdamonds."""
        check_free(self._files, state)
        with self._stack:
            lock = self._lock()
            check_free(self._files, state)
            self._guard(lock)
            self._record.write(state)
            self._stack.callback(Record.remove, state)
            self._files.write("nr_kdamonds", kdamonds)
            self._stack.callback(self._give_back)
            self._tell(" ".join(["-1"] * kdamonds))
            self._stack = self._stack.pop_all()

    @property
    def kdamond(self) -> Kdamond:
        """Drives the first kdamond, which mostly is the only one."""
        return self.kdamonds[0]

    def start(self, settings: KdamondSettings, number: int = 0) -> None:
        """Switch a kdamond on with these settings."""
        self._configure(settings, number)
        self.kdamonds[number].start()
        self._note()
        if settings.paused:
            self.kdamonds[number].pause(True)

    def change(self, settings: KdamondSettings, number: int = 0) -> None:
        """Give a kdamond other settings while it runs."""
        self._configure(settings, number)
        self.kdamonds[number].commit()

    def close(self) -> None:
        """Switch the kdamonds off and remove them."""
        self._stack.close()

    def _configure(self, settings: KdamondSettings, number: int) -> None:
        try:
            self.kdamonds[number].configure(settings)
        finally:
            self._note()  # settings that are half written are ours, too

    def _note(self) -> None:
        """Note which kdamonds are ours, for whoever has to clean up later."""
        self._record = self._record.of(self._files)
        self._record.write(self._state)
        self._tell(" ".join(str(pid or -1) for pid, _ in self._record.kdamonds))

    def _give_back(self) -> None:
        if not self._record.fits(self._files):
            raise KernelError(
                "somebody changed the kernel's DAMON while it was ours; it was left as it is"
            )
        for kdamond in self.kdamonds:
            kdamond.stop()
        self._files.write("nr_kdamonds", 0)

    def _lock(self) -> int:
        """Keep other pydamons out until this process and its guardian are gone.

        Return the descriptor of the lock, for the guardian to keep open.
        """
        try:
            self._state.mkdir(mode=0o755, exist_ok=True)
            fd = os.open(self._state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ProbeUnavailable(
                f"cannot note in {self._state} which kdamond is ours: {error.strerror}"
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
        with suppress(BrokenPipeError):  # somebody killed the guardian; the record is left
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
    """Raise `ProbeUnavailable` unless the kernel has DAMON and nobody uses it."""
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


_JOIN = "--engine kernel --join (in Python: join=True) looks on at it and changes nothing"


def _hint(why: str, modules: Path) -> str:
    if "killed" in why:
        return "`pydamon doctor --clean` removes it"
    module = why.rpartition(" ")[2].lower()
    if module.startswith("damon_"):
        return f"{_JOIN}; or switch it off: echo N >{modules / module}/parameters/enabled"
    return "" if "switched off" in why else _JOIN


def leftover(files: Files | None = None, state: Path = STATE) -> Record | None:
    """The record of a kdamond that a killed pydamon left behind, if nobody changed it since."""
    files = files or Files(ADMIN)
    record = Record.read(state)
    try:
        left = record is not None and not record.owner_lives and record.fits(files)
    except (KernelError, ProbeUnavailable):
        return None
    return record if left else None


def remove_leftover(files: Files | None = None, state: Path = STATE) -> bool:
    """Remove a kdamond that a killed pydamon left behind; return whether there was one."""
    files = files or Files(ADMIN)
    left = leftover(files, state)
    if left is None:
        return False
    for number in range(len(left.kdamonds)):
        Kdamond(files, number).stop()
    files.write("nr_kdamonds", 0)
    Record.remove(state)
    return True
