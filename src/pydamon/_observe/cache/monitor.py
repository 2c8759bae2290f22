"""Watch the page cache: reports at intervals, within a CPU budget."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from posixpath import normpath
from typing import Self

from pydamon._model.cache_use import (
    CacheReport,
    CgroupCache,
    FollowedFolios,
    lower_threshold,
)
from pydamon._model.errors import ProbeUnavailable, TargetError, UsageError
from pydamon._model.units import parse_duration_ns
from pydamon._observe.cache.budget import ReadBudget
from pydamon._observe.cache.cgroups import CacheFigures, cache_figures, cgroup_ids, memory_tree
from pydamon._observe.cache.rows import ReadSums, sums_by_path, used_by_path
from pydamon._observe.cache.tracer import FOLLOWED_MOST, Tracer

__all__ = ["CacheMonitor"]

_CHECK_S = 0.25
"""How often the budget and the number of followed folios are checked."""
_SHORTEST_NS = 10**8
_RECENT_NS = 10**9
_SOURCES = ("auto", "reads", "kernel")


class CacheMonitor:
    """Watches which parts of the page cache are in use, by cgroup.

    Reads are traced where the kernel allows it, by a BPF program at `folio_mark_accessed`. Page
    tables do not show these reads: `pydamon.monitor` sees memory that processes map, and this
    class sees files that they read. Folios that a process maps are left out here, so that the two
    can be added. Folios count for the cgroup that they are charged to.

    Parameters
    ----------
    source
        `"reads"` to trace reads; `"kernel"` for the kernel's own figures alone; `"auto"` (the
        default) to trace where that works.
    cpu_budget_percent
        What tracing and this process may take, of one CPU; `None` for no bound. Beyond it, fewer
        folios are followed, and then tracing rests part of the time.
    most_folios
        How many folios are followed at most.

    Raises
    ------
    ProbeUnavailable
        If reads cannot be traced, and `source` is `"reads"`.
    UsageError
        If there is no such source.

    Notes
    -----
    Spatial sampling is that of "Efficient MRC Construction with SHARDS" (FAST 2015), with a fixed
    number of followed folios. Bytes used within a time are estimates with a standard deviation;
    they are exact while all folios are followed. Reads after less than 0.1 s are not counted.

    Reads of one page again and again through one open file are one read to the kernel, until
    another page of that file is read.

    Examples
    --------
    >>> from pydamon.cache import CacheMonitor
    >>> with CacheMonitor(source="kernel") as monitor:
    ...     use = monitor.report()
    >>> use.source
    'kernel'
    """

    def __init__(
        self,
        source: str = "auto",
        cpu_budget_percent: float | None = 1.0,
        *,
        most_folios: int = FOLLOWED_MOST,
    ) -> None:
        if source not in _SOURCES:
            raise UsageError(f"there is no source {source!r}: name {', '.join(_SOURCES)}")
        if cpu_budget_percent is not None and not 0 < cpu_budget_percent < math.inf:
            raise UsageError("a CPU budget is above 0 %")
        if not 16 <= most_folios <= 1 << 24:
            raise UsageError("16 to 16777216 folios can be followed")
        self._tree = memory_tree()
        self._tracer: Tracer | None = None
        self._reason = "" if source != "kernel" else "only the kernel's figures were asked for"
        if source != "kernel":
            try:
                self._tracer = _started_tracer(self._tree, most_folios)
            except ProbeUnavailable as error:
                if source == "reads":
                    raise
                self._reason = str(error)
        self._budget = ReadBudget(cpu_budget_percent)
        self._refaults: dict[str, int] = {}
        self._began_ns = self._reported_ns = time.monotonic_ns()
        self._stopped = False
        self._read: tuple[int, FollowedFolios, dict[int, str]] | None = None
        """When folios and cgroups were read last: many ask within a second."""
        self._used: dict[int, dict[str, int]] = {}
        """What they told, by the time within which folios were read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End tracing."""
        if self._tracer is not None:
            self._tracer.close()
            self._tracer = None

    def stop(self) -> None:
        """Let `reports` end; safe in a signal handler."""
        self._stopped = True

    def path_of(self, cgroup: str) -> str:
        """The path of a cgroup below the root of cgroups.

        Parameters
        ----------
        cgroup
            Its path, with or without that of the root.

        Returns
        -------
        str
            The path, as in the rows of a report.

        Raises
        ------
        TargetError
            If there is no such cgroup.
        """
        path = normpath("/" + cgroup.removeprefix(str(self._tree)).strip("/"))
        if not (self._tree / path.strip("/") / "memory.stat").exists():
            raise TargetError(
                f"there is no cgroup {cgroup!r}",
                hint=f"name one below {self._tree}, as in system.slice",
            )
        return path

    def reports(
        self, interval: str | timedelta = "5s", duration: str | timedelta | None = None
    ) -> Iterator[CacheReport]:
        """Wait for an interval, again and again, and report.

        Parameters
        ----------
        interval
            The time between reports, such as `"5s"`.
        duration
            When to end; by default after `stop`.

        Yields
        ------
        CacheReport
            The page cache at the end of each interval.

        Raises
        ------
        UsageError
            If the interval is shorter than 100 ms.
        """
        interval_ns = parse_duration_ns(interval)
        if interval_ns < _SHORTEST_NS:
            raise UsageError("the shortest interval between reports is 100 ms")
        end_ns = self._began_ns + parse_duration_ns(duration) if duration is not None else None
        next_ns = time.monotonic_ns()
        while not self._stopped:
            next_ns += interval_ns
            if end_ns is not None:
                next_ns = min(next_ns, end_ns)
            self._wait_until(next_ns)
            yield self.report()
            if end_ns is not None and next_ns >= end_ns:
                return

    def report(self) -> CacheReport:
        """The page cache now; rates are those since the last report.

        Returns
        -------
        CacheReport
            A row for each cgroup.
        """
        now_ns = time.monotonic_ns()
        elapsed_s = max(1, now_ns - self._reported_ns) / 1e9
        watched_ns = now_ns - self._began_ns if self._tracer else 0
        rows = tuple(self._rows(elapsed_s, watched_ns))
        self._reported_ns = now_ns
        paid = self._budget.take()
        return CacheReport(
            time.time_ns(),
            watched_ns,
            "reads" if self._tracer else "kernel",
            self._reason,
            rows,
            self._tracer.followed_share if self._tracer else 1.0,
            self._budget.observed_share if self._tracer else 0.0,
            paid.seen / elapsed_s,
            paid.missed,
            100 * paid.spent_ns / 1e9 / elapsed_s,
        )

    @property
    def is_tracing(self) -> bool:
        """Whether reads are traced, and not only the kernel's figures known."""
        return self._tracer is not None

    def check(self) -> None:
        """Keep within the budget: to be called a few times a second while no report is waited for.

        `reports` does so itself.
        """
        if self._tracer is not None:
            self._check(self._tracer)

    def used_within(self, cgroup: str, within_ns: int) -> int | None:
        """Estimate how much page cache of a cgroup and those below it was read within a time.

        Parameters
        ----------
        cgroup
            Its path, as in the rows of a report.
        within_ns
            The time before now.

        Returns
        -------
        int or None
            Bytes in folios that no process maps; `None` where reads are not traced.
        """
        if self._tracer is None:
            return None
        return self.used_by_cgroup(within_ns).get(cgroup.rstrip("/") or "/", 0)

    def used_by_cgroup(self, within_ns: int) -> dict[str, int]:
        """Estimate how much page cache each cgroup, with those below it, read within a time.

        Parameters
        ----------
        within_ns
            The time before now.

        Returns
        -------
        dict
            Bytes by the paths of cgroups; empty where reads are not traced.
        """
        if self._tracer is None:
            return {}
        now_ns = time.monotonic_ns()
        if self._read is None or now_ns - self._read[0] > _RECENT_NS:
            self._read = now_ns, self._tracer.folios(), cgroup_ids(self._tree)
            self._used.clear()
        if within_ns not in self._used:
            self._used[within_ns] = used_by_path(self._read[1], within_ns, self._read[2])
        return self._used[within_ns]

    def _wait_until(self, end_ns: int) -> None:
        while not self._stopped and (left_s := (end_ns - time.monotonic_ns()) / 1e9) > 0:
            if self._tracer is None:
                time.sleep(min(left_s, 1))
            else:
                time.sleep(min(left_s, _CHECK_S))
                self._check(self._tracer)

    def _check(self, tracer: Tracer) -> None:
        """Follow fewer folios where they are too many or too busy; rest where all is too much."""
        share = self._budget.account(tracer.counters())
        threshold = lower_threshold(
            tracer.threshold,
            tracer.followed / tracer.capacity,
            share / self._budget.followed_share,
        )
        if threshold < tracer.threshold:
            tracer.lower(threshold)
        if self._budget.may_trace:
            tracer.start()
        else:
            tracer.rest()

    def _sums(self, paths: Mapping[int, str]) -> dict[str, ReadSums]:
        if self._tracer is None:
            return {}
        self._check(self._tracer)
        reuses = self._tracer.reuses()
        return sums_by_path(self._tracer.folios(), reuses, paths)

    def _rows(self, elapsed_s: float, watched_ns: int) -> Iterator[CgroupCache]:
        ids = cgroup_ids(self._tree)
        sums = self._sums(ids)
        refaults_before, self._refaults = self._refaults, {}
        for path in sorted({*ids.values(), *sums}):
            figures = cache_figures(self._tree, path) if path else CacheFigures(0, 0, None)
            if figures is None or not (figures.total_bytes or path in sums):
                continue
            refaults_per_s = None
            if figures.refaults is not None:
                self._refaults[path] = figures.refaults
                if path in refaults_before:
                    refaults_per_s = (figures.refaults - refaults_before[path]) / elapsed_s
            of_reads = sums.get(path, ReadSums()).columns(elapsed_s, watched_ns)
            yield CgroupCache(
                path,
                figures.total_bytes,
                figures.active_bytes,
                figures.inactive_bytes,
                refaults_per_s,
                **(of_reads if self._tracer else {}),
            )


def _started_tracer(tree: Path, most_folios: int) -> Tracer:
    tracer = Tracer(most_folios)
    try:
        tracer.start()
        tracer.find_charge(cgroup_ids(tree))
    except BaseException:
        tracer.close()
        raise
    return tracer
