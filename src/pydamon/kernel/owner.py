"""Whose the kernel's DAMON is: it has one user at a time, and no way to say who that is."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import psutil

from pydamon.kernel.files import Files
from pydamon.kernel.kdamond import Kdamond
from pydamon.probes.others import EXCLUSIVE, MODULES, is_on
from pydamon.probes.procfs import Stat, read

__all__ = ["MODULES", "STATE", "Record", "describe_user", "started_at"]

STATE = Path("/run/pydamon")
"""Where it is written down which kdamond is ours; gone after a reboot, as that is."""
_RECORD = "kdamond.json"
_NOTHING = hashlib.sha256().hexdigest()
_SIGNED = ("operations", "pid_target", "nr_regions/min", "nr_regions/max", "/action")


@dataclass(frozen=True, slots=True)
class Record:
    """Who started a kdamond, and how it can be recognised.

    Processes are known by pid and start time (clock ticks since boot), so that a reused pid is not
    taken for them. A `kdamond` of 0 means that it was not switched on yet. `signature` is that of
    what was written to its files, at first nothing.
    """

    owner: int
    owner_started: int
    kdamond: int = 0
    kdamond_started: int = 0
    signature: str = _NOTHING

    @classmethod
    def read(cls, state: Path) -> Self | None:
        """The record that was written last, if it is still there."""
        try:
            values = json.loads((state / _RECORD).read_text())
            return cls(**values)
        except (OSError, ValueError, TypeError):
            return None

    def write(self, state: Path) -> None:
        """Put it down where the next pydamon, or `doctor`, finds it."""
        new = state / f"{_RECORD}.new"
        new.write_text(json.dumps(asdict(self)))
        new.replace(state / _RECORD)

    @staticmethod
    def remove(state: Path) -> None:
        """There is nothing of ours any more."""
        with suppress(FileNotFoundError):
            (state / _RECORD).unlink()

    @property
    def owner_lives(self) -> bool:
        """Whether the process that started it still runs."""
        return started_at(self.owner) == self.owner_started

    def of(self, files: Files) -> Self:
        """The same, with what now runs and is written there."""
        pid = Kdamond(files).pid
        return replace(
            self, kdamond=max(0, pid), kdamond_started=started_at(pid), signature=signature(files)
        )

    def fits(self, files: Files) -> bool:
        """Whether the only kdamond there is still as its owner left it."""
        if files.number("nr_kdamonds") != 1:
            return False
        now = self.of(files)
        # It ended by itself, with its last target (just now, if there is a pid), or was never on.
        if now.kdamond_started == 0 and now.kdamond in (0, self.kdamond):
            now = replace(now, kdamond=self.kdamond, kdamond_started=self.kdamond_started)
        return now == self


def signature(files: Files) -> str:
    """A hash of what tells one user's settings from another's; the kernel leaves those alone."""
    written = Kdamond(files).written()
    chosen = [
        f"{path}={text}" for path, text in written.items() if any(word in path for word in _SIGNED)
    ]
    return hashlib.sha256("\n".join(chosen).encode()).hexdigest()


def started_at(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where there is none."""
    try:
        stat = Stat.of(read(f"/proc/{pid}/stat"))
    except OSError:
        return 0
    return stat.started_ticks if stat else 0


def describe_user(files: Files, state: Path = STATE, modules: Path = MODULES) -> str:
    """Why the kernel's DAMON is not free, and whose it may be; empty where it is free."""
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
    what = f"{len(running)} of {count} kdamonds run" if running else "set up, but switched off"
    users = _possible_users()
    return f"in use by somebody else ({what}{f'; perhaps {users}' if users else ''})"


def _possible_users() -> str:
    """Processes that look like a user of the kernel's DAMON."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = [Path(word).name for word in (process.info["cmdline"] or ())[:2]]
        if any(word in ("damo", "damo.py", "damon") for word in words):
            found.append(f"{' '.join(words)} (pid {process.info['pid']})")
    return ", ".join(found[:3])
