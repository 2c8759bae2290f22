"""Apply schemes to what a monitor sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from pydamon._act.memory import TargetMemory
from pydamon._act.runtime.page_filters import check
from pydamon._act.runtime.pipeline import AppliedScheme
from pydamon._model.closing import Closing
from pydamon._model.display import Displayable
from pydamon._model.errors import ProbeError, SchemeError
from pydamon._model.schemes.scheme import Scheme
from pydamon._model.snapshot import Snapshot
from pydamon._observe.monitor import Monitor
from pydamon._observe.sampling import SamplingMonitor

__all__ = ["AppliedSchemes", "apply"]


def apply(mon: Monitor, *schemes: Scheme, dry_run: bool = False) -> AppliedSchemes:
    """Apply schemes to every snapshot of a monitor, as in

        with (
            pydamon.monitor(pid, engine="sampling") as mon,
            pydamon.apply(mon, scheme) as applied,
        ):
            for snapshot in applied.run("10min"):
                print(applied[0].stats)

    With *dry_run* it is only counted what would be done, whoever monitors. Raises `SchemeError` for
    what this machine, or this user, cannot do to these targets.
    """
    if not (dry_run or isinstance(mon, SamplingMonitor)):
        raise SchemeError(
            "schemes are applied by pydamon only to what it samples itself",
            hint='use monitor(..., engine="sampling")',
        )
    return AppliedSchemes(mon, schemes, dry_run=dry_run)


class AppliedSchemes(Closing, Displayable):
    """Iterates over a monitor's snapshots, to each of which the schemes have been applied.

    Ends when the monitor does, or when all schemes are done.
    """

    def __init__(self, mon: Monitor, schemes: Sequence[Scheme], *, dry_run: bool = False) -> None:
        self._mon = mon
        self.dry_run = dry_run
        """Whether it only counts what would be done."""
        self._sampling = mon if isinstance(mon, SamplingMonitor) else None
        """The monitor, if it can look at single pages and change ages."""
        self._memories: dict[int, TargetMemory] = {}
        for scheme in schemes:
            check(scheme.filters, scans=self._sampling is not None and self._sampling.scans)
        self.schemes = tuple(AppliedScheme(scheme, dry_run=dry_run) for scheme in schemes)
        """The schemes with their state, in the order in which they are applied."""
        self._refresh()
        self._refuse()

    def __getitem__(self, index: int) -> AppliedScheme:
        return self.schemes[index]

    def __len__(self) -> int:
        return len(self.schemes)

    def __iter__(self) -> Iterator[Snapshot]:
        return self.run()

    @property
    def done(self) -> bool:
        """Whether there are schemes, and all of them have ended."""
        return bool(self.schemes) and all(scheme.done for scheme in self.schemes)

    def run(self, duration: str | timedelta | None = None) -> Iterator[Snapshot]:
        """The snapshots of the next *duration*, or until the targets are gone."""
        for snapshot in self._mon.run(duration):
            self.act_on(snapshot)
            yield snapshot
            if self.done:
                return

    def act_on(self, snapshot: Snapshot) -> None:
        """Apply the schemes to a snapshot of the monitor."""
        self._refresh()
        for scheme in self.schemes:
            tried = scheme.apply(snapshot, self._memories, self._young)
            if not scheme.resets_age or self._sampling is None:
                continue
            for target in {part.target for part in tried}:
                rows = sorted((p.start, p.end) for p in tried if p.target == target)
                self._sampling.reset_age(snapshot.targets[target], np.array(rows, np.int64))

    def complaints(self) -> list[str]:
        """Which processes are left alone since the last time, and why: a line each, for people."""
        found = [text for scheme in self.schemes for text in scheme.complaints]
        for scheme in self.schemes:
            scheme.complaints.clear()
        return found

    def close(self) -> None:
        """Let go of the targets; the monitor stays."""
        for memory in self._memories.values():
            memory.close()
        self._memories.clear()

    def _refresh(self) -> None:
        """Follow the targets as they come and go, and what they have mapped."""
        layout = self._mon.layout
        now = {process.pid: process for process in layout.processes}
        for pid, memory in list(self._memories.items()):
            if now.get(pid) is not memory.process:
                memory.close()
                del self._memories[pid]
        for process, mappings in zip(layout.processes, layout.mappings, strict=False):
            if process.pid in self._memories:
                self._memories[process.pid].update(mappings)
            else:
                self._memories[process.pid] = TargetMemory(process, mappings)

    def _refuse(self) -> None:
        """Say at once if a scheme can be applied to none of the targets."""
        for scheme in self.schemes:
            found = [(pid, scheme.refusal(memory)) for pid, memory in self._memories.items()]
            reasons = [(pid, refusal) for pid, refusal in found if refusal and not refusal.gone]
            if not reasons or len(reasons) < len(found):
                continue
            (pid, refusal), more = reasons[0], len(reasons) - 1
            whom = f"pid {pid}" + (f" and {more} more" if more else "")
            raise SchemeError(
                f"cannot apply {scheme.scheme.label} to {whom}: {refusal.why}", hint=refusal.hint
            )

    def _young(self, memory: TargetMemory, start: int, end: int) -> NDArray[np.bool_]:
        if self._sampling is None or memory.process not in self._sampling.layout.processes:
            raise ProbeError("its pages cannot be looked at")
        return self._sampling.young(memory.process, start, end)
