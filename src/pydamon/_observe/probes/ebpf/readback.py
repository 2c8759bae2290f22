"""Another monitor at work: read back the accesses that it took."""

from __future__ import annotations

import time

from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.linux.monitors import other_monitor
from pydamon._observe.probes.ebpf.machine import Machine

__all__ = ["ReadBack"]


_ASK_NS = 10**9
"""How often to ask whether another monitor is at work."""


class ReadBack:
    """Switches reading back on and off: without another monitor it would only cost time."""

    def __init__(self) -> None:
        self.caveat = ""
        """Why figures may be wrong now, if they may."""
        self._other = self._why_not = ""
        self._asked_ns = -_ASK_NS

    @property
    def note(self) -> str:
        """What another monitor at work means for the figures; empty if there is none."""
        if not self._other or self.caveat:
            return self.caveat
        return f"{self._other} clears accessed bits, too; what it takes is read back"

    def ask(self, machine: Machine) -> None:
        """Find out whether another monitor is at work, unless that was done a moment ago."""
        now_ns = time.monotonic_ns()
        if now_ns - self._asked_ns >= _ASK_NS:
            self._asked_ns = now_ns
            self._other = other_monitor()
            self.apply(machine)

    def apply(self, machine: Machine) -> None:
        """Switch reading back on or off in a machine, as needed."""
        if self._why_not == "" or not self._other:
            try:
                machine.read_back(bool(self._other))
            except ProbeUnavailable as error:
                self._why_not = str(error)
        self.caveat = ""
        if self._other and self._why_not:
            self.caveat = (
                f"{self._other} clears accessed bits, too, and what it takes cannot be read back "
                f"({self._why_not}): memory in use may look idle, huge pages most of all"
            )
