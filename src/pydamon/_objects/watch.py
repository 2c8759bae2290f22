"""Watches this interpreter from another process, which heats none of its memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydamon._data.recording import Recording
from pydamon._model.closing import Closing
from pydamon._model.owners import Owners
from pydamon._model.regions import PAGE_SIZE
from pydamon._objects.buffers import Buffer, find_buffers
from pydamon._objects.owners import owners_of
from pydamon._objects.recorder import SelfRecorder
from pydamon._objects.report import ObjectReport, attribute
from pydamon._observe.probes.registry import PROBES

__all__ = ["Watch", "watch"]

_DONTDUMP, _DODUMP = 16, 17
_MOST_SPLIT = 5000
_MOST_REGIONS = 10_000
"""Enough that hardly any region lies across the border of an object."""
_PAGE_MAP = ("--page-map", "1min")
"""Only the last map counts: there is one at the end, however long the others are apart."""


def watch(
    namespace: Mapping[str, Any] | None = None,
    *,
    cpu_budget_percent: float = 5.0,
    probe: str = "auto",
) -> Watch:
    """Watch how a block of code uses the objects of this interpreter.

    Another process does the monitoring; it takes about a second to start.

    Parameters
    ----------
    namespace
        Variables to name objects by, as for `find_buffers`. They are searched when the block ends:
        objects that were freed before are not in the report.
    cpu_budget_percent
        The share of one CPU that monitoring may cost.
    probe
        `"exact"` looks at single pages and needs root; `"refs"` counts what was touched in each
        mapping; `"auto"` takes the first that works. `"pages"` keeps the age of each page, from
        which `pydamon.analysis.owners` tells idle bytes; without root it is `"refs"`.

    Returns
    -------
    Watch
        A context manager with the `report`.

    Raises
    ------
    ProbeUnavailable
        Where this interpreter cannot be watched.

    Examples
    --------
    >>> import pydamon
    >>> def unused_names(work):
    ...     with pydamon.objects.watch() as watching:
    ...         work()
    ...     return watching.report.named("untouched")
    """
    return Watch(lambda: namespace, cpu_budget_percent=cpu_budget_percent, probe=probe)


class Watch(Closing):
    """Watches this process until it is closed; then there is a `report`.

    Parameters
    ----------
    namespace
        Called for the variables to name objects by, at the start and at the end.
    cpu_budget_percent, probe
        As for `watch`.

    Raises
    ------
    ProbeUnavailable
        Where this interpreter cannot be watched.

    Examples
    --------
    >>> import pydamon
    >>> def hot_names(work, variables):
    ...     with pydamon.objects.Watch(lambda: variables, probe="refs") as watching:
    ...         work()
    ...     return watching.report.named("hot")
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
        self._owners: Owners | None = None
        if probe == "auto":
            # These probes count touched bytes; a sample stands for a region, which blurs borders.
            probe = "exact" if _exact_works() else "refs"
        maps: tuple[str, ...] = ()
        if probe == "pages":
            probe, maps = ("auto", _PAGE_MAP) if _exact_works() else ("refs", ())
        self._separated = find_buffers(namespace())[:_MOST_SPLIT]
        _separate(self._separated, _DONTDUMP)
        try:
            self._recorder = SelfRecorder(
                *("--probe", probe, "--update", "200ms", *maps),
                *("--max-regions", str(_MOST_REGIONS)),
                *("--cpu-budget", f"{cpu_budget_percent:g}"),
            )
        except BaseException:
            _separate(self._separated, _DODUMP)
            raise

    @property
    def report(self) -> ObjectReport:
        """How objects were used; ends the watch."""
        self.close()
        assert self._report is not None
        return self._report

    @property
    def recording(self) -> Recording:
        """All accesses; ends the watch."""
        self.close()
        assert self._recording is not None
        return self._recording

    @property
    def owners(self) -> Owners:
        """The objects as owners of their memory, for `analysis.owners`; ends the watch."""
        self.close()
        assert self._owners is not None
        return self._owners

    def close(self) -> None:
        """End the watch, and make the report."""
        if self._report is not None:
            return
        self._recording = self._recorder.finish()
        _separate(self._separated, _DODUMP)
        buffers, blurred = find_buffers(self._namespace()), list[Buffer]()
        self._owners = owners_of(buffers)
        if self._recording.info.probe == "refs":
            # It counts by mapping, and objects that came later share theirs with others.
            spans = {span for buffer in self._separated for span in buffer.spans}
            blurred = [buffer for buffer in buffers if not spans.issuperset(buffer.spans)]
            buffers = [buffer for buffer in buffers if spans.issuperset(buffer.spans)]
        self._report = attribute(self._recording, buffers, os.getpid(), unknown=blurred)


def _exact_works() -> bool:
    return any(probe.availability().works for probe in PROBES if probe.name == "exact")


def _separate(buffers: Sequence[Buffer], advice: int) -> None:
    """Make the whole pages of each object a mapping of their own, or undo that.

    The kernel merges neighbouring mappings with the same flags, so these get a flag of their own:
    they are left out of core dumps. The `refs` probe tells mappings apart; and for the other probes
    no huge page, which has one accessed bit, reaches across the border of a mapping.
    """
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for buffer in buffers:
        for start, end in buffer.spans:
            first, beyond = -(-start // PAGE_SIZE) * PAGE_SIZE, end // PAGE_SIZE * PAGE_SIZE
            if first < beyond:
                madvise(first, beyond - first, advice)
