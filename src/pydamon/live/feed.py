"""Where live views get their frames from: a monitor that runs beside them, or a recording."""

from __future__ import annotations

import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from pydamon.core.attrs import Attrs
from pydamon.core.closing import Closing
from pydamon.core.errors import PydamonError
from pydamon.core.units import format_duration, parse_duration_ns
from pydamon.engine import Monitor
from pydamon.live.history import History
from pydamon.recording import Recording

__all__ = ["Feed", "FrameSource", "Replay"]

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
