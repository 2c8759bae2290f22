"""Which lines of this program have memory that is idle: it is recorded while memray tracks it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydamon._data import analysis
from pydamon._data.analysis import OwnerUse
from pydamon._data.recording import AnyRecording
from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._model.owners import Owners
from pydamon._objects.recorder import SelfRecorder
from pydamon._owners.memray import memray_package, read

__all__ = ["AllocationWatch", "IdleAllocations"]

_OPTIONS = ("--page-map", "10s", "--update", "200ms", "--cpu-budget", "5")


@dataclass(frozen=True)
class IdleAllocations:
    """What this program has allocated since a watch began, and for how long that was."""

    recording: AnyRecording
    told: Owners
    duration_ns: int

    def below(self, function: str, idle_ns: int) -> list[OwnerUse]:
        """The owners with a function of that name in their stacks, the most idle bytes first.

        Memory is idle after *idle_ns* without an access.

        Raises
        ------
        ProbeUnavailable
            If nobody could look at single pages.
        """
        report = analysis.owners(self.recording, self.told, idle_ns=idle_ns)
        if not report.is_by_page:
            raise ProbeUnavailable(
                "nobody could look at single pages", hint="run as root, or with `pydamon daemon`"
            )
        return [use for use in report.owners if _has(use.path, function)]

    def has(self, function: str) -> bool:
        """Whether anything was ever allocated below a function of that name."""
        return any(_has(path, function) for path in self.told.paths)


def _has(path: tuple[str, ...], function: str) -> bool:
    return any(label.partition(" (")[0] == function for label in path)


class AllocationWatch(Closing):
    """Tracks the allocations and the page ages of this process until it is closed.

    Raises
    ------
    UsageError
        If memray is missing, or tracks this process already.
    ProbeUnavailable
        If this process cannot be watched.
    """

    def __init__(self) -> None:
        memray = memray_package()
        self._directory = tempfile.TemporaryDirectory(prefix="pydamon-")
        self._capture = Path(self._directory.name, "watch.memray")
        self._recorder: SelfRecorder | None = None
        self._tracker: Any = None
        try:
            self._recorder = SelfRecorder(*_OPTIONS)
            tracker = memray.Tracker(self._capture)
            tracker.__enter__()
        except RuntimeError as error:
            self.close()
            raise UsageError(f"memray cannot track this process: {error}") from None
        except BaseException:
            self.close()
            raise
        self._tracker, self._began_ns = tracker, time.monotonic_ns()

    def finish(self) -> IdleAllocations:
        """End the watch, and tell what is allocated now.

        Raises
        ------
        RecordingError
            If the recording cannot be read.
        """
        assert self._recorder is not None
        recorder, self._recorder = self._recorder, None
        duration_ns = time.monotonic_ns() - self._began_ns
        try:
            recording = recorder.finish()
            self._end_tracking()
            return IdleAllocations(recording, read(str(self._capture)), duration_ns)
        finally:
            self.close()

    def close(self) -> None:
        """End the watch without a result."""
        self._end_tracking()
        if self._recorder is not None:
            self._recorder.abandon()
            self._recorder = None
        self._directory.cleanup()

    def _end_tracking(self) -> None:
        if self._tracker is not None:
            tracker, self._tracker = self._tracker, None
            tracker.__exit__(None, None, None)
