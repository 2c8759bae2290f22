"""Charging a quota: windows, the limit of each, and which regions are served first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pydamon._act.runtime.candidates import Candidates
from pydamon._model.attrs import feedback
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.schemes.quota import Quota, Weights
from pydamon._model.snapshot import Snapshot

__all__ = ["MAX_SCORE", "QuotaState", "lowest_served", "scores"]

MAX_SCORE = 99
_LOG_RANGE = 32


def scores(chosen: Candidates, weights: Weights, *, hot_first: bool) -> NDArray[np.int64]:
    """The score of each region: the weighted mean of its size, access rate and age.

    The rate counts by its share of the possible, the age by its logarithm, upwards where the
    region is accessed at all and downwards where it is not; of cold regions first, both count the
    other way round. The size counts by its share of the largest. (The kernel ignores the size.)
    """
    snapshot = chosen.snapshot
    rate = chosen.nr_accesses * 100 // max(1, snapshot.max_nr_accesses)
    seconds = chosen.age_ns // 10**9
    # The number of binary digits: frexp's exponent, exact for what an age can be.
    digits = np.minimum(np.frexp(seconds.astype(np.float64))[1], _LOG_RANGE).astype(np.int64)
    age = (np.where(rate > 0, digits, -digits) + _LOG_RANGE) * 100 // (2 * _LOG_RANGE)
    heat_weight = max(1, weights.rate + weights.age)
    heat = (weights.rate * rate + weights.age * age) // heat_weight * MAX_SCORE // 100
    wanted: NDArray[np.int64] = heat if hot_first else MAX_SCORE - heat
    if weights.size:
        size = chosen.size * MAX_SCORE // max(1, int(chosen.size.max(initial=1)))
        others = weights.rate + weights.age
        wanted = (weights.size * size + others * wanted) // (weights.size + others)
    return wanted


def lowest_served(score: NDArray[np.int64], size: NDArray[np.int64], limit_bytes: int) -> int:
    """The lowest score that is served: from the top down, until *limit_bytes* are covered."""
    by_score = np.bincount(score, weights=size, minlength=MAX_SCORE + 1)
    covered = np.cumsum(by_score[::-1])
    enough = int(np.searchsorted(covered, limit_bytes))
    return max(0, MAX_SCORE - enough)


_FIRST_BYTES_PER_MS = 1024 * PAGE_SIZE
"""The speed to expect before anything was measured, as in the kernel."""
_EWMA_WEIGHT = 0.5
_GOAL = 10_000
_FIRST_PART = 16
"""Where goals tune a limit, it starts with this part of what is allowed otherwise."""
_UNIT = 10_000
"""A tuned limit is kept in units of a 10,000th byte, as the kernel does: small ones can grow."""


class QuotaState:
    """What a scheme has spent of its *quota* in the charge window that is open.

    *score* tells how near the goals are: 10,000 where they are met, more beyond.
    """

    def __init__(self, quota: Quota, score: Callable[[], float] | None = None) -> None:
        self.quota = quota
        self.limit_bytes = 0
        """What may be spent in this window at most; without limits it means nothing."""
        self.exceeded = 0
        """How many windows ended with all of the quota spent."""
        self._score = score
        self._since_ns: int | None = None
        self._bytes = self._ns = self._acted_ns = 0
        self._bytes_per_ms = float(_FIRST_BYTES_PER_MS)
        self._tuned = 0.0
        self._stopped_at: tuple[int, int, int] | None = None
        """The pid, index and address where it stopped."""

    @property
    def left_bytes(self) -> int | None:
        """What is left of this window; `None` is no limit."""
        if not self.quota.limits:
            return None
        out_of_time = self.quota.time_ns and self._ns >= self.quota.time_ns
        return 0 if out_of_time else max(0, self.limit_bytes - self._bytes)

    @property
    def goes_on(self) -> bool:
        """Whether more was to be served than the limit left room for."""
        return self._stopped_at is not None

    def begin(self, now_ns: int) -> None:
        """Open the next window where the last one is over."""
        if not self.quota.limits:
            return
        if self._since_ns is not None:
            if now_ns - self._since_ns < self.quota.reset_ns:
                return
            if self.left_bytes == 0:
                self.exceeded += 1
            self._learn()
        self._acted_ns = 0
        self._since_ns = now_ns
        self._bytes = 0
        # What the last step took too much is owed.
        self._ns = max(0, self._ns - self.quota.time_ns) if self.quota.time_ns else 0
        self.limit_bytes = self._limit()

    def served(self, chosen: Candidates, *, hot_first: bool) -> Candidates:
        """What is served in this window, in turn: the important, and first what was left over."""
        left = self.left_bytes
        if left is None or len(chosen) == 0:
            return chosen
        if self.quota.weights.any:
            score = scores(chosen, self.quota.weights, hot_first=hot_first)
            lowest = lowest_served(score, chosen.size, self.limit_bytes)
            chosen = chosen.take(score >= lowest)
        chosen = self._from_where_it_stopped(chosen)
        before = np.cumsum(chosen.size) - chosen.size
        fits = before < left
        if fits.all() and int(before[-1] + chosen.size[-1]) <= left:
            self._stopped_at = None
            return chosen
        return self._cut_last(chosen.take(fits), left)

    def pay(self, tried_bytes: int, applied_bytes: int, took_ns: int) -> None:
        """Charge what was tried; what failed may cost less."""
        failed = max(0, tried_bytes - applied_bytes)
        self._bytes += tried_bytes - round(failed * (1 - self.quota.fail_charge))
        self._ns += took_ns
        self._acted_ns += took_ns

    def stop_at(self, snapshot: Snapshot, target: int, address: int) -> None:
        """Say where the next window goes on."""
        self._stopped_at = (snapshot.targets[target].pid, target, address)

    def _from_where_it_stopped(self, chosen: Candidates) -> Candidates:
        if self._stopped_at is None:
            return chosen
        pid, target, address = self._stopped_at
        pids = [known.pid for known in chosen.snapshot.targets]
        if pid not in pids:
            return chosen
        target = pids.index(pid) if pid else target
        chosen = chosen.cut_at({target: np.array([address], np.int64)})
        later = (chosen.target > target) | ((chosen.target == target) & (chosen.start >= address))
        turn = np.concatenate([np.flatnonzero(later), np.flatnonzero(~later)])
        return chosen.take(turn)

    def _cut_last(self, chosen: Candidates, left: int) -> Candidates:
        """Cut the last region to what is left, in whole pages."""
        end = chosen.end.copy()
        if len(chosen):
            room = left - int(chosen.size[:-1].sum())
            room = room // PAGE_SIZE * PAGE_SIZE
            end[-1] = min(int(end[-1]), int(chosen.start[-1]) + room)
            self.stop_at(chosen.snapshot, int(chosen.target[-1]), int(end[-1]))
        kept = end > chosen.start
        cut = Candidates(chosen.snapshot, chosen.region, chosen.start, end, chosen.allowed)
        return cut if kept.all() else cut.take(kept)

    def _learn(self) -> None:
        """Learn how much can be done in a time.

        What it costs to begin tells of amounts that are small, not of the speed: where all was done
        in less time than there was, more is tried next, whatever the speed was.
        """
        if self._bytes >= self.limit_bytes and self._ns < self.quota.time_ns / 2:
            self._bytes_per_ms *= 2
        elif self._acted_ns and self._bytes:
            speed = self._bytes / (self._acted_ns / 1e6)
            self._bytes_per_ms += _EWMA_WEIGHT * (speed - self._bytes_per_ms)

    def _limit(self) -> int:
        quota = self.quota
        limits = [quota.size_bytes] if quota.size_bytes else []
        if quota.time_ns:
            left_ns = max(0, quota.time_ns - self._ns)
            limits.append(max(PAGE_SIZE, int(self._bytes_per_ms * left_ns / 1e6)))
        if quota.goals:
            score = self._score() if self._score else 0.0
            if quota.tuner == "temporal":
                limits.append(0 if score >= _GOAL else 2**62)
            else:
                # Bounded by what is allowed otherwise, so that it can come down from there soon.
                most = float(min(limits, default=2**48)) * _UNIT
                # The kernel starts with a byte, from where it takes minutes to a goal that is near.
                first = most / _FIRST_PART if limits else PAGE_SIZE * _UNIT
                self._tuned = max(self._tuned or first, PAGE_SIZE * _UNIT)
                self._tuned = min(most, feedback(self._tuned, score))
                limits.append(int(self._tuned / _UNIT))
        return min(limits)
