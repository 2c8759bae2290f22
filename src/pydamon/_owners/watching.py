"""Ask providers who owns memory, again and again, and keep that beside a recording."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol, Self

from pydamon._model.errors import PydamonError, RecordingError, UsageError
from pydamon._model.owners import Owners
from pydamon._owners import PROVIDERS, Provider
from pydamon._owners.store import owners_file, write_owners

__all__ = ["OwnerWatch", "OwnersPoller", "OwnersRecorder", "watch_named"]

_LOG = logging.getLogger("pydamon")
_EVERY_S = 10.0
_RETRY_S = 1.0
_MOST_FAILURES = 2
"""So many failures running are no program that just ends."""
_MOST_OF_TIME = 0.05
"""Snapshots that take long are rarer, so that they take this part of the time at most."""


class OwnerWatch(Protocol):
    """What a provider's `watch(pids, argument)` returns."""

    def observe(self, pids: Sequence[int]) -> None:
        """Take a snapshot of the owners in these processes."""

    def owners(self) -> list[Owners]:
        """The owners of all snapshots so far, of each address space."""

    def forget(self, before_ns: int) -> None:
        """Drop what ended before a time."""

    def close(self) -> None:
        """Release what is open."""


def watch_named(choice: str, pids: Sequence[int]) -> OwnerWatch:
    """Open the provider of a choice `NAME` or `NAME=ARGUMENT`.

    Raises
    ------
    UsageError
        If there is no such provider, or a package that it needs is missing.
    TargetError
        If it cannot ask these processes.
    """
    module = import_module(f"pydamon._owners.{_provider_of(choice).place}")
    watch: OwnerWatch = module.watch(pids, choice.partition("=")[2])
    return watch


def _provider_of(choice: str) -> Provider:
    """The provider of a choice; raises `UsageError` if none has that name."""
    name = choice.partition("=")[0]
    watching = {provider.name: provider for provider in PROVIDERS if provider.argument is not None}
    if name not in watching:
        raise UsageError(
            f"{name!r} tells no owners while a recording is written",
            hint=f"known are {', '.join(watching)}",
        )
    return watching[name]


@dataclass
class _Watched:
    """A provider at work; `watch` is `None` until it could be opened."""

    name: str
    choice: str
    watch: OwnerWatch | None = None
    snapshots: int = 0
    due_s: float = 0.0
    failure: str = ""
    failures_running: int = 0


@dataclass
class OwnersPoller:
    """Takes snapshots in a thread of its own.

    Parameters
    ----------
    choices
        The providers: `NAME` or `NAME=ARGUMENT`.
    pids
        Tells the processes that are monitored now.
    told
        Is given the name of a provider, and its watch, which has just taken a snapshot.
    waits
        Whether the processes are only about to begin: providers are then opened as soon as they
        can.
    """

    choices: Sequence[str]
    pids: Callable[[], Sequence[int]]
    told: Callable[[str, OwnerWatch], None]
    waits: bool = False
    _watched: list[_Watched] = field(default_factory=list, init=False)
    _ends: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        for choice in self.choices:
            name = _provider_of(choice).name
            if name in {watched.name for watched in self._watched}:
                raise UsageError(f"{name} is named twice", hint="name it once")
            self._watched.append(_Watched(name, choice))
        with ExitStack() as stack:
            stack.callback(self._close)
            for watched in self._watched:
                if not self.waits:
                    watched.watch = watch_named(watched.choice, self.pids())
                    self._observe(watched)
            stack.pop_all()
        if self._watched:
            self._thread = threading.Thread(target=self._run, name="owners", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        if self._thread is not None:
            self._thread.join()
        self._close()

    def _close(self) -> None:
        for watched in self._watched:
            if watched.watch is not None:
                watched.watch.close()

    @property
    def failures(self) -> list[str]:
        """Why some providers tell nothing."""
        return [watched.failure for watched in self._watched if watched.failure]

    def _run(self) -> None:
        """Take snapshots when they are due, and a last one at the end."""
        ends = False
        while not ends:
            ends = self._ends.wait(0.5)
            for watched in self._watched:
                if ends or time.monotonic() >= watched.due_s:
                    self._try(watched, ends)

    def _try(self, watched: _Watched, ends: bool) -> None:
        """Take a snapshot; all else goes on without it."""
        try:
            if watched.watch is None:
                watched.watch = watch_named(watched.choice, self.pids())
            self._observe(watched)
            watched.failure, watched.failures_running = "", 0
        except (PydamonError, OSError) as error:
            watched.due_s = time.monotonic() + _RETRY_S
            if watched.watch is None:
                watched.failure = f"no owners from {watched.name}: {error}"
            elif not ends:
                self._has_failed(watched, error)

    def _has_failed(self, watched: _Watched, error: Exception) -> None:
        """Warn of a provider that has stopped to answer: once, and not if its program just ends."""
        watched.failures_running += 1
        if watched.failures_running < _MOST_FAILURES:
            return
        watched.due_s = time.monotonic() + _EVERY_S
        if not watched.failure:
            watched.failure = f"{watched.name} no longer tells owners: {error}"
            _LOG.warning("%s", watched.failure)

    def _observe(self, watched: _Watched) -> None:
        began_s = time.monotonic()
        assert watched.watch is not None
        watched.watch.observe(self.pids())
        self.told(watched.name, watched.watch)
        took_s = time.monotonic() - began_s
        # The first snapshot looks up names that later ones need not.
        rest_s = took_s / _MOST_OF_TIME if watched.snapshots else 0.0
        watched.snapshots += 1
        watched.due_s = began_s + max(_EVERY_S, rest_s)


class OwnersRecorder(OwnersPoller):
    """Replaces the files of owners beside a recording at each snapshot.

    Parameters
    ----------
    recording
        The recording that the files are written beside.
    force
        Overwrite files of owners that exist.
    """

    def __init__(
        self,
        choices: Sequence[str],
        recording: Path,
        pids: Callable[[], Sequence[int]],
        *,
        waits: bool = False,
        force: bool = False,
    ) -> None:
        super().__init__(choices, pids, self._write, waits)
        self._recording, self._force = recording, force

    def __enter__(self) -> Self:
        for choice in self.choices:
            path = owners_file(self._recording, _provider_of(choice).name)
            if path.exists() and not self._force:
                raise RecordingError(f"{path} exists already", hint="--force overwrites it")
        return super().__enter__()

    def _write(self, name: str, watch: OwnerWatch) -> None:
        write_owners(owners_file(self._recording, name), watch.owners())
