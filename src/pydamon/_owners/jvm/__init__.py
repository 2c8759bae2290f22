"""Owners from a running Java Virtual Machine: heap regions, code, metaspace, thread stacks.

`jcmd` of the same JDK asks it, through the socket that every HotSpot has, as the user that the
program runs as. No agent is loaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from pydamon._model.errors import TargetError
from pydamon._model.owners import MemoryView, Owners
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._owners.history import OwnerHistory
from pydamon._owners.inside import pids_outside
from pydamon._owners.jvm.layout import heap_views, jvm_owners
from pydamon._owners.jvm.text import JvmText, parse_jcmd
from pydamon._owners.stacks import ThreadStack, thread_stacks

__all__ = ["JvmWatch", "watch"]

_SECONDS = 20
_FIRST = ("VM.native_memory detail", "VM.info", "Thread.print")
_LATER = ("VM.native_memory detail", "VM.info")
"""`Thread.print` stops all threads for a moment, so that it is asked once only."""
_WITHOUT_TRACKING = (
    "the JVM runs without -XX:NativeMemoryTracking=detail: metaspace and the collector's own memory"
    " are named in part only"
)


def watch(pids: Sequence[int], jcmd: str) -> JvmWatch:
    """Begin to ask the first of these processes that is a Java Virtual Machine.

    *jcmd* is the path of that program; if empty, the JDK of the process is tried, and then `PATH`.

    Raises
    ------
    TargetError
        If none is a JVM, or it cannot be asked.
    """
    for pid in pids:
        try:
            mappings = parse_maps(read_maps(pid)).mappings
        except OSError:  # it ended, or is another user's
            continue
        # Only a JVM expects the signal that jcmd sends; another program would end by it.
        if any(Path(mapping.name).name == "libjvm.so" for mapping in mappings):
            return JvmWatch(pid, jcmd or _find_jcmd(pid))
    raise TargetError(
        "none of these processes is a Java Virtual Machine (with libjvm.so)",
        hint="name the pid of the program `java` itself, as its user or as root",
    )


def _find_jcmd(pid: int) -> str:
    beside = Path(f"/proc/{pid}/exe").readlink().with_name("jcmd")
    jcmd = str(beside) if beside.is_file() else shutil.which("jcmd")
    if jcmd is None:
        raise TargetError(
            "there is no `jcmd` beside the program's `java`, and none in PATH",
            hint="install a JDK of the same version (a JRE has no jcmd), or --owners jvm=JCMD",
        )
    return jcmd


class JvmWatch:
    """Asks a Java Virtual Machine again and again where its memory is."""

    def __init__(self, pid: int, jcmd: str) -> None:
        self._pid, self._jcmd = pid, jcmd
        self._history = OwnerHistory()
        self._threads: dict[int, str] = {}
        self._stacks: dict[int, ThreadStack] = {}
        self._views: tuple[MemoryView, ...] = ()
        self._has_native = True

    def observe(self, pids: Sequence[int]) -> None:
        """Take a snapshot."""
        time_ns = time.time_ns()
        told = parse_jcmd(self._ask(_LATER if self._history.snapshots else _FIRST))
        if told.threads:
            outside = pids_outside(self._pid, self._thread_ids())
            self._threads |= {
                tid: name
                for number, name in told.threads.items()
                if (tid := outside(number)) is not None
            }
        told.threads = self._threads
        self._has_native = bool(told.native)
        self._history.add(time_ns, self._owners_now(told))

    def owners(self) -> list[Owners]:
        """The owners so far."""
        notes = [] if self._has_native else [_WITHOUT_TRACKING]
        owners = self._history.owners(pids=[self._pid], notes=notes)
        return [replace(owners, views=self._views)]

    def forget(self, before_ns: int) -> None:
        """Drop what ended before a time."""
        self._history.forget(before_ns)

    def close(self) -> None:
        """Nothing is kept open."""

    def _thread_ids(self) -> set[int]:
        return {int(path.name) for path in Path(f"/proc/{self._pid}/task").iterdir()}

    def _owners_now(self, told: JvmText) -> Owners:
        mappings = parse_maps(read_maps(self._pid)).mappings
        self._views = heap_views(mappings)
        # A thread that runs now may have slept before: its stack is still where it was.
        fresh = {stack.tid: stack for stack in thread_stacks(self._pid, mappings)}
        alive = self._thread_ids()
        self._stacks = {tid: s for tid, s in {**self._stacks, **fresh}.items() if tid in alive}
        return Owners.of(jvm_owners(told, mappings, list(self._stacks.values())))

    def _ask(self, commands: Sequence[str]) -> str:
        """The output of several commands, which one `jcmd` reads as lines of an argument."""
        try:
            done: subprocess.CompletedProcess[str] = subprocess.run(
                [self._jcmd, str(self._pid), "\n".join(commands)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
                **_identity(self._pid),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TargetError(f"cannot ask the JVM of process {self._pid}: {error}") from None
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().split("\n")
            raise TargetError(f"jcmd cannot ask process {self._pid}: {lines[0]}")
        return done.stdout


class _Identity(TypedDict, total=False):
    """Whom `subprocess.run` runs a program as."""

    user: int
    group: int
    extra_groups: list[int]


def _identity(pid: int) -> _Identity:
    """Root asks as the user and the group of the process: a JVM may refuse all others."""
    owner = Path(f"/proc/{pid}").stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return {}
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
