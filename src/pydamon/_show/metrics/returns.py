"""Counters of memory that was accessed again after a rest: what came back of idle memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily

from pydamon._model.page_ages import share_beyond
from pydamon._model.snapshot import Snapshot, Target

__all__ = ["ReturnCounters"]

_Labels = tuple[str, str]
_Key = tuple[str, int, int, str]
"""`Target.key`."""


class ReturnCounters:
    """Bytes that were accessed again after having been idle for some times, of each series.

    What a target returns counts in the series that it has when Prometheus asks next, so that no
    counter ever falls. There are no more series than of other figures.

    Parameters
    ----------
    idle_s
        The idle times in seconds.
    other
        The labels of the series of all targets that have none of their own.
    """

    def __init__(self, idle_s: Sequence[int], other: _Labels) -> None:
        self._idle_s = idle_s
        self._other = other
        self._shares = np.array([share_beyond(seconds * 10**9) for seconds in idle_s])
        self._lock = threading.Lock()
        self._pending: dict[_Key, NDArray[np.float64]] = {}
        self._gone = np.zeros(len(idle_s))
        """What targets returned that are gone since, and that no series has yet."""
        self._totals: dict[_Labels, NDArray[np.float64]] = {}
        self._has_ages = False

    def add(self, snapshot: Snapshot) -> None:
        """Take the next snapshot into account."""
        ages = snapshot.page_ages
        if ages is None:
            return
        target = snapshot.target[ages.region]
        returned = ages.returned_bytes * self._shares[:, ages.bucket]
        count = len(snapshot.targets)
        table = np.stack([np.bincount(target, amounts, count) for amounts in returned], axis=1)
        with self._lock:
            self._has_ages = True
            keys = [target.key for target in snapshot.targets]
            for key in self._pending.keys() - set(keys):
                self._gone = self._gone + self._pending.pop(key)
            for key, amounts in zip(keys, table, strict=True):
                self._pending[key] = self._pending.get(key, 0.0) + amounts

    def family(
        self, targets: Sequence[Target], group: Sequence[int], labels: Sequence[_Labels]
    ) -> CounterMetricFamily:
        """The counters; *group* has the index in *labels* of each target."""
        family = CounterMetricFamily(
            "pydamon_process_returned_bytes",
            "Memory that was accessed again after not having been for at least so many seconds.",
            labels=("pid", "name", "at_least_seconds"),
        )
        with self._lock:
            if not self._has_ages:
                return family
            self._count(targets, group, labels)
            totals = list(self._totals.items())
        for values, amounts in totals:
            for seconds, amount in zip(self._idle_s, amounts.tolist(), strict=True):
                family.add_metric((*values, str(seconds)), amount)
        return family

    def _count(
        self, targets: Sequence[Target], group: Sequence[int], labels: Sequence[_Labels]
    ) -> None:
        """Move what is pending to the series, and forget series that are no more."""
        kept = dict.fromkeys(labels, np.zeros(len(self._idle_s)))
        totals = {each: self._totals.get(each, nothing) for each, nothing in kept.items()}
        for target, series in zip(targets, group, strict=True):
            amounts = self._pending.pop(target.key, None)
            if amounts is not None:
                totals[labels[series]] = totals[labels[series]] + amounts
        gone = sum(self._pending.values(), start=self._gone)
        other = totals.get(self._other, self._totals.get(self._other))
        if other is not None or gone.any():
            totals[self._other] = gone + (0.0 if other is None else other)
        self._pending, self._gone, self._totals = {}, np.zeros(len(self._idle_s)), totals
