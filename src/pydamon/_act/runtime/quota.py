"""The state of a quota: reset intervals, the limit of each, and which regions come first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pydamon._act.runtime.candidates import Candidates
from pydamon._model.attrs import feedback
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.schemes.limits import Quota, Weights
from pydamon._model.snapshot import Snapshot

__all__ = ["MAX_SCORE", "QuotaState", "fitting", "lowest_served", "scores"]

MAX_SCORE = 99
_MAX_AGE_DIGITS = 32


def scores(candidates: Candidates, weights: Weights, *, hot_first: bool) -> NDArray[np.int64]:
    """The score of each candidate: the weighted mean of its size, access rate and age.

    The rate counts as a share of the highest possible rate. The age counts by its logarithm:
    upwards where the region is accessed at all, and downwards where it is not. Where cold regions
    come first, both count the other way round. The size counts as a share of the largest size. (The
    kernel ignores the size.)
    """
    # Rounded: 29 of 100 samples must not become 28.99 % by an error in the last digit.
    rate_percent = (candidates.access_rate * 100).round(9)
    seconds = candidates.age_ns // 10**9
    # The number of binary digits: frexp's exponent is exact for every possible age.
    exponent = np.frexp(seconds.astype(np.float64))[1]
    digits = np.minimum(exponent, _MAX_AGE_DIGITS).astype(np.int64)
    signed = np.where(rate_percent > 0, digits, -digits)
    age_percent = (signed + _MAX_AGE_DIGITS) * 100 // (2 * _MAX_AGE_DIGITS)
    heat_weight = weights.rate + weights.age
    heat_percent = weights.rate * rate_percent + weights.age * age_percent
    heat = (heat_percent // max(1, heat_weight) * MAX_SCORE // 100).astype(np.int64)
    score: NDArray[np.int64] = heat if hot_first else MAX_SCORE - heat
    if weights.size:
        size = candidates.size * MAX_SCORE // max(1, int(candidates.size.max(initial=1)))
        score = (weights.size * size + heat_weight * score) // (weights.size + heat_weight)
    return score


def lowest_served(score: NDArray[np.int64], size: NDArray[np.int64], limit_bytes: int) -> int:
    """The lowest score that is served: from the top down, until *limit_bytes* are covered."""
    by_score = np.bincount(score, weights=size, minlength=MAX_SCORE + 1)
    covered = np.cumsum(by_score[::-1])
    enough = int(np.searchsorted(covered, limit_bytes))
    return max(0, MAX_SCORE - enough)


def fitting(
    candidates: Candidates, is_whole: NDArray[np.bool_], left_bytes: int | None
) -> Candidates:
    """The first candidates that *left_bytes* have room for, the last one cut to it.

    Candidates that are whole are not cut: the ones behind them have the room instead.
    """
    if left_bytes is None:
        return candidates
    behind = np.arange(len(candidates)) >= np.searchsorted(
        np.cumsum(candidates.size), left_bytes, side="right"
    )
    candidates = candidates.take(~(behind & is_whole))
    room = left_bytes - (np.cumsum(candidates.size) - candidates.size)
    room = np.maximum(room, 0) // PAGE_SIZE * PAGE_SIZE
    end = np.minimum(candidates.end, candidates.start + room)
    return replace(candidates, end=end).take(end > candidates.start)


_FIRST_BYTES_PER_MS = 1024 * PAGE_SIZE
"""The speed to expect before anything was measured, as in the kernel."""
_EWMA_WEIGHT = 0.5
_MET = 10_000
"""What `feedback` calls a goal that is met."""
_FIRST_SHARE = 1 / 16
"""A limit that goals tune starts at this share of the other limits."""
_UNIT = 10_000
"""A tuned limit is kept in 10,000ths of a byte, as in the kernel: so small limits can grow."""
_NO_LIMIT = 2**62
_MOST_BYTES = 2**48


class QuotaState:
    """What a scheme has spent of its quota in the reset interval that is running.

    *score* returns how near the goals are: 1 where one is met, and more beyond.
    """

    def __init__(self, quota: Quota, score: Callable[[], float] | None = None) -> None:
        self.quota = quota
        self.limit_bytes = 0
        """The most that may be spent in this interval; without limits it means nothing."""
        self.exceeded = 0
        """How many intervals ended with all of the quota spent."""
        self._score = score
        self._began_ns: int | None = None
        self._spent_bytes = self._spent_ns = self._acted_ns = 0
        self._bytes_per_ms = float(_FIRST_BYTES_PER_MS)
        self._tuned_limit = 0.0
        self._stopped_at: tuple[int, int, int] | None = None
        """The pid, target index and address where the last interval stopped."""

    @property
    def left_bytes(self) -> int | None:
        """The bytes that are left in this interval; `None` is no limit."""
        if not self.quota.limits:
            return None
        out_of_time = self.quota.time_ns and self._spent_ns >= self.quota.time_ns
        return 0 if out_of_time else max(0, self.limit_bytes - self._spent_bytes)

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left in this interval."""
        return self.left_bytes == 0

    def begin(self, now_ns: int) -> None:
        """Begin the next interval where the last one is over."""
        if not self.quota.limits:
            return
        if self._began_ns is not None:
            if now_ns - self._began_ns < self.quota.reset_ns:
                return
            if self.is_spent:
                self.exceeded += 1
            self._learn_speed()
        self._acted_ns = 0
        self._began_ns = now_ns
        self._spent_bytes = 0
        # Time that the last step took beyond the quota is owed.
        self._spent_ns = max(0, self._spent_ns - self.quota.time_ns) if self.quota.time_ns else 0
        self.limit_bytes = self._limit()

    def selections(self, candidates: Candidates, *, hot_first: bool) -> Iterator[Candidates]:
        """Yield candidates to act on, until all had their turn or the limit is spent.

        The caller charges what it tried before it asks for more: bytes that were tried in vain may
        cost less, and then there is room for more.
        """
        unserved_bytes = candidates.size_bytes
        while unserved_bytes > 0:
            selected = self.select(candidates, hot_first=hot_first)
            if not len(selected):
                return
            unserved_bytes -= selected.size_bytes
            yield selected
            if self._stopped_at is None:
                return

    def select(self, candidates: Candidates, *, hot_first: bool) -> Candidates:
        """The candidates that the limit has room for, the important ones, in their turn."""
        left_bytes = self.left_bytes
        if left_bytes is None or len(candidates) == 0:
            return candidates
        if self.quota.weights.any:
            score = scores(candidates, self.quota.weights, hot_first=hot_first)
            lowest = lowest_served(score, candidates.size, self.limit_bytes)
            candidates = candidates.take(score >= lowest)
        candidates = self._from_where_it_stopped(candidates)
        before = np.cumsum(candidates.size) - candidates.size
        fits = before < left_bytes
        if fits.all() and int(before[-1] + candidates.size[-1]) <= left_bytes:
            self._stopped_at = None
            return candidates
        return self._cut_last(candidates.take(fits), left_bytes)

    def charge(self, tried_bytes: int, applied_bytes: int, took_ns: int) -> None:
        """Charge bytes that were tried; bytes that were tried in vain may cost less."""
        failed_bytes = max(0, tried_bytes - applied_bytes)
        self._spent_bytes += tried_bytes - round(failed_bytes * (1 - self.quota.fail_charge))
        self._spent_ns += took_ns
        # Looking for something to act on says nothing about the speed of acting.
        self._acted_ns += took_ns if tried_bytes else 0

    def stop_at(self, snapshot: Snapshot, target: int, address: int) -> None:
        """Note where the next interval goes on."""
        self._stopped_at = (snapshot.targets[target].pid, target, address)

    def _from_where_it_stopped(self, candidates: Candidates) -> Candidates:
        """The candidates in turn: first the ones that the last interval left over."""
        if self._stopped_at is None:
            return candidates
        pid, target, address = self._stopped_at
        pids = [known.pid for known in candidates.snapshot.targets]
        if pid not in pids:
            return candidates
        target = pids.index(pid) if pid else target
        candidates = candidates.cut_at({target: np.array([address], np.int64)})
        targets = candidates.target
        later = (targets > target) | ((targets == target) & (candidates.start >= address))
        return candidates.take(np.concatenate([np.flatnonzero(later), np.flatnonzero(~later)]))

    def _cut_last(self, candidates: Candidates, left_bytes: int) -> Candidates:
        """Cut the last candidate to the bytes that are left, in whole pages."""
        end = candidates.end.copy()
        if len(candidates):
            room = left_bytes - int(candidates.size[:-1].sum())
            room = room // PAGE_SIZE * PAGE_SIZE
            end[-1] = min(int(end[-1]), int(candidates.start[-1]) + room)
            self.stop_at(candidates.snapshot, int(candidates.target[-1]), int(end[-1]))
        kept = end > candidates.start
        cut = replace(candidates, end=end)
        return cut if kept.all() else cut.take(kept)

    def _learn_speed(self) -> None:
        """Learn how much can be done in a time.

        The cost of beginning dominates small amounts, so they say little about the speed: where the
        whole limit was spent in half of the time, more is tried next, whatever the speed was.
        """
        if self._spent_bytes >= self.limit_bytes and self._spent_ns < self.quota.time_ns / 2:
            self._bytes_per_ms *= 2
        elif self._acted_ns and self._spent_bytes:
            speed = self._spent_bytes / (self._acted_ns / 1e6)
            self._bytes_per_ms += _EWMA_WEIGHT * (speed - self._bytes_per_ms)

    def _limit(self) -> int:
        """The limit of the interval that begins: the strictest of bytes, time and goals."""
        quota = self.quota
        limits = [quota.size_bytes] if quota.size_bytes else []
        if quota.time_ns:
            left_ns = max(0, quota.time_ns - self._spent_ns)
            limits.append(max(PAGE_SIZE, int(self._bytes_per_ms * left_ns / 1e6)))
        if quota.goals:
            limits.append(self._goal_limit(min(limits, default=None)))
        return min(limits)

    def _goal_limit(self, other_limit: int | None) -> int:
        """The limit that the goals ask for, within the other ones."""
        score = self._score() if self._score else 0.0
        if self.quota.tuner == "temporal":
            return 0 if score >= 1 else _NO_LIMIT
        least = float(PAGE_SIZE * _UNIT)
        # Within the other limits, so that it can come down from there soon.
        most = float(_MOST_BYTES if other_limit is None else other_limit) * _UNIT
        # The kernel starts with a byte, from where it takes minutes to a goal that is near.
        first = least if other_limit is None else most * _FIRST_SHARE
        tuned = feedback(max(self._tuned_limit or first, least), _MET * score)
        self._tuned_limit = min(most, tuned)
        return int(self._tuned_limit / _UNIT)
