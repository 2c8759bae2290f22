"""What a recording is of, for errors that say what there is where something was not found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydamon.analysis.folding import Outline
from pydamon.core.errors import RecordingError
from pydamon.core.names import printable
from pydamon.core.units import format_duration
from pydamon.recording import Recording, RecordingFile
from pydamon.recording.parts import DerivedFile

__all__ = ["never_empty"]

_SHOWN = 10


def never_empty(part: RecordingFile, whole: RecordingFile) -> RecordingFile:
    """A part of a recording; reading it raises `RecordingError` where nothing is in it.

    The error says what the *whole* has.
    """
    return _NeverEmpty(part, whole)


class _NeverEmpty(DerivedFile):
    def __init__(self, part: RecordingFile, whole: RecordingFile) -> None:
        super().__init__(part)
        self._every = whole

    def __iter__(self) -> Iterator[Recording]:
        empty = True
        for part in super().__iter__():
            empty = empty and not len(part.table)
            yield part
        if empty:
            raise RecordingError(f"nothing of {self.path} is in that part", hint=_of(self._every))


def _of(file: RecordingFile) -> str:
    """How long a recording is, and of what."""
    outline, hosts = Outline(file), dict[str, None]()
    low, high = 2**63 - 1, 0
    for part in file:
        outline.add(part)
        hosts |= dict.fromkeys(part.hosts)
        low = min(low, int(part.column("start").min(initial=low)))
        high = max(high, int(part.column("end").max(initial=0)))
    if not outline.targets:
        return "the recording has no snapshots"
    pids = _some(dict.fromkeys(str(target.pid) for target in outline.targets))
    named = _some(printable(host) for host in hosts if host)
    return (
        f"the recording is {format_duration(outline.duration_ns)} long, of addresses "
        f"{low:x}-{high:x} and pid {pids}" + (f", of host {named}" if named else "")
    )


def _some(words: Iterable[str]) -> str:
    every = list(words)
    return ", ".join(every[:_SHOWN]) + (", ..." if len(every) > _SHOWN else "")
