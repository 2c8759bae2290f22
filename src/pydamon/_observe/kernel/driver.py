"""A kdamond at work: its settings, its results, and its restarts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._model.attrs import Attrs, IntervalGoal
from pydamon._model.closing import Closing
from pydamon._model.errors import KernelError, ProbeError, ProbeUnavailable, UsageError
from pydamon._model.schemes import Scheme, SchemeStats
from pydamon._observe.kernel.claim import Claim
from pydamon._observe.kernel.kdamond import KernelTargets
from pydamon._observe.kernel.reader import Aggregation, EventReader, Reader, TriedReader, without
from pydamon._observe.kernel.settings import KdamondSettings

__all__ = ["Driver"]

_OVERDUE = 5
"""So many aggregations without a result are a reason to check whether the kdamond runs."""
_MAX_RESTARTS = 3
_PAUSE_S = 0.05
_EVERYTHING = Scheme("stat", name="everything")


class Driver(Closing):
    """Runs the kdamond of a claim on some targets, and starts it anew where they exit.

    With *events* off, results are read from files even where the tracepoint can be had. A driver
    is also the `SchemeRunner` of its monitor.
    """

    def __init__(
        self,
        claim: Claim,
        targets: KernelTargets,
        attrs: Attrs,
        goal: IntervalGoal | None = None,
        *,
        events: bool = True,
        probes: tuple[str, ...] = (),
        address_unit: int = 1,
        refresh_ns: int = 0,
    ) -> None:
        self.claim = claim
        self.attrs = attrs
        """The attributes in use, tuned ones included."""
        self.changed_ns = 0
        """When the settings changed last (monotonic)."""
        self.goal = goal
        self.schemes: tuple[Scheme, ...] = ()
        """The schemes that the kernel applies."""
        self.probes = probes
        """The kinds of pages whose samples the kernel counts; none where it cannot."""
        self._targets = targets
        self._events = events
        self._unit = address_unit
        self._refresh_ns = refresh_ns
        self._kdamond = claim.kdamond
        self._reader: Reader | None = None
        self._pending: deque[Aggregation] = deque()
        self._restarts = 0
        self._pid = -1
        self._begin_ns = self._seen_ns = 0
        self._on_forget: Callable[[], None] = lambda: None

    def start(self, on_forget: Callable[[], None]) -> None:
        """Switch the kdamond on.

        *on_forget* is called whenever earlier results are dropped, as by a restart. Raises
        `ProbeUnavailable` where this kernel cannot monitor this way.
        """
        self._on_forget = on_forget
        try:
            self._switch_on_first()
        except KernelError as error:
            if not self._targets.alive:
                raise
            raise ProbeUnavailable(
                f"the kernel's DAMON could not be started: {error}",
                hint=f"it may be built without support for {self._targets.operations}",
            ) from error

    @property
    def cpu_ns(self) -> int:
        """CPU time of the kernel's thread; 0 where it cannot be seen."""
        try:
            return int(Path(f"/proc/{self._pid}/schedstat").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return 0

    @property
    def waits(self) -> bool:
        """Whether `poll` itself waits for the next aggregation, or there is none to wait for."""
        return self._reader is None or self._reader.waits

    def set_schemes(self, schemes: Iterable[Scheme]) -> None:
        """Have the kernel apply these schemes only; see `SchemeRunner`."""
        before, self.schemes = self.schemes, tuple(schemes)
        if before == self.schemes or not self._kdamond.running:
            return
        try:
            self.change(self.attrs)
        except (ProbeError, UsageError):
            self.schemes = before
            self.change(self.attrs)
            raise

    def stats(self) -> list[tuple[SchemeStats, int]]:
        """What each scheme did so far, and how many bytes its quota allows now."""
        if not self.schemes or not self._kdamond.running:
            return []
        return self._kdamond.stats()[: len(self.schemes)]

    def passed_regions(self, schemes: Sequence[Scheme]) -> list[NDArray[np.int64]]:
        """Let the kernel try some schemes once; see `Kdamond.passed_regions`.

        Empty while targets come and go. Raises `ProbeUnavailable` where the kernel cannot do it.
        """
        if self._targets.exited() or not self._kdamond.running:
            return []
        settings = self._settings()
        known = len(settings.schemes)
        try:
            self.claim.change(replace(settings, schemes=(*settings.schemes, *schemes)))
            return self._kdamond.passed_regions(range(known, known + len(schemes)))
        except KernelError:  # a target exited just now
            return []
        finally:
            self._commit()

    def pause(self, paused: bool) -> None:
        """Let the kernel's thread rest, or go on.

        Raises `ProbeUnavailable` where this kernel cannot do that.
        """
        self._kdamond.pause(paused)

    def change(self, attrs: Attrs) -> None:
        """Give the kdamond these attributes, and the targets and schemes of now."""
        self.attrs = attrs
        self.changed_ns = time.monotonic_ns()
        self._commit()

    def _commit(self) -> None:
        """Give the kdamond the settings of now; restart it if a target has exited."""
        try:
            exited = self._targets.exited()
            if exited and not self._drop(exited):
                self._restart()
            else:
                self.claim.change(self._settings())
        except KernelError:
            if not self._targets.exited():
                raise
            self._restart()

    def update(self) -> None:
        """Feed goals to the kernel, take its tuned intervals, and follow the targets."""
        if self._kdamond.running:
            self._kdamond.feed_goals(self.schemes)
        if self.goal and self._kdamond.running:
            self.attrs = self._kdamond.tuned_attrs(self.attrs)
        if self._targets.refresh():
            try:
                self.change(self.attrs)
            except KernelError:  # a target exited just now
                self._restart()
            if self._reader:
                self._reader.expect(len(self._targets))
        self._targets.measure()

    def poll(self) -> None:
        """Read the aggregations that have ended, and check a kdamond that is overdue."""
        if self._reader is None:
            return  # the last target has exited
        try:
            new = [part for part in self._reader.read() if part.end_ns > self._begin_ns]
        except KernelError:
            new = []  # it has ended meanwhile
        self._pending.extend(new)
        now_ns = time.monotonic_ns()
        if new:
            self._seen_ns, self._restarts = now_ns, 0
        elif now_ns - self._seen_ns > _OVERDUE * self.attrs.aggregation_ns:
            self._check()

    def next(self) -> Aggregation | None:
        """Take the oldest aggregation that was read; `None` if there is none."""
        return self._pending.popleft() if self._pending else None

    def forget(self) -> None:
        """Drop all results so far."""
        if self._reader and not self._reader.waits:
            self._reader.read()
        self._pending.clear()
        self._begin_ns = self._seen_ns = time.monotonic_ns()
        self._on_forget()

    def close(self) -> None:
        """Stop reading; the claim switches the kdamond off."""
        if self._reader:
            self._reader.close()

    def _settings(self) -> KdamondSettings:
        # Without events, results are read from a scheme that tries every region.
        schemes = self.schemes if self._events else (*self.schemes, _EVERYTHING)
        targets = self._targets
        return KdamondSettings(
            targets.operations,
            targets.settings(),
            self.attrs,
            self.goal,
            schemes,
            self.probes,
            self._unit,
            self._refresh_ns,
        )

    def _switch_on_first(self) -> None:
        """Switch on, without probes where this kernel has none."""
        try:
            self._switch_on()
        except ProbeUnavailable:
            if not self.probes:
                raise
            self.probes = ()
            self._kdamond.stop()
            self._switch_on()

    def _switch_on(self) -> None:
        self.changed_ns = time.monotonic_ns()
        self.claim.start(self._settings())
        self._pid = self._kdamond.pid
        self._reader = self._open_reader()
        self._targets.measure()
        self.forget()

    def _open_reader(self) -> Reader:
        if self._events:
            try:
                return EventReader(self._pid, len(self._targets), len(self.probes), self._unit)
            except ProbeUnavailable:
                if self.probes:
                    raise
                self._events = False
                self.claim.change(self._settings())
        return TriedReader(self._kdamond, lambda: len(self.schemes))

    def _restart(self) -> None:
        """Start anew with the targets that live."""
        if self._reader:
            self._reader.close()
            self._reader = None
        for attempt in range(_MAX_RESTARTS + 1):
            self._kdamond.stop()
            if not self._targets.renumber():
                return
            try:
                self._switch_on()
                return
            except KernelError:  # a target has exited meanwhile
                if attempt == _MAX_RESTARTS:
                    raise
                time.sleep(_PAUSE_S)

    def _drop(self, exited: list[int]) -> bool:
        """Have the kernel forget targets, and nothing else; return whether it can."""
        if len(exited) == len(self._targets) or not self._kdamond.drop_targets(exited):
            return False
        if self._reader and not self._reader.waits:
            self._pending.extend(self._reader.read())  # with the numbers of before
        self._pending = deque(without(part, exited) for part in self._pending)
        self._targets.drop(exited)
        if self._reader:
            self._reader.renumber(len(self._targets))
        return True

    def _check(self) -> None:
        """Start a kdamond again that has stopped although its targets live."""
        self._seen_ns = time.monotonic_ns()
        if self._kdamond.running or not self._targets.alive:
            return
        self._restarts += 1
        if self._restarts > _MAX_RESTARTS:
            raise KernelError("the kernel's DAMON stops again and again, though its targets run")
        self._restart()
