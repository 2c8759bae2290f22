"""Sources of frames for live views: a monitor that runs in a thread, or a recording."""

from __future__ import annotations

import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from pydamon._data.recording import Recording
from pydamon._model.attrs import Attrs
from pydamon._model.closing import Closing
from pydamon._model.errors import PydamonError
from pydamon._model.units import format_duration, parse_duration_ns
from pydamon._observe.monitor import Monitor
from pydamon._show.frames.history import History

__all__ = ["Feed", "FrameSource", "Replay"]

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

    def __init__(self, recording: Recording) -> None:
        self.history = History.of(recording)
        self.attrs = recording.info.attrs
        self.probe_name = recording.info.probe
        self.ended = recording.problem or "the recording ends here"
