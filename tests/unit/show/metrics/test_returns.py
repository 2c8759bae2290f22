"""Counters of memory that returns never fall, and have no more series than there may be."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from pydamon._model.snapshot import Snapshot, Target
from pydamon._show.metrics import Metrics
from tests.recordings import MIB, aged, snapshot

S = 10**9
TARGETS = tuple(Target(pid, f"app{pid}", started_ns=pid) for pid in (1, 2, 3))


def taken(number: int, sizes: list[int], targets: tuple[Target, ...] = TARGETS) -> Snapshot:
    """Of each target 1 MiB returned after 20 s, and 2 MiB after 100 s."""
    regions = [(n, 0, size * MIB, 20, 1) for n, size in enumerate(sizes)]
    ages = [
        (n, idle_s * S, MIB, returned * MIB)
        for n in range(len(targets))
        for idle_s, returned in ((20, 1), (100, 2))
    ]
    return aged(snapshot(targets, regions, number, window_ns=S), ages)


def returned(registry: CollectorRegistry, pid: str, name: str, seconds: int) -> float | None:
    labels = {"pid": pid, "name": name, "at_least_seconds": str(seconds)}
    value = registry.get_sample_value("pydamon_process_returned_bytes_total", labels)
    return None if value is None else value / MIB


def metrics_of(processes: int) -> tuple[Metrics, CollectorRegistry]:
    metrics, registry = Metrics(processes=processes), CollectorRegistry()
    registry.register(metrics)
    return metrics, registry


def test_returns_add_up_look_by_look() -> None:
    metrics, registry = metrics_of(50)
    metrics.update(snapshot(TARGETS, [(0, 0, MIB, 1, 1)], window_ns=S))
    assert returned(registry, "1", "app1", 10) is None, "nobody has looked at pages yet"
    for number in (1, 2):
        metrics.update(taken(number, [8, 8, 8]))
        metrics.update(snapshot(TARGETS, [(0, 0, MIB, 1, 1)], number, window_ns=S))
    assert returned(registry, "1", "app1", 10) == 6
    assert returned(registry, "1", "app1", 60) == 4
    assert returned(registry, "1", "app1", 300) == 0


def test_no_counter_falls_when_a_process_gets_or_loses_a_series() -> None:
    metrics, registry = metrics_of(1)
    metrics.update(taken(0, [8, 4, 2]))
    assert returned(registry, "1", "app1", 10) == 3
    assert returned(registry, "", "other", 10) == 6
    metrics.update(taken(1, [2, 8, 4]))
    assert returned(registry, "1", "app1", 10) is None
    assert returned(registry, "2", "app2", 10) == 3
    assert returned(registry, "", "other", 10) == 12


def test_what_processes_returned_that_are_gone_stays_in_other() -> None:
    metrics, registry = metrics_of(50)
    metrics.update(taken(0, [8, 4, 2]))
    metrics.update(taken(1, [8], TARGETS[:1]))
    assert returned(registry, "1", "app1", 10) == 6
    assert returned(registry, "", "other", 10) == 6


def test_idle_bytes_hold_between_looks() -> None:
    metrics, registry = metrics_of(50)
    metrics.update(taken(0, [8, 4, 2]))
    cold = snapshot(TARGETS, [(0, 0, 8 * MIB, 0, 1)], 1, window_ns=S)
    metrics.update(cold)
    labels = {"pid": "1", "name": "app1", "at_least_seconds": "60"}
    assert registry.get_sample_value("pydamon_process_idle_bytes", labels) == MIB
