"""What has been seen, for as long as it takes, in a bounded amount of memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pydamon.core.snapshot import Snapshot
from pydamon.live.frame import Frame, fold
from pydamon.live.making import frame_of, frames_of
from pydamon.recording import Recording

__all__ = ["History"]

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
