"""The recent past of a monitor, or a recording, in a bounded number of frames."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pydamon._data.recording import Recording
from pydamon._model.snapshot import Snapshot
from pydamon._show.frames.build import frame_of, frames_of
from pydamon._show.frames.frame import Frame, fold

__all__ = ["History"]

_FRAME_NS = 10**9
_MOST_PENDING = 20_000
"""Regions that wait to become part of a frame, so that a union stays cheap."""


class History:
    """Frames from the first to the newest; safe to use from several threads.

    Parameters
    ----------
    recent
        How many of the newest frames keep their length of about a second.
    past
        How many frames all older time takes at most. They are of one length, which doubles
        whenever there would be more: a day takes as much memory as an hour.
    frame_ns
        About how long a recent frame is.

    Notes
    -----
    A frame that replaces others covers exactly their time. So a reader that keeps a copy asks for
    the frames `since` the last version it saw, and drops the frames that a new one overlaps.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> history = History(recent=5, past=5)
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
    ...     for snapshot in mon.run("30s"):
    ...         history.add(snapshot)
    >>> len(history.frames()) < 20
    True
    """

    def __init__(self, *, recent: int = 600, past: int = 300, frame_ns: int = _FRAME_NS) -> None:
        self.frame_ns = frame_ns
        """About how long a recent frame is."""
        self._most_recent, self._most_past = recent, past
        self._lock = threading.Lock()
        self._pending: list[Snapshot] = []
        self._recent: list[tuple[int, Frame]] = []
        self._past: list[tuple[int, Frame]] = []
        self._folded_at_once = 1
        self._version = 0
        self._end_ns: int | None = None

    @classmethod
    def of(cls, recording: Recording, most: int = 600) -> History:
        """The history of a recording.

        Parameters
        ----------
        recording
            What to show.
        most
            How many frames to make at most; fewer snapshots become a frame each.

        Returns
        -------
        History
            With frames for the whole recording.
        """
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
        """Take the next snapshot; about once a second the new snapshots become a frame.

        The first snapshot makes a frame at once: a reader is waiting for the first picture.

        Parameters
        ----------
        snapshot
            Newer than all before it.
        """
        self._pending.append(snapshot)
        begin_ns = self._pending[0].start_ns if self._end_ns is None else self._end_ns
        many = sum(map(len, self._pending)) > _MOST_PENDING
        if self._end_ns is None or many or snapshot.end_ns - begin_ns >= self.frame_ns:
            self.flush()

    def flush(self) -> None:
        """Make a frame of the snapshots that are waiting."""
        if self._pending:
            frame = frame_of(self._pending, self._end_ns)
            self._pending = []
            self._put(frame)

    def frames(self) -> list[Frame]:
        """All frames, the oldest first."""
        with self._lock:
            return [frame for _, frame in (*self._past, *self._recent)]

    def since(self, version: int) -> list[tuple[int, Frame]]:
        """The frames that are newer than a version.

        Parameters
        ----------
        version
            The last one that the reader has; 0 for all frames.

        Returns
        -------
        list of (int, Frame)
            Each frame with its version, in the order in which they were made.
        """
        with self._lock:
            newer = [item for item in (*self._past, *self._recent) if item[0] > version]
        return sorted(newer, key=lambda item: item[0])

    def _put(self, frame: Frame) -> None:
        with self._lock:
            self._recent.append((self._next(), frame))
            self._end_ns = frame.end_ns
            if len(self._recent) < self._most_recent + self._folded_at_once:
                return
            oldest = self._recent[: self._folded_at_once]
            self._recent = self._recent[self._folded_at_once :]
            self._past.append(self._folded(oldest))
            if len(self._past) > self._most_past:
                pairs = zip(self._past[::2], self._past[1::2], strict=False)
                rest = self._past[len(self._past) // 2 * 2 :]
                self._past = [self._folded(pair) for pair in pairs] + rest
                self._folded_at_once *= 2

    def _folded(self, items: Sequence[tuple[int, Frame]]) -> tuple[int, Frame]:
        return self._next(), fold([frame for _, frame in items])

    def _next(self) -> int:
        self._version += 1
        return self._version
