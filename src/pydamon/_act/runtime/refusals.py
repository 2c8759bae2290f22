"""Processes that a scheme leaves alone, because they, or this user, do not allow it to act."""

from __future__ import annotations

import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from pydamon._act.memory import Refusal, TargetMemory

__all__ = ["Refusals"]

_ASK_AGAIN_S = 5.0


class Refusals:
    """Remembers which processes refuse, and tells people once.

    Parameters
    ----------
    label
        The name of the scheme.
    ask
        Returns why a process cannot be acted on now; `None` where it can.
    """

    def __init__(self, label: str, ask: Callable[[TargetMemory], Refusal | None]) -> None:
        self.complaints: list[str] = []
        """What people are to be told, each once."""
        self._label = label
        self._ask = ask
        self._answers = WeakKeyDictionary[TargetMemory, tuple[Refusal | None, float]]()
        self._told = WeakKeyDictionary[TargetMemory, str]()

    def of(self, memory: TargetMemory) -> Refusal | None:
        """Why a process cannot be acted on; `None` where it can."""
        now_s = time.monotonic()
        refusal, asked_s = self._answers.get(memory, (None, now_s))
        # A program that refuses may start another one that does not.
        is_stale = refusal is not None and now_s - asked_s >= _ASK_AGAIN_S
        if memory not in self._answers or is_stale:
            refusal = self._ask(memory)
            self._answers[memory] = refusal, now_s
        return refusal

    def allows(self, memory: TargetMemory) -> bool:
        """Whether a process can be acted on; if not, people are told."""
        refusal = self.of(memory)
        if refusal is not None:
            self._tell(memory, refusal)
        return refusal is None

    def add(self, memory: TargetMemory, refusal: Refusal) -> None:
        """Leave a process alone for now, because an action failed on it."""
        self._answers[memory] = refusal, time.monotonic()
        self._tell(memory, refusal)

    def _tell(self, memory: TargetMemory, refusal: Refusal) -> None:
        if refusal.gone or self._told.get(memory) == refusal.why or not memory.process.alive:
            return
        self._told[memory] = refusal.why
        pid = memory.process.pid
        self.complaints.append(f"{self._label}: pid {pid} is left alone: {refusal.why}")
