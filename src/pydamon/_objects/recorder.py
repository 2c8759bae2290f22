"""Another process that records this interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from pydamon._data.formats.reader import read_recording
from pydamon._data.recording import Recording
from pydamon._model.errors import ProbeUnavailable

__all__ = ["SelfRecorder"]

_PATIENCE_S = 30


class SelfRecorder:
    """Records this process from another one, which heats none of its memory.

    Parameters
    ----------
    *options
        Options of `pydamon record`.

    Raises
    ------
    ProbeUnavailable
        If this interpreter cannot be recorded.
    """

    def __init__(self, *options: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="pydamon-")
        self._file = Path(self._directory.name, "watch.damon")
        try:
            self._process = self._start(options)
        except BaseException:
            self._directory.cleanup()
            raise

    def finish(self) -> Recording:
        """End the recording, and read it."""
        try:
            self._process.send_signal(signal.SIGINT)
            self._process.communicate(timeout=_PATIENCE_S)
            return read_recording(self._file)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End the recording, and drop it."""
        with self._process as process:  # which waits for it, and closes its pipe
            process.kill()
        self._directory.cleanup()

    def _start(self, options: tuple[str, ...]) -> subprocess.Popen[str]:
        """Start the process that records this one, and wait until it does."""
        recorder = subprocess.Popen(
            [
                *(sys.executable, "-m", "pydamon", "record", "--engine", "sampling"),
                *("--no-children", *options, "--out", str(self._file)),
                str(os.getpid()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the program, not for its monitor
        )
        assert recorder.stderr is not None
        lines = []
        for line in recorder.stderr:
            lines.append(line.strip())
            if line.startswith("watching "):
                return recorder
        recorder.wait()
        recorder.stderr.close()
        raise ProbeUnavailable(f"this interpreter cannot be watched: {' '.join(lines)}")
