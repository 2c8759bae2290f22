"""Frames for live views, in bounded number: of a monitor that runs in a thread, or a recording."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from pydamon._data.analysis.needs import NeedsOfSnapshots, needs
from pydamon._data.analysis.needs_curve import Needs, NeedsCurve
from pydamon._data.analysis.owners import OwnerReport
from pydamon._data.recording import Recording
from pydamon._model.attrs import Attrs
from pydamon._model.closing import Closing
from pydamon._model.errors import PydamonError, RecordingError
from pydamon._model.snapshot import Snapshot, Target
from pydamon._model.units import format_duration, parse_duration_ns
from pydamon._observe.monitor import Monitor
from pydamon._show.frames.ages import HeldAges
from pydamon._show.frames.build import frame_after, frames_of
from pydamon._show.frames.frame import Frame, Key, fold
from pydamon._show.frames.owners import LiveOwners

__all__ = ["Feed", "FrameSource", "History", "Replay"]

_FRAME_NS = 10**9
_MOST_NEEDS = 1000
"""Targets that have exited and still count in needs. With more, needs begin anew, so that
short-lived processes do not fill the memory in days."""
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
        self._held_ages = HeldAges()
        self._needs_so_far = NeedsOfSnapshots()
        self._needed_by: set[Key] = set()
        self._needs_lock = threading.Lock()
        self._needs: Needs | None = None
        self._needs_are_old = False
        self._recent: list[tuple[int, Frame]] = []
        self._past: list[tuple[int, Frame]] = []
        self._folded_at_once = 1
        self._version = 0
        self._end_ns: int | None = None
        self.owners: OwnerReport | None = None
        """Who owns the memory of all targets, as of the newest look at pages, if that is known."""
        self.owners_by_target: Mapping[Key, OwnerReport] = {}

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
        with suppress(RecordingError):  # pages have no ages
            history._needs = needs(recording)
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

    @property
    def needs(self) -> Needs | None:
        """How much memory the targets need; `None` where nobody has looked at pages."""
        with self._needs_lock:
            if self._needs_are_old:
                self._needs = self._needs_so_far.result()
                self._needs_are_old = False
            return self._needs

    def needs_of(self, target: Target) -> NeedsCurve | None:
        """How much memory a target needs.

        Parameters
        ----------
        target
            One of the targets of `frames`.

        Returns
        -------
        NeedsCurve or None
            The curve since the history began; `None` where nobody has looked at its pages.
        """
        curves = self.needs.targets if self.needs else ()
        return next((c for c in curves if c.target and c.target.key == target.key), None)

    def add(self, snapshot: Snapshot) -> None:
        """Take the next snapshot; about once a second the new snapshots become a frame.

        The first snapshot makes a frame at once: a reader is waiting for the first picture.

        Parameters
        ----------
        snapshot
            Newer than all before it.
        """
        if snapshot.page_ages is not None:
            self._add_to_needs(snapshot)
        self._pending.append(snapshot)
        begin_ns = self._pending[0].start_ns if self._end_ns is None else self._end_ns
        many = sum(map(len, self._pending)) > _MOST_PENDING
        if self._end_ns is None or many or snapshot.end_ns - begin_ns >= self.frame_ns:
            self.flush()

    def _add_to_needs(self, snapshot: Snapshot) -> None:
        with self._needs_lock:
            self._needed_by |= {target.key for target in snapshot.targets}
            if len(self._needed_by) > _MOST_NEEDS + len(snapshot.targets):
                self._needs_so_far = NeedsOfSnapshots()
                self._needed_by = {target.key for target in snapshot.targets}
            self._needs_so_far.add(snapshot)
            self._needs_are_old = True

    def flush(self) -> None:
        """Make a frame of the snapshots that are waiting."""
        if self._pending:
            frame = frame_after(self._held_ages, self._pending, self._end_ns)
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


_PATIENCE_S = 10


class FrameSource(Protocol):
    """What a live view shows: `Feed` and `Replay`, or a class of your own."""

    history: History
    """The frames so far."""
    live: bool
    """Whether more frames come as time goes by."""
    attrs: Attrs
    """The attributes that were asked for."""
    probe_name: str
    """What checks for accesses."""

    @property
    def ended(self) -> str:
        """Why no more frames come; empty while some may."""
        ...

    @property
    def error(self) -> PydamonError | None:
        """The error that ended it, if one did."""
        ...

    @property
    def caveat(self) -> str:
        """Why figures may be wrong at the moment; empty where no reason is known."""
        ...


class Feed(Closing):
    """Runs a monitor in a thread of its own, and keeps what it sees in `history`.

    Parameters
    ----------
    mon
        The monitor. It stays open when the feed is closed.
    duration
        How long to watch, as in `"10s"`; by default until all targets have exited.
    owners
        Whom to ask who owns the memory, if that is to be shown.

    Raises
    ------
    UsageError
        For a duration of 0, or without a unit.

    Examples
    --------
    >>> import time, pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon, Feed(mon, "5s") as feed:
    ...     while not feed.ended:
    ...         time.sleep(0.01)
    >>> [pydamon.format_size(size) for size in feed.history.frames()[-1].working_sets.values()]
    ['4 MiB']
    """

    live = True

    def __init__(
        self,
        mon: Monitor,
        duration: str | timedelta | None = None,
        owners: LiveOwners | None = None,
    ) -> None:
        self.history = History()
        self._owners = owners
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
        """Why no more frames come; empty while some may."""
        return self._ended

    @property
    def error(self) -> PydamonError | None:
        """The error that ended it, if one did."""
        return self._error

    @property
    def caveat(self) -> str:
        """Why figures may be wrong at the moment; empty where no reason is known."""
        return self._monitor.caveat

    def close(self) -> None:
        """Stop the monitor and wait until it has stopped."""
        self._monitor.stop()
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        reason, begin_ns = "all that was watched has exited", time.monotonic_ns()
        try:
            for snapshot in self._snapshots:
                self.history.add(snapshot)
                if self._owners is not None:
                    self._owners.see(snapshot)
                    self.history.owners_by_target = self._owners.by_target
                    self.history.owners = self._owners.report
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
    """A mistake in pydamon as an error to report: a traceback would ruin the screen."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    file = Path(frame.f_code.co_filename).name
    unexpected = PydamonError(
        f"monitoring failed: {type(error).__name__}: {error}",
        hint=f"this is a mistake in pydamon ({file}, line {line}): please report it",
    )
    unexpected.__cause__ = error
    return unexpected


class Replay:
    """A recording as a source of frames, which has ended.

    Parameters
    ----------
    recording
        What to show.
    owners, owners_by_target
        Who owns the memory at its end, of all and of single targets, if that is to be shown.

    Examples
    --------
    >>> import pathlib, tempfile, pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     file = pathlib.Path(directory, "run.damon")
    ...     with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
    ...         info = pydamon.RecordingInfo(mon.attrs, mon.probe_name, 0)
    ...         with pydamon.Recorder(file, info) as recorder:
    ...             for snapshot in mon.run("8s"):
    ...                 recorder.write(snapshot)
    ...     replay = Replay(pydamon.read_recording(file))
    >>> replay.ended
    'the recording ends here'
    """

    live = False
    error = None
    caveat = ""

    def __init__(
        self,
        recording: Recording,
        owners: OwnerReport | None = None,
        owners_by_target: Mapping[Key, OwnerReport] | None = None,
    ) -> None:
        self.history = History.of(recording)
        self.history.owners = owners
        self.history.owners_by_target = owners_by_target or {}
        self.attrs = recording.info.attrs
        self.probe_name = recording.info.probe
        self.ended = recording.problem or "the recording ends here"
