"""The metrics: figures of targets and groups, made from the last snapshot when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pydamon._act.policies import read_statuses
from pydamon._model.names import printable
from pydamon._model.snapshot import Snapshot
from pydamon._observe.monitor import Monitor
from pydamon._observe.targets.members import cgroup_of

__all__ = ["IDLE_S", "Figures", "Metrics", "figures_of"]

IDLE_S = (10, 60, 300, 1800, 3600)
"""For how long memory has to be idle to be counted."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One entry a target, or a group of them: bytes, or bytes a second.

    `idle_bytes` has shape (targets, len(IDLE_S)); each column counts what the next one counts, too.
    """

    working_set_bytes: NDArray[np.float64]
    resident_bytes: NDArray[np.float64]
    monitored_bytes: NDArray[np.float64]
    unobservable_bytes: NDArray[np.float64]
    unseen_bytes: NDArray[np.float64]
    access_bytes_per_second: NDArray[np.float64]
    idle_bytes: NDArray[np.float64]

    def summed(self, group: Sequence[int], groups: int) -> Figures:
        """The sums over groups: *group* has the index of one for each target."""
        sums = []
        for one in fields(self):
            values = getattr(self, one.name)
            total = np.zeros((groups, *values.shape[1:]))
            np.add.at(total, np.asarray(group, np.intp), values)
            sums.append(total)
        return Figures(*sums)

    def replaced(self, rows: NDArray[np.bool_], other: Figures) -> Figures:
        """The same, with some *rows* those of *other*."""
        columns = []
        for one in fields(self):
            mine, others = getattr(self, one.name), getattr(other, one.name)
            which = rows[:, None] if mine.ndim > 1 else rows
            columns.append(np.where(which, others, mine))
        return Figures(*columns)


def figures_of(snapshot: Snapshot, *, once: bool = False) -> Figures:
    """The figures of each target; *once* is for sums: memory that targets share counts in one.

    What is resident, in use or idle is as `Snapshot.classes` has it. The access rate is that of
    DAMON_STAT: a sample that found a region accessed counts as one access to all of it.
    """
    n, target = len(snapshot.targets), snapshot.target
    classes = snapshot.classes.once() if once else snapshot.classes

    def sums(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(target, values, n).astype(np.float64)

    rss = np.array([one.rss_bytes for one in snapshot.footprints] or [0] * n, np.float64)
    repeated = sums(snapshot.classes.repeated) if once else np.zeros(n)
    # Of a process that is watched in part, what is watched; else all of it.
    resident = np.where(
        rss > 0, np.maximum(rss - repeated, 0), sums(classes.total - classes.assumed)
    )
    idle = np.array([sums(classes.idle(seconds * 10**9)) for seconds in IDLE_S])
    return Figures(
        sums(classes.accessed),
        resident,
        sums(snapshot.size),
        sums(classes.unobservable),
        sums(classes.unseen),
        sums(snapshot.size * snapshot.nr_accesses) / max(snapshot.window_ns / 1e9, 1e-9),
        idle.T,
    )


_OWN_AFTER_NS = 60 * 10**9
_CGROUPS_NS = 60 * 10**9
_OTHER = "other"
_Key: TypeAlias = tuple[str, int, int, str]
"""Of a target."""

_GAUGES = {
    "working_set_bytes": "Memory that was accessed in the window.",
    "resident_bytes": "Memory that is in RAM; what is shared counts in each process.",
    "monitored_bytes": "Memory that is mapped and watched.",
    "unobservable_bytes": "Memory that is watched, but of which the probe can tell nothing.",
    "unseen_bytes": "Memory that nobody has looked at yet: it may be in use or idle.",
    "access_bytes_per_second": "An estimate of how much memory is accessed a second.",
}
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

    snapshot: Snapshot | None
    probe: str
    since_ns: Mapping[_Key, int]


class Metrics(Collector):
    """What a monitor sees, as a collector for a `prometheus_client.CollectorRegistry`:

        metrics = Metrics()
        registry.register(metrics)
        for snapshot in mon:
            metrics.update(snapshot, mon)

    The largest *processes* (by working set) have series of their own, and as many cgroups; the
    rest is summed up as "other". So are processes that came less than a minute ago, unless they
    were there at the first snapshot. *cpu_budget_percent* is only shown.
    """

    def __init__(self, *, processes: int = 50, cpu_budget_percent: float | None = None) -> None:
        self._most = processes
        self._budget = cpu_budget_percent
        self._state = _State(None, "", {})
        self._cgroups: dict[_Key, str] = {}
        self._cgroups_until_ns = 0
        self._snapshots = self._cpu_ns = self._interruption_ns = self._late = 0

    def update(self, snapshot: Snapshot | None, mon: Monitor | None = None) -> None:
        """Show this snapshot from now on; `None` where nothing is left to watch."""
        old = self._state
        since: Mapping[_Key, int] = {}
        if snapshot is not None:
            self._snapshots += 1
            self._cpu_ns += snapshot.cost.cpu_ns
            self._interruption_ns += snapshot.cost.interruption_ns
            self._late += snapshot.cost.late_ticks
            if old.snapshot is not None and snapshot.targets is old.snapshot.targets:
                since = old.since_ns
            else:
                new_ns = 0 if self._snapshots == 1 else snapshot.end_ns
                since = {t.key: old.since_ns.get(t.key, new_ns) for t in snapshot.targets}
        self._state = _State(snapshot, mon.probe_name if mon else old.probe, since)

    def collect(self) -> Iterator[Metric]:
        """The families, as of the last snapshot."""
        state = self._state
        yield from self._own(state)
        yield from _schemes()
        if state.snapshot is None:
            return
        figures, once = (figures_of(state.snapshot, once=flag) for flag in (False, True))
        group, labels = self._processes(state.snapshot, state, figures)
        # What several processes share counts in each by itself, and once in a sum.
        summed = np.array([labels[series] == ("", _OTHER) for series in group], np.bool_)
        sums = figures.replaced(summed, once).summed(group, len(labels))
        yield from _families("process", ("pid", "name"), sums, labels)
        names = self._cgroups_of(state.snapshot)
        group, found = _largest(names, once.working_set_bytes, self._most)
        sums = once.summed(group, len(found))
        yield from _families("cgroup", ("cgroup",), sums, [(name,) for name in found])

    def _own(self, state: _State) -> Iterator[Metric]:
        """What monitoring itself does and costs."""
        info = GaugeMetricFamily("pydamon_probe", "The probe that is used.", labels=("probe",))
        if state.probe:
            info.add_metric((state.probe,), 1)
        yield info
        for name, text, total in (
            ("snapshots", "Snapshots that were taken.", self._snapshots),
            ("monitor_cpu_seconds", "CPU time of monitoring.", self._cpu_ns / 1e9),
            (
                "interruption_seconds",
                "Time that targets lost to monitoring, at most.",
                self._interruption_ns / 1e9,
            ),
            ("late_samples", "Samples that were left out, because it was too late.", self._late),
        ):
            yield CounterMetricFamily(f"pydamon_{name}", text, value=total)
        if self._budget is not None:
            yield GaugeMetricFamily(
                "pydamon_cpu_budget_ratio",
                "The share of one CPU that monitoring may cost.",
                value=self._budget / 100,
            )
        snapshot = state.snapshot
        watched = 0 if snapshot is None else len(snapshot.targets)
        yield GaugeMetricFamily("pydamon_processes", "Processes that are watched.", value=watched)
        if snapshot is not None:
            yield GaugeMetricFamily(
                "pydamon_window_seconds",
                "How long the last window of access really was.",
                value=snapshot.window_ns / 1e9,
            )
            yield GaugeMetricFamily(
                "pydamon_last_snapshot_timestamp_seconds",
                "When the last window ended (Unix time).",
                value=snapshot.end_ns / 1e9,
            )

    def _processes(
        self, snapshot: Snapshot, state: _State, figures: Figures
    ) -> tuple[list[int], list[tuple[str, str]]]:
        """For each target the index of its series, and the labels of those."""
        settled = np.array(
            [snapshot.end_ns - state.since_ns[t.key] >= _OWN_AFTER_NS for t in snapshot.targets],
            np.bool_,
        )
        order = np.lexsort((-figures.working_set_bytes, ~settled))
        own = [int(i) for i in order[: self._most] if settled[i]]
        targets = [snapshot.targets[i] for i in own]
        labels = [(str(target.pid), printable(target.name)) for target in targets]
        if len(own) < len(snapshot.targets):
            labels.append(("", _OTHER))
        group = [len(own)] * len(snapshot.targets)
        for series, index in enumerate(own):
            group[index] = series
        return group, labels

    def _cgroups_of(self, snapshot: Snapshot) -> list[str]:
        """The cgroup of each target, looked up once a minute: processes hardly ever move."""
        expired = snapshot.end_ns >= self._cgroups_until_ns
        known = {} if expired else self._cgroups
        if expired:
            self._cgroups_until_ns = snapshot.end_ns + _CGROUPS_NS
        found = [known.get(t.key) or printable(cgroup_of(t.pid)) for t in snapshot.targets]
        self._cgroups = dict(zip((t.key for t in snapshot.targets), found, strict=True))
        return found


def _largest(names: list[str], size: NDArray[np.float64], most: int) -> tuple[list[int], list[str]]:
    """For each of some *names* the index of its group, and the names of these: the largest ones."""
    sizes: dict[str, float] = {}
    for name, one in zip(names, size.tolist(), strict=True):
        sizes[name or _OTHER] = sizes.get(name or _OTHER, 0.0) + one
    own = sorted(sizes.keys() - {_OTHER}, key=lambda name: (-sizes[name], name))[:most]
    index = {name: i for i, name in enumerate(own)}
    group = [index.get(name, len(own)) for name in names]
    if len(own) in group:
        own.append(_OTHER)
    return group, own


def _families(
    kind: str, names: tuple[str, ...], figures: Figures, labels: Sequence[tuple[str, ...]]
) -> Iterator[Metric]:
    for field, text in _GAUGES.items():
        family = GaugeMetricFamily(f"pydamon_{kind}_{field}", text, labels=names)
        for values, amount in zip(labels, getattr(figures, field).tolist(), strict=True):
            family.add_metric(values, amount)
        yield family
    family = GaugeMetricFamily(
        f"pydamon_{kind}_idle_bytes",
        "Resident memory that has not been accessed for at least so many seconds, at most.",
        labels=(*names, "at_least_seconds"),
    )
    for values, row in zip(labels, figures.idle_bytes.tolist(), strict=True):
        for seconds, amount in zip(IDLE_S, row, strict=True):
            family.add_metric((*values, str(seconds)), amount)
    yield family


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
