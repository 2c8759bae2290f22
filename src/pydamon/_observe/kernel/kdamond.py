"""A kdamond of the kernel's DAMON: its sysfs directory, typed, and its targets."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pydamon._model.attrs import Attrs, IntervalGoal
from pydamon._model.errors import KernelError, TargetError
from pydamon._model.schemes import Scheme, SchemeStats
from pydamon._model.snapshot import Footprint, Target
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.passed import write_probes
from pydamon._observe.kernel.scheme import (
    check_able,
    optional,
    read_stats,
    write_goal_values,
    write_scheme,
)
from pydamon._observe.kernel.settings import KdamondSettings, KernelTarget
from pydamon._observe.linux.monitors import ADMIN
from pydamon._observe.targets import Layout, Space

__all__ = [
    "ADMIN",
    "Kdamond",
    "KernelTargets",
    "node_borders",
    "target_numbers",
]

_US = 1000


class Kdamond:
    """Drives the directory *number* of *files*, whoever owns that kdamond (see `Claim`).

    Raises `KernelError` where the kernel refuses something, and `ProbeUnavailable` where it lacks
    something.
    """

    def __init__(self, files: Files, number: int = 0) -> None:
        self._files = files
        self._path = str(number)
        self._context = f"{number}/contexts/0"
        self._unit = 1
        """Bytes of a unit of addresses, as of the last settings."""

    @property
    def running(self) -> bool:
        """Whether the kdamond is on."""
        return self._files.read(f"{self._path}/state") == "on"

    @property
    def pid(self) -> int:
        """The pid of the kernel thread, in the first pid namespace; -1 while it is off."""
        return self._files.number(f"{self._path}/pid")

    def configure(self, settings: KdamondSettings) -> None:
        """Write all settings; a kdamond that runs takes them with `commit`."""
        write, context = self._files.write, self._context
        contexts = f"{self._path}/contexts/nr_contexts"
        if self._files.number(contexts) != 1:
            write(contexts, 1)
        optional(self._files, f"{self._path}/refresh_ms", settings.refresh_ns // 10**6, 0)
        write(f"{context}/operations", settings.operations)
        self._unit = settings.address_unit
        optional(self._files, f"{context}/addr_unit", self._unit, 1)
        self._write_attrs(settings.attrs, settings.goal)
        write_probes(self._files, f"{context}/monitoring_attrs/probes", settings.probes)
        self._write_targets(settings.targets)
        write(f"{context}/schemes/nr_schemes", len(settings.schemes))
        for number, scheme in enumerate(settings.schemes):
            path = f"{context}/schemes/{number}"
            write_scheme(self._files, path, scheme, settings.attrs, self._unit)
            check_able(self._files, context, settings.operations, scheme)
            write_goal_values(self._files, path, scheme.quota)

    def start(self) -> None:
        """Switch it on."""
        self.command("on")
        if not self.running:
            raise KernelError("the kernel's DAMON stopped at once: has the target exited?")

    def stop(self) -> None:
        """Switch it off; harmless where it is off."""
        if self.running:
            try:
                self.command("off")
            except KernelError:
                if self.running:  # it may have ended by itself meanwhile
                    raise

    def commit(self) -> None:
        """Make a kdamond that runs take the settings as written; counters carry over."""
        self.command("commit")

    def drop_targets(self, numbers: Collection[int]) -> bool:
        """Take targets out of a kdamond that runs; the others keep their regions and ages.

        Targets after them have lower numbers from then on, and must be written anew. Return False
        where this kernel cannot do that: `obsolete_target` came with Linux 6.19.
        """
        paths = self._files.numbered(f"{self._context}/targets")
        if not all(self._files.has(f"{path}/obsolete_target") for path in paths):
            return False
        for number, path in enumerate(paths):
            if number in numbers:
                # The kernel wants a process that lives, even for a target that it forgets.
                self._files.write(f"{path}/pid_target", os.getpid())
                self._files.write(f"{path}/obsolete_target", "Y")
        self.commit()
        return True

    def command(self, word: str) -> None:
        """Write a word to `state`, and wait until it is done."""
        self._files.write(f"{self._path}/state", word)

    def tuned_attrs(self, attrs: Attrs) -> Attrs:
        """Return *attrs* with the intervals that the kernel has tuned."""
        self.command("update_tuned_intervals")
        path = f"{self._context}/monitoring_attrs/intervals"
        sampling_ns = self._files.number(f"{path}/sample_us") * _US
        aggregation_ns = self._files.number(f"{path}/aggr_us") * _US
        return Attrs(
            sampling_ns,
            aggregation_ns,
            max(attrs.update_ns, aggregation_ns),
            attrs.min_regions,
            attrs.max_regions,
        )

    def stats(self) -> list[tuple[SchemeStats, int]]:
        """Return what each scheme did so far, and how many bytes its quota allows now."""
        self.command("update_schemes_stats")
        schemes = self._files.numbered(f"{self._context}/schemes")
        if any(self._files.has(f"{path}/quotas/effective_bytes") for path in schemes):
            self.command("update_schemes_effective_quotas")
        return [read_stats(self._files, path, self._unit) for path in schemes]

    def feed_goals(self, schemes: tuple[Scheme, ...]) -> None:
        """Give the kernel the current values of goals with the metric `user_input`."""
        fed = [
            write_goal_values(self._files, f"{self._context}/schemes/{number}", scheme.quota)
            for number, scheme in enumerate(schemes)
        ]
        if any(fed):
            self.command("commit_schemes_quota_goals")

    def tried_regions(self, scheme: int = 0) -> NDArray[np.int64]:
        """Return the regions that a scheme tries in its next apply interval; waits for it.

        Shape (n, 4): start, end, number of accesses and age of each region, sorted by address
        within each target.
        """
        self.command("update_schemes_tried_regions")
        rows = self._tried(scheme, ("start", "end", "nr_accesses", "age"))
        self.command("clear_schemes_tried_regions")
        rows[:, :2] *= self._unit
        return rows

    def passed_regions(self, schemes: Collection[int]) -> list[NDArray[np.int64]]:
        """Return what the filters of some schemes let pass in the next apply interval.

        For each scheme an array of shape (n, 4): number of the target, start, end and passed bytes
        of each region. Raises `ProbeUnavailable` where this kernel does not tell.
        """
        self.command("update_schemes_tried_regions")
        tried = [self._tried(number, ("start", "end", "sz_filter_passed")) for number in schemes]
        self.command("clear_schemes_tried_regions")
        return [np.column_stack([target_numbers(rows), self._unit * rows]) for rows in tried]

    def pause(self, paused: bool) -> None:
        """Let the kdamond rest, with all that it knows, or go on (Linux 7.2)."""
        self._files.write(f"{self._context}/pause", "Y" if paused else "N")
        self.commit()

    def _tried(self, scheme: int, names: Sequence[str]) -> NDArray[np.int64]:
        """Numbers about the regions that a scheme tried: shape (n, names)."""
        regions = self._files.numbered(f"{self._context}/schemes/{scheme}/tried_regions")
        rows = [[self._files.number(f"{path}/{name}") for name in names] for path in regions]
        return np.array(rows, np.int64).reshape(-1, len(names))

    def written(self) -> dict[str, str]:
        """The text of every file that can be written, by path below the kdamond."""
        root = self._files.root / self._path
        return {
            str(path.relative_to(root)): self._files.read(f"{self._path}/{path.relative_to(root)}")
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.stat().st_mode & 0o200
        }

    def _write_attrs(self, attrs: Attrs, goal: IntervalGoal | None) -> None:
        write, path = self._files.write, f"{self._context}/monitoring_attrs"
        for name, value_ns in (
            ("sample_us", attrs.sampling_ns),
            ("aggr_us", attrs.aggregation_ns),
            ("update_us", attrs.update_ns),
        ):
            write(f"{path}/intervals/{name}", max(1, value_ns // _US))
        if goal or self._files.has(f"{path}/intervals/intervals_goal"):
            values = (
                (goal.access_bp, goal.aggregations, goal.min_sampling_ns, goal.max_sampling_ns)
                if goal
                else (0, 0, 0, 0)
            )
            names = ("access_bp", "aggrs", "min_sample_us", "max_sample_us")
            for name, value in zip(names, values, strict=True):
                number = value // _US if name.endswith("_us") else value
                write(f"{path}/intervals/intervals_goal/{name}", number)
        # The kernel checks each write: the lower bound must not pass the upper on the way.
        write(f"{path}/nr_regions/max", max(attrs.max_regions, self._number_of_regions("min")))
        write(f"{path}/nr_regions/min", attrs.min_regions)
        write(f"{path}/nr_regions/max", attrs.max_regions)

    def _number_of_regions(self, which: str) -> int:
        return self._files.number(f"{self._context}/monitoring_attrs/nr_regions/{which}")

    def _write_targets(self, targets: tuple[KernelTarget, ...]) -> None:
        path = f"{self._context}/targets"
        self._files.write(f"{path}/nr_targets", len(targets))
        for number, target in enumerate(targets):
            if target.pid:
                self._files.write(f"{path}/{number}/pid_target", target.pid)
            self._files.write(f"{path}/{number}/regions/nr_regions", len(target.ranges))
            for index, (start, end) in enumerate(target.ranges):
                place = f"{path}/{number}/regions/{index}"
                self._files.write(f"{place}/start", start // self._unit)
                self._files.write(f"{place}/end", end // self._unit)


def target_numbers(rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """The number of the target of each tried region, by its start and end.

    The files do not name targets, but addresses start anew with each.
    """
    return np.cumsum(np.append(False, rows[1:, 0] < rows[:-1, 1])[: len(rows)]).astype(np.int32)


_MAX_TARGETS = 1000
_NO_FOOTPRINT = Footprint()


def node_borders(layout: Layout) -> NDArray[np.int64]:
    """Where one memory node follows another without a gap: kernel regions may cross there."""
    nodes = pairwise(layout.mappings[0].mappings)
    return np.array([high.start for low, high in nodes if low.end == high.start], np.int64)


class KernelTargets:
    """Follows a space, and keeps the number that the kernel has for each target.

    A target that has exited keeps its number until `drop` or `renumber`. *operations* are
    ``"vaddr"``, ``"fvaddr"`` or ``"paddr"``. Raises `TargetError` where there is no target.
    """

    def __init__(self, space: Space, operations: str) -> None:
        self._space = space
        self.operations = operations
        self.layout: Layout = space.update(_MAX_TARGETS)
        """The targets that live."""
        if not self.layout.targets:
            raise TargetError("there is nothing to watch: every target has exited")
        self.numbered: tuple[Target, ...] = self.layout.targets
        """All targets that the kernel has, by number."""
        self.footprints: tuple[Footprint, ...] = ()
        """The size of each numbered process, as of `measure`; 0 for one that has exited."""

    def __len__(self) -> int:
        return len(self.numbered)

    @property
    def alive(self) -> bool:
        """Whether any target lives."""
        return self._space.alive

    @property
    def node_borders(self) -> NDArray[np.int64]:
        """The borders of memory nodes, for physical memory."""
        is_physical = self.operations == "paddr"
        return node_borders(self.layout) if is_physical else np.zeros(0, np.int64)

    def refresh(self) -> bool:
        """Look at the space again and number new targets; return whether there are new ones."""
        layout = self._space.update(_MAX_TARGETS)
        if layout is self.layout:
            return False
        self.layout = layout
        by_pid = {target.pid: target for target in layout.targets}
        known = {target.pid for target in self.numbered}
        new = [target for target in layout.targets if target.pid not in known]
        self.numbered = (*(by_pid.get(t.pid, t) for t in self.numbered), *new)
        return bool(new)

    def renumber(self) -> bool:
        """Number the targets that live from 0 on; return whether there are any."""
        self.layout = self._space.update(_MAX_TARGETS)
        self.numbered = self.layout.targets
        return bool(self.numbered)

    def exited(self) -> list[int]:
        """The numbers of targets that have exited: the kernel takes no settings with them."""
        alive = {process.pid for process in self.layout.processes if process.alive}
        return [
            number
            for number, target in enumerate(self.numbered)
            if target.pid and target.pid not in alive
        ]

    def drop(self, numbers: Sequence[int]) -> None:
        """Forget some targets; those after them get lower numbers."""
        self.numbered = tuple(t for n, t in enumerate(self.numbered) if n not in numbers)
        self.measure()

    def measure(self) -> None:
        """Update `footprints`."""
        by_pid = {process.pid: process.footprint() for process in self.layout.processes}
        self.footprints = tuple(
            by_pid.get(target.pid, _NO_FOOTPRINT) for target in self.numbered if target.pid
        )

    def settings(self) -> tuple[KernelTarget, ...]:
        """The targets as a kdamond is told about them."""
        if self.operations == "vaddr":
            return tuple(KernelTarget(target.pid) for target in self.numbered)
        return tuple(
            KernelTarget(target.pid, tuple((int(start), int(end)) for start, end in ranges))
            for target, ranges in zip(self.numbered, self.layout.ranges, strict=True)
        )
