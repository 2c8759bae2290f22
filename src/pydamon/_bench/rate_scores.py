"""Scores of access rates, of their uncertainty, and of working sets over windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pydamon._model.snapshot import Snapshot
from pydamon._workloads.rates import RateTruth

__all__ = ["COLD", "Comparison", "SetScore", "rank_correlation"]

COLD = 0.005
"""A smaller share of intervals with an access is the same as none."""
_BLOCK_BYTES = 64 << 10
_INSIDE = 0.9
"""A region that lies to a smaller share in the sets says little about them."""
_KEPT = 0.1
_MOVING = "turn"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SetScore:
    """What a tool said of a set of pages, beside what was counted.

    All shares are those of sampling intervals with an access. `wanted` is the share by the set's
    description, and `truth` the share that was counted: a busy machine does not keep the rates
    (`kept`). `reported` is the mean over the look, `mean_error` its relative error, and
    `median_error` the size of the relative error of the median snapshot. `within_1` and `within_2`
    are the shares of bytes and snapshots for which the truth lies within that many standard
    deviations that the tool states. `called_accessed` is the share of the bytes that are told to be
    accessed in more than 0.5 % of the intervals. NaN means that the figure makes no sense here.
    """

    name: str
    wanted: float
    truth: float
    kept: bool
    reported: float
    mean_error: float
    median_error: float
    within_1: float
    within_2: float
    called_accessed: float


@dataclass(frozen=True)
class Comparison:
    """The snapshots of a tool beside the truth about sets of pages.

    `windows` has the start and the end of each snapshot's window in seconds of the truth's clock.
    """

    snapshots: Sequence[Snapshot]
    pid: int
    windows: Sequence[tuple[float, float]]
    ranges: Sequence[tuple[int, int]]
    wanted: Floats
    truth: RateTruth

    @cached_property
    def true_shares(self) -> Floats:
        """The share of each set over the whole look."""
        return self.truth.shares(self.windows[0][0], self.windows[-1][1])

    @cached_property
    def is_moving(self) -> NDArray[np.bool_]:
        """Which sets are hot for a while and then idle for a while: their windows differ."""
        return np.array([word.split(":")[0] == _MOVING for word in self.truth.words])

    @cached_property
    def is_idle(self) -> NDArray[np.bool_]:
        """Which sets are never accessed."""
        return np.array([word == "idle" for word in self.truth.words])

    def sets(self) -> tuple[SetScore, ...]:
        """Score each set."""
        lengths = np.diff(self.windows, axis=1)[:, 0]
        means = np.average(self._reported, axis=0, weights=lengths)
        weights, near = self._calibration
        called = np.mean([part.bytes_above(COLD) for part in self._parts], axis=0) / self._sizes
        scores = []
        for index, word in enumerate(self.truth.words):
            true, wanted = float(self.true_shares[index]), float(self.wanted[index])
            total = weights[:, index].sum()
            scores.append(
                SetScore(
                    name=word,
                    wanted=wanted,
                    truth=true,
                    # A look need not hold whole turns.
                    kept=bool(self.is_moving[index]) or abs(true - wanted) <= _KEPT * wanted,
                    reported=float(means[index]),
                    mean_error=float(means[index]) / true - 1 if true else math.nan,
                    median_error=self._median_error(index),
                    within_1=float(near[0][:, index].sum() / total) if total else math.nan,
                    within_2=float(near[1][:, index].sum() / total) if total else math.nan,
                    called_accessed=float(called[index]),
                )
            )
        return tuple(scores)

    def _median_error(self, index: int) -> float:
        """Return the relative error of the median snapshot, of a moving set while it is hot."""
        truth, reported = self._truth[:, index], self._reported[:, index]
        counts = truth > (0.5 if self.is_moving[index] else 0)
        errors = np.abs(reported[counts] / truth[counts] - 1)
        return float(np.median(errors)) if len(errors) else math.nan

    def cold_called_accessed(self) -> float:
        """Return the share of the idle bytes that are told to be accessed, over all snapshots."""
        if not self.is_idle.any():
            return math.nan
        called = np.mean([part.bytes_above(COLD) for part in self._parts], axis=0)
        return float(called[self.is_idle].sum() / self._sizes[self.is_idle].sum())

    def rank_of_sets(self) -> float:
        """Return the rank correlation of the mean shares of the sets."""
        lengths = np.diff(self.windows, axis=1)[:, 0]
        means = np.average(self._reported, axis=0, weights=lengths)
        return rank_correlation(means, self.true_shares)

    def rank_of_regions(self) -> float:
        """Return the rank correlation of regions by their bytes, in the median snapshot."""
        ranks = [
            rank_correlation(part.at_blocks(part.share), np.repeat(truth, self._blocks))
            for part, truth in zip(self._parts, self._truth, strict=True)
        ]
        known = [rank for rank in ranks if not math.isnan(rank)]
        return median(known) if known else math.nan

    def working_set_error(self, window_s: float) -> float:
        """Return the relative error of working sets over windows, in the median.

        What was touched in several snapshots is, for each block, the most that one of them says.
        NaN means that there are no snapshots, or none that are short enough.
        """
        errors = []
        touched = [part.at_blocks(part.touched) for part in self._parts]
        starts_s = np.array(self.windows)[:, 0]
        for last, (_, end_s) in enumerate(self.windows):
            first = min(last, int(np.searchsorted(starts_s, end_s - 1.02 * window_s)))
            length_s = end_s - starts_s[first]
            if not 0.8 * window_s <= length_s <= 1.25 * window_s:
                continue
            reported = np.max(touched[first : last + 1], axis=0).sum() * _BLOCK_BYTES
            shares = self.truth.touched(starts_s[first], end_s)
            true = float((shares * self._sizes).sum())
            if true:
                errors.append(abs(float(reported) / true - 1))
        return median(errors) if errors else math.nan

    @cached_property
    def _sizes(self) -> Floats:
        return np.array([end - start for start, end in self.ranges], np.float64)

    @cached_property
    def _blocks(self) -> int:
        return int(self._sizes[0]) // _BLOCK_BYTES

    @cached_property
    def _parts(self) -> list[_Part]:
        return [_Part.of(snapshot, self.pid, self.ranges) for snapshot in self.snapshots]

    @cached_property
    def _reported(self) -> Floats:
        """The mean share of each set in each snapshot; shape (snapshots, sets)."""
        return np.array([part.share @ part.overlap for part in self._parts]) / self._sizes

    @cached_property
    def _truth(self) -> Floats:
        """The true share for each snapshot, that of its window only for sets that move."""
        whole = np.tile(self.true_shares, (len(self.windows), 1))
        if not self.is_moving.any():
            return whole
        return np.where(self.is_moving, [self.truth.shares(*at) for at in self.windows], whole)

    @cached_property
    def _calibration(self) -> tuple[Floats, tuple[Floats, Floats]]:
        """Bytes of each set with a stated error; those within 1 and 2 of it; by snapshot."""
        weights: list[Floats] = []
        near: tuple[list[Floats], list[Floats]] = ([], [])
        for part, truth in zip(self._parts, self._truth, strict=True):
            inside = part.overlap.sum(axis=1)
            counts = (inside >= _INSIDE * part.size) & ~np.isnan(part.error)
            overlap = part.overlap[counts]
            weights.append(overlap.sum(axis=0))
            distance = np.abs(part.share[counts] - overlap @ truth / inside[counts])
            for factor, rows in zip((1, 2), near, strict=True):
                rows.append((distance <= factor * part.error[counts]) @ overlap)
        return np.array(weights), (np.array(near[0]), np.array(near[1]))


@dataclass(frozen=True, slots=True)
class _Part:
    """The regions of one target in a snapshot; `overlap` are their bytes in each set."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    share: Floats
    error: Floats
    touched: Floats
    overlap: Floats
    places: NDArray[np.int64]
    """The middle of each block of 64 KiB of all sets."""

    @classmethod
    def of(cls, snapshot: Snapshot, pid: int, ranges: Sequence[tuple[int, int]]) -> _Part:
        index = next((i for i, target in enumerate(snapshot.targets) if target.pid == pid), -1)
        mine = snapshot.target == index
        start, end = snapshot.start[mine], snapshot.end[mine]
        low, high = np.array(ranges, np.int64).T
        overlap = np.minimum(end[:, None], high) - np.maximum(start[:, None], low)
        places = [np.arange(low, high, _BLOCK_BYTES) + _BLOCK_BYTES // 2 for low, high in ranges]
        return cls(
            start,
            end,
            snapshot.access_share[mine],
            snapshot.access_share_error[mine],
            snapshot.touched_bytes[mine] / (end - start),
            np.maximum(overlap, 0).astype(np.float64),
            np.concatenate(places),
        )

    @property
    def size(self) -> NDArray[np.int64]:
        return self.end - self.start

    def bytes_above(self, share: float) -> Floats:
        """Return how many bytes of each set lie in regions with a larger share."""
        above: Floats = (self.share > share) @ self.overlap
        return above

    def at_blocks(self, values: Floats) -> Floats:
        """Return the values of the regions that the blocks lie in; 0 where there is none."""
        region = np.searchsorted(self.start, self.places, side="right") - 1
        region[(region < 0) | (self.places >= np.append(self.end, 0)[region])] = len(self.start)
        at: Floats = np.append(values, 0.0)[region]
        return at


def rank_correlation(reported: Floats, truth: Floats) -> float:
    """Return Spearman's correlation, or NaN if either side is constant.

    Reported shares up to 0.5 % count as equal: the order of idle memory means nothing.
    """
    first, second = _ranks(np.where(reported <= COLD, 0.0, reported)), _ranks(truth)
    if first.std() == 0 or second.std() == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Return the ranks of values; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Floats = ends - (counts - 1) / 2
    return means[inverse.ravel()]
