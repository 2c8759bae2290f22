"""Where live views get their frames from, and the bounded memory of what has been seen."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from pydamon._data.recording import Recording
from pydamon._model.attrs import Attrs
from pydamon._model.closing import Closing
from pydamon._model.errors import PydamonError
from pydamon._model.snapshot import Snapshot
from pydamon._model.units import format_duration, parse_duration_ns
from pydamon._observe.monitor import Monitor
from pydamon._show.frames.frames import Frame, fold
from pydamon._show.frames.making import frame_of, frames_of

__all__ = ["Feed", "FrameSource", "History", "Replay"]

_FRAME_NS = 10**9
_MOST_PENDING = 20_000
"""Regions that are kept until they become part of a frame, so that a union stays cheap."""


class History:
    """Frames from the first to the newest; safe to use from several threads.

    The newest *recent* frames are of about a second each. What is older is kept in at most *past*
    frames, of one length, which doubles whenever there would be more: a day takes as much memory
    as an hour. A frame that replaces others covers exactly their time, so that whoever keeps a
    copy asks for what is `since` the last one seen, and drops what a new frame overlaps.
    """

    def __init__(self, *, recent: int = 600, past: int = 300, frame_ns: int = _FRAME_NS) -> None:
        self.frame_ns = frame_ns
        """About how long a recent frame is."""
        self._most_recent, self._most_past = recent, past
        self._lock = threading.Lock()
        self._pending: list[Snapshot] = []
        self._recent: list[tuple[int, Frame]] = []
        self._past: list[tuple[int, Frame]] = []
        self._each = 1
        self._version = 0
        self._end_ns: int | None = None

    @classmethod
    def of(cls, recording: Recording, most: int = 600) -> History:
        """The history of a recording: as many frames as it has snapshots, or *most*."""
        history = cls(recent=most)
        for frame in frames_of(recording, most):
            history._put(frame)
        frames = history.frames()
        if frames:
            history.frame_ns = max(1, (frames[-1].end_ns - frames[0].start_ns) // len(frames))
        return history

    @property
    def version(self) -> int:
        """A number that grows with every frame."""
        return self._version

    def add(self, snapshot: Snapshot) -> None:
        """Take the next snapshot; about once a second a frame is made of those that came in.

        The first makes one at once, for there is somebody who waits for it.
        """
        self._pending.append(snapshot)
        begin_ns = self._pending[0].start_ns if self._end_ns is None else self._end_ns
        many = sum(map(len, self._pending)) > _MOST_PENDING
        if self._end_ns is None or many or snapshot.end_ns - begin_ns >= self.frame_ns:
            self.flush()

    def flush(self) -> None:
        """Make a frame of what is waiting for that."""
        if self._pending:
            frame = frame_of(self._pending, self._end_ns)
            self._pending = []
            self._put(frame)

    def frames(self) -> list[Frame]:
        """All of them, the oldest first."""
        with self._lock:
            return [frame for _, frame in (*self._past, *self._recent)]

    def since(self, version: int) -> list[tuple[int, Frame]]:
        """The frames that are newer than a version, with the version each has come with."""
        with self._lock:
            found = [one for one in (*self._past, *self._recent) if one[0] > version]
        return sorted(found, key=lambda one: one[0])

    def _put(self, frame: Frame) -> None:
        with self._lock:
            self._recent.append((self._next(), frame))
            self._end_ns = frame.end_ns
            if len(self._recent) < self._most_recent + self._each:
                return
            oldest, self._recent = self._recent[: self._each], self._recent[self._each :]
            self._past.append(self._folded(oldest))
            if len(self._past) > self._most_past:
                pairs = zip(self._past[::2], self._past[1::2], strict=False)
                rest = self._past[len(self._past) // 2 * 2 :]
                self._past = [self._folded(pair) for pair in pairs] + rest
                self._each *= 2

    def _folded(self, parts: Sequence[tuple[int, Frame]]) -> tuple[int, Frame]:
        return self._next(), fold([frame for _, frame in parts])

    def _next(self) -> int:
        self._version += 1
        return self._version


_PATIENCE_S = 10


class FrameSource(Protocol):
    """What a live view shows."""

    history: History
    live: bool
    """Whether there is more to come, as time goes by."""
    attrs: Attrs
    """How monitoring was asked for."""
    probe_name: str

    @property
    def ended(self) -> str:
        """Why nothing more will come; empty while something may."""
        ...

    @property
    def error(self) -> PydamonError | None:
        """What went wrong, if that is why it ended."""
        ...


class Feed(Closing):
    """Runs a monitor in a thread of its own, and keeps what it sees in `history`.

    It ends when the monitor does, or after *duration*. A context manager: leaving it stops the
    monitor, which it does not close.
    """

    live = True

    def __init__(self, mon: Monitor, duration: str | timedelta | None = None) -> None:
        self.history = History()
        self._snapshots = mon.run(duration)
        self.attrs = mon.attrs
        self.probe_name = mon.probe_name
        self._monitor = mon
        self._duration_ns = None if duration is None else parse_duration_ns(duration)
        self._ended = ""
        self._error: PydamonError | None = None
        self._thread = threading.Thread(target=self._run, name="pydamon-monitor", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> str:
        """Why nothing more will come; empty while something may."""
        return self._ended

    @property
    def error(self) -> PydamonError | None:
        """What went wrong, if that is why it ended."""
        return self._error

    def close(self) -> None:
        """Stop the monitor and wait until it has."""
        self._monitor.stop()
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        reason, begin_ns = "all that was watched has exited", time.monotonic_ns()
        try:
            for snapshot in self._snapshots:
                self.history.add(snapshot)
            passed_ns = time.monotonic_ns() - begin_ns
            if self._duration_ns is not None and passed_ns > 0.9 * self._duration_ns:
                reason = f"the {format_duration(self._duration_ns)} are over"
        except Exception as error:
            self._error = error if isinstance(error, PydamonError) else _unexpected(error)
            reason = str(self._error)
        finally:
            self.history.flush()
            self._ended = reason


def _unexpected(error: Exception) -> PydamonError:
    """An error that nobody has thought of, so that it can be reported, not thrown at a screen."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    file = Path(frame.f_code.co_filename).name
    found = PydamonError(
        f"monitoring failed: {type(error).__name__}: {error}",
        hint=f"this is a mistake in pydamon ({file}, line {line}): please report it",
    )
    found.__cause__ = error
    return found


class Replay:
    """A recording, in the place of a monitor that has ended."""

    live = False
    error = None

    def __init__(self, recording: Recording) -> None:
        self.history = History.of(recording)
        self.attrs = recording.info.attrs
        self.probe_name = recording.info.probe
        self.ended = recording.problem or "the recording ends here"
