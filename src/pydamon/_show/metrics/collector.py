"""The metrics of targets and groups, made from the last snapshot when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pydamon._act.policies import read_statuses
from pydamon._model.carried_ages import CarriedAges
from pydamon._model.display import printable
from pydamon._model.snapshot import Snapshot
from pydamon._observe.linux.cgroups import cgroup_of
from pydamon._observe.monitor import Monitor
from pydamon._observe.targets.remembered import Remembered
from pydamon._show.metrics.containers import ContainerSeries
from pydamon._show.metrics.figures import (
    IDLE_S,
    OTHER,
    Figures,
    families_of,
    figures_of,
    largest_groups,
)
from pydamon._show.metrics.returns import ReturnCounters

__all__ = ["IDLE_S", "Metrics", "figures_of"]

_OWN_AFTER_NS = 60 * 10**9
_Key: TypeAlias = tuple[str, int, int, str]
"""`Target.key`."""

_SCHEME_COUNTERS = {
    "tried_bytes": ("sz_tried", "Memory to which the scheme applied, within its quota."),
    "applied_bytes": ("sz_applied", "Memory for which the action is known to have happened."),
    "tried_regions": ("nr_tried", "Regions to which the scheme applied, within its quota."),
    "applied_regions": ("nr_applied", "Regions for which the action is known to have happened."),
    "quota_exceeds": ("qt_exceeds", "Charge windows that ended with all of the quota spent."),
}


@dataclass(frozen=True, slots=True)
class _State:
    """What `collect` needs, all of one moment; `since_ns` says when watching each target began."""

    snapshot: Snapshot | None = None
    probe: str = ""
    caveat: str = ""
    since_ns: Mapping[_Key, int] | None = None


@dataclass(slots=True)
class _Totals:
    """Counters over all snapshots."""

    snapshots: int = 0
    cpu_ns: int = 0
    interruption_ns: int = 0
    late_samples: int = 0

    def add(self, snapshot: Snapshot) -> None:
        self.snapshots += 1
        self.cpu_ns += snapshot.cost.cpu_ns
        self.interruption_ns += snapshot.cost.interruption_ns
        self.late_samples += snapshot.cost.late_ticks


class Metrics(Collector):
    """What a monitor sees, as a collector for `prometheus_client`.

    Parameters
    ----------
    processes
        How many processes, how many cgroups, and how many containers have series of their own: the
        largest working sets count. The rest is summed up as "other". So are processes in their
        first minute, unless they were there at the first snapshot.
    cpu_budget_percent
        The budget of monitoring, to be shown beside its cost.

    Examples
    --------
    >>> import pydamon
    >>> from prometheus_client import CollectorRegistry
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> registry, metrics = CollectorRegistry(), Metrics(processes=20)
    >>> registry.register(metrics)
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
    ...     for snapshot in mon.run("2s"):
    ...         metrics.update(snapshot, mon)
    >>> registry.get_sample_value("pydamon_processes") == 1
    True
    """

    def __init__(self, *, processes: int = 50, cpu_budget_percent: float | None = None) -> None:
        self._most = processes
        self._budget = cpu_budget_percent
        self._state = _State()
        self._totals = _Totals()
        self._ages = CarriedAges()
        self._returns = ReturnCounters(IDLE_S, ("", OTHER))
        self._containers = ContainerSeries(processes)
        self._cgroups = Remembered(cgroup_of)

    def update_cache(self, used: Mapping[str, int]) -> None:
        """Show the page cache that containers read from now on.

        Parameters
        ----------
        used
            Bytes by the paths of cgroups, as `CacheMonitor.used_by_cgroup` has them for a minute.
        """
        self._containers.cache_read = used

    def update(self, snapshot: Snapshot | None, mon: Monitor | None = None) -> None:
        """Show a snapshot from now on.

        Parameters
        ----------
        snapshot
            The newest one; `None` where no target is left.
        mon
            The monitor that took it; without it the probe and the caveat stay as they were.
        """
        old = self._state
        probe, caveat = (mon.probe_name, mon.caveat) if mon else (old.probe, old.caveat)
        if snapshot is None:
            caveat = ""
        else:
            self._totals.add(snapshot)
            self._returns.add(snapshot)
            if snapshot.page_ages is not None:
                self._ages.add(snapshot)
        self._state = _State(snapshot, probe, caveat, self._since(old, snapshot))

    def _since(self, old: _State, snapshot: Snapshot | None) -> Mapping[_Key, int]:
        """When watching each target began; 0 for the targets of the first snapshot."""
        if snapshot is None:
            return {}
        known = old.since_ns or {}
        if old.snapshot is not None and snapshot.targets is old.snapshot.targets:
            return known
        new_ns = 0 if self._totals.snapshots == 1 else snapshot.end_ns
        return {target.key: known.get(target.key, new_ns) for target in snapshot.targets}

    def collect(self) -> Iterator[Metric]:
        """The metric families, as of the last snapshot."""
        state = self._state
        yield from self._monitoring(state)
        yield from _schemes()
        if state.snapshot is None:
            return
        snapshot = self._ages.add(state.snapshot)
        figures, once = (figures_of(snapshot, once=flag) for flag in (False, True))
        group, labels = self._processes(state, figures)
        # Memory that several processes share counts in each by itself, and once in a sum.
        summed = np.array([labels[series] == ("", OTHER) for series in group], np.bool_)
        sums = figures.replaced(summed, once).summed(group, len(labels))
        yield from families_of("process", ("pid", "name"), sums, labels)
        yield self._returns.family(snapshot.targets, group, labels)
        cgroups = self._cgroups_of(snapshot)
        series, names = largest_groups(cgroups, once.working_set_bytes, self._most)
        sums = once.summed(series, len(names))
        yield from families_of("cgroup", ("cgroup",), sums, names)
        yield from self._containers.families(state.snapshot, once)

    def _monitoring(self, state: _State) -> Iterator[Metric]:
        """What monitoring does and costs, and whether its figures may be wrong."""
        yield _info("pydamon_probe", "The probe that is used.", "probe", state.probe)
        yield GaugeMetricFamily(
            "pydamon_caveat",
            "1 while figures may be wrong, 0 otherwise; pydamon_caveat_info says why.",
            value=float(bool(state.caveat)),
        )
        yield _info("pydamon_caveat_info", "Why figures may be wrong.", "reason", state.caveat)
        yield from self._costs()
        snapshot = state.snapshot
        watched = 0 if snapshot is None else len(snapshot.targets)
        yield GaugeMetricFamily("pydamon_processes", "Processes that are watched.", value=watched)
        if snapshot is not None:
            yield GaugeMetricFamily(
                "pydamon_window_seconds",
                "How long the last window really was.",
                value=snapshot.window_ns / 1e9,
            )
            yield GaugeMetricFamily(
                "pydamon_last_snapshot_timestamp_seconds",
                "When the last window ended (Unix time).",
                value=snapshot.end_ns / 1e9,
            )

    def _costs(self) -> Iterator[Metric]:
        totals = self._totals
        for name, text, total in (
            ("snapshots", "Snapshots that were taken.", totals.snapshots),
            ("monitor_cpu_seconds", "CPU time of monitoring.", totals.cpu_ns / 1e9),
            (
                "interruption_seconds",
                "Time that targets lost to monitoring, at most.",
                totals.interruption_ns / 1e9,
            ),
            (
                "late_samples",
                "Samples that were left out, because it was too late.",
                totals.late_samples,
            ),
        ):
            yield CounterMetricFamily(f"pydamon_{name}", text, value=total)
        if self._budget is not None:
            yield GaugeMetricFamily(
                "pydamon_cpu_budget_ratio",
                "The share of one CPU that monitoring may cost.",
                value=self._budget / 100,
            )

    def _processes(
        self, state: _State, figures: Figures
    ) -> tuple[list[int], list[tuple[str, str]]]:
        """For each target the index of its series, and the labels of the series."""
        snapshot, since_ns = state.snapshot, state.since_ns or {}
        assert snapshot is not None
        settled = np.array(
            [snapshot.end_ns - since_ns[t.key] >= _OWN_AFTER_NS for t in snapshot.targets],
            np.bool_,
        )
        order = np.lexsort((-figures.working_set_bytes, ~settled))
        own = [int(i) for i in order[: self._most] if settled[i]]
        targets = [snapshot.targets[i] for i in own]
        labels = [(str(target.pid), printable(target.name)) for target in targets]
        if len(own) < len(snapshot.targets):
            labels.append(("", OTHER))
        group = [len(own)] * len(snapshot.targets)
        for series, index in enumerate(own):
            group[index] = series
        return group, labels

    def _cgroups_of(self, snapshot: Snapshot) -> list[tuple[str]]:
        """The label of each target's cgroup."""
        paths = self._cgroups.of(target.pid for target in snapshot.targets)
        return [(printable(paths[target.pid]),) for target in snapshot.targets]


def _info(name: str, text: str, label: str, value: str) -> GaugeMetricFamily:
    """A gauge of 1 with the value as a label; without a sample where the value is empty."""
    family = GaugeMetricFamily(name, text, labels=(label,))
    if value:
        family.add_metric((printable(value),), 1)
    return family


def _schemes() -> Iterator[Metric]:
    """The statistics of the schemes that pydamon's services on this machine apply."""
    statuses = read_statuses()
    for name, (key, text) in _SCHEME_COUNTERS.items():
        family = CounterMetricFamily(f"pydamon_scheme_{name}", text, labels=("service", "scheme"))
        for service, status in statuses.items():
            for scheme in status["schemes"]:
                labels = (printable(service), printable(scheme["name"]))
                family.add_metric(labels, scheme[key])
        yield family
