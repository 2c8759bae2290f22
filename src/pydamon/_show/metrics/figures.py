"""Figures of targets or groups of targets, and the metric families that show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import GaugeMetricFamily, Metric

from pydamon._model.classify import resident_bytes
from pydamon._model.snapshot import Snapshot

__all__ = ["IDLE_S", "OTHER", "Figures", "families_of", "figures_of", "largest_groups"]

OTHER = "other"
"""The label of all that have no series of their own."""

IDLE_S = (10, 60, 300, 1800, 3600)
"""Idle times in seconds: memory counts that has not been accessed for at least so long."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Bytes, or bytes a second; one entry a target, or a group of targets.

    `idle_bytes` has shape (targets, len(IDLE_S)); each column includes the next one.
    """

    working_set_bytes: NDArray[np.float64]
    resident_bytes: NDArray[np.float64]
    monitored_bytes: NDArray[np.float64]
    unobservable_bytes: NDArray[np.float64]
    unseen_bytes: NDArray[np.float64]
    access_bytes_per_second: NDArray[np.float64]
    idle_bytes: NDArray[np.float64]

    def summed(self, group: Sequence[int], groups: int) -> Figures:
        """The sums over groups: *group* has the index of a group for each target."""
        sums = []
        for field in fields(self):
            values = getattr(self, field.name)
            total = np.zeros((groups, *values.shape[1:]))
            np.add.at(total, np.asarray(group, np.intp), values)
            sums.append(total)
        return Figures(*sums)

    def picked(self, rows: Sequence[int]) -> Figures:
        """The figures of some of the targets."""
        return Figures(*(getattr(self, field.name)[list(rows)] for field in fields(self)))

    def replaced(self, rows: NDArray[np.bool_], other: Figures) -> Figures:
        """The same figures, with some *rows* taken from *other*."""
        columns = []
        for field in fields(self):
            mine, others = getattr(self, field.name), getattr(other, field.name)
            which = rows[:, None] if mine.ndim > 1 else rows
            columns.append(np.where(which, others, mine))
        return Figures(*columns)


def figures_of(snapshot: Snapshot, *, once: bool = False) -> Figures:
    """The figures of each target; *once* is for sums: memory that targets share counts in one.

    The access rate is that of DAMON_STAT: an access to a region counts as one to all of it, at
    most one a sampling interval.
    """
    n, target = len(snapshot.targets), snapshot.target
    classes = snapshot.classes.once() if once else snapshot.classes

    def sums(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(target, values, n).astype(np.float64)

    rss_bytes = [footprint.rss_bytes for footprint in snapshot.footprints] or [0] * n
    resident = resident_bytes(snapshot.classes, target, np.array(rss_bytes, np.int64), once=once)
    idle = np.array([sums(classes.idle(seconds * 10**9)) for seconds in IDLE_S])
    return Figures(
        sums(classes.accessed),
        resident.astype(np.float64),
        sums(snapshot.size),
        sums(classes.unobservable),
        sums(classes.unseen),
        sums(snapshot.size * snapshot.access_hz),
        idle.T,
    )


_GAUGES = {
    "working_set_bytes": "Memory that was accessed in the window.",
    "resident_bytes": "Memory that is in RAM; shared memory counts in each process.",
    "monitored_bytes": "Memory that is mapped and watched.",
    "unobservable_bytes": "Memory that is watched, but that the probe cannot see.",
    "unseen_bytes": "Memory that no probe has looked at yet: it may be in use or idle.",
    "access_bytes_per_second": "An estimate of how much memory is accessed a second.",
}


def largest_groups(
    labels: Sequence[tuple[str, ...]], size: NDArray[np.float64], most: int
) -> tuple[list[int], list[tuple[str, ...]]]:
    """The index of a group for each of the *labels*, and the labels of the largest groups.

    All others, and those without any label, are one group.
    """
    rest = (*[""] * (len(labels[0]) - 1 if labels else 0), OTHER)
    sizes: dict[tuple[str, ...], float] = {}
    for label, amount in zip(labels, size.tolist(), strict=True):
        sizes[label] = sizes.get(label, 0.0) + amount
    named = [label for label in sizes if any(label) and label != rest]
    own = sorted(named, key=lambda label: (-sizes[label], label))[:most]
    index = {label: i for i, label in enumerate(own)}
    group = [index.get(label, len(own)) for label in labels]
    if len(own) in group:
        own.append(rest)
    return group, own


def families_of(
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
