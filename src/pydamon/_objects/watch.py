"""Watching this interpreter from outside, so that monitoring does not touch what it measures."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydamon._data.formats.reader import read_recording
from pydamon._data.recording import Recording
from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable
from pydamon._model.regions import PAGE_SIZE
from pydamon._objects.buffers import Buffer, find_buffers
from pydamon._objects.report import ObjectReport, attribute
from pydamon._observe.probes import PROBES

__all__ = ["Watch", "watch"]

_DONTDUMP, _DODUMP = 16, 17
_MOST_SPLIT = 5000
_MOST_REGIONS = 10_000
"""So many that hardly any has to be drawn across the border of an object."""
_PATIENCE_S = 30


def watch(
    namespace: Mapping[str, Any] | None = None,
    *,
    cpu_budget_percent: float = 5.0,
    probe: str = "auto",
) -> Watch:
    """Watch how the objects of this interpreter are used, as in

        with pydamon.objects.watch() as watching:
            work()
        print(watching.report.named("untouched"))

    They are looked for in the *namespace* (by default everywhere, see `find_buffers`) when the
    block is left. What was freed before that is not in the report. Another process does the
    monitoring, which takes about a second to start. Raises `ProbeUnavailable`.
    """
    return Watch(lambda: namespace, cpu_budget_percent=cpu_budget_percent, probe=probe)


class Watch(Closing):
    """Watches this process until it is closed; then there is a `report`.

    *namespace* is called for the variables to name objects by.
    """

    def __init__(
        self,
        namespace: Callable[[], Mapping[str, Any] | None],
        *,
        cpu_budget_percent: float = 5.0,
        probe: str = "auto",
    ) -> None:
        self._namespace = namespace
        self._report: ObjectReport | None = None
        self._recording: Recording | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="pydamon-")
        self._file = Path(self._directory.name, "watch.damon")
        if probe == "auto":
            # These count what was touched; samples, each of which speaks for a region, blur it.
            probe = "exact" if _exact_works() else "refs"
        self._apart = find_buffers(namespace())[:_MOST_SPLIT]
        _set_apart(self._apart, _DONTDUMP)
        self._recorder = self._start(probe, cpu_budget_percent)

    @property
    def report(self) -> ObjectReport:
        """How objects were used; ends the watch."""
        self.close()
        assert self._report is not None
        return self._report

    @property
    def recording(self) -> Recording:
        """Everything that was seen; ends the watch."""
        self.close()
        assert self._recording is not None
        return self._recording

    def close(self) -> None:
        """End the watch, and make the report."""
        if self._report is not None:
            return
        self._recorder.send_signal(signal.SIGINT)
        self._recorder.communicate(timeout=_PATIENCE_S)
        _set_apart(self._apart, _DODUMP)
        buffers = find_buffers(self._namespace())
        self._recording = read_recording(self._file)
        self._directory.cleanup()
        if self._recording.info.probe == "refs":
            known = {span for one in self._apart for span in one.spans}
            buffers, blurred = _parted(buffers, lambda one: known.issuperset(one.spans))
        else:
            blurred = []
        self._report = attribute(self._recording, buffers, os.getpid(), unknown=blurred)

    def _start(self, probe: str, cpu_budget_percent: float) -> subprocess.Popen[str]:
        """Another process that records this one, once it does."""
        recorder = subprocess.Popen(
            [
                *(sys.executable, "-m", "pydamon", "record", "--engine", "sampling"),
                *("--probe", probe, "--no-children", "--update", "200ms"),
                *("--max-regions", str(_MOST_REGIONS)),
                *("--cpu-budget", f"{cpu_budget_percent:g}", "--out", str(self._file)),
                str(os.getpid()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the program, not for its monitor
        )
        assert recorder.stderr is not None
        said = []
        for line in recorder.stderr:
            said.append(line.strip())
            if line.startswith("watching "):
                return recorder
        recorder.wait()
        _set_apart(self._apart, _DODUMP)
        self._directory.cleanup()
        raise ProbeUnavailable(f"this interpreter cannot be watched: {' '.join(said)}")


def _exact_works() -> bool:
    return any(probe.availability().works for probe in PROBES if probe.name == "exact")


def _set_apart(buffers: Sequence[Buffer], advice: int) -> None:
    """Make the whole pages of each object a mapping of their own, or no longer.

    The kernel makes one mapping of neighbours that are alike. Being left out of core dumps is a
    difference, and no other effect. The `refs` probe tells mappings apart; for all others no huge
    page, which has one accessed bit, reaches across the border of a mapping.
    """
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for buffer in buffers:
        for start, end in buffer.spans:
            first, beyond = -(-start // PAGE_SIZE) * PAGE_SIZE, end // PAGE_SIZE * PAGE_SIZE
            if first < beyond:
                madvise(first, beyond - first, advice)


def _parted(
    buffers: list[Buffer], which: Callable[[Buffer], bool]
) -> tuple[list[Buffer], list[Buffer]]:
    chosen = [one for one in buffers if which(one)]
    return chosen, [one for one in buffers if not which(one)]
