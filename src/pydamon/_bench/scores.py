"""Scores of a tool against ground truth, and the comparison with plain DAMON at the same cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Snapshot
from pydamon._workloads import PageTruth

__all__ = [
    "OURS",
    "PLAIN",
    "Comparison",
    "Score",
    "View",
    "best",
    "by_block",
    "compare",
    "correlation",
    "fair_budget_percent",
    "medians",
    "score",
    "truth_heat",
    "view",
]

_BLOCK = (64 << 10) // PAGE_SIZE
_HALF = 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class View:
    """A tool's figures for some pages.

    `share` is the touched share of each page, `heat` (0 to 1) the share of samples that found it
    accessed, and `unobservable` the share that could not be observed.
    """

    share: Floats
    heat: Floats
    unobservable: Floats

    @property
    def hot(self) -> NDArray[np.bool_]:
        """Which pages the tool calls hot."""
        hot: NDArray[np.bool_] = (self.share >= _HALF) | (self.heat >= _HALF)
        return hot


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a snapshot; `wss_error` is the relative error of the working set."""

    precision: float
    recall: float
    f1: float
    block_f1: float
    wss_error: float
    unobservable: float


def view(snapshot: Snapshot, target: int, pages: Sequence[PageTruth]) -> View:
    """Return the figures of a snapshot for *pages*: those of the region that each page lies in."""
    mine = snapshot.target == target
    start, end = snapshot.start[mine], snapshot.end[mine]
    size = end - start
    columns = [
        np.append(column, 0.0)
        for column in (
            snapshot.touched_bytes[mine] / size,
            snapshot.nr_accesses[mine] / snapshot.max_nr_accesses,
            snapshot.unobservable_bytes[mine] / size,
        )
    ]
    at = np.concatenate([p.start + np.arange(len(p.chance)) * PAGE_SIZE for p in pages])
    region = np.searchsorted(start, at, side="right") - 1
    outside = (region < 0) | (at >= np.append(end, 0)[region])
    region[outside] = len(start)
    return View(*(column[region] for column in columns))


def score(pages: Sequence[PageTruth], reported: View) -> Score:
    """Compare the true accesses with a tool's figures for the same pages."""
    chance = np.concatenate([p.chance for p in pages])
    precision, recall, f1 = _f1(chance >= _HALF, reported.hot)
    true_blocks = by_block(pages, chance) >= _HALF / _BLOCK
    # A block is hot if half a page of it was touched, or if half of the samples say so.
    hot_blocks = by_block(pages, reported.share) >= _HALF / _BLOCK
    hot_blocks |= by_block(pages, reported.heat) >= _HALF
    touched = chance.sum()
    return Score(
        precision,
        recall,
        f1,
        _f1(true_blocks, hot_blocks)[2],
        float(abs(reported.share.sum() - touched) / touched)
        if touched
        else float(reported.share.sum() > 0),
        float(reported.unobservable.mean()),
    )


def medians(scores: Sequence[Score]) -> dict[str, float]:
    """Return the medians of several scores, and the worst F1 and error of the working set."""
    return {
        **{f.name: median(getattr(score, f.name) for score in scores) for f in fields(Score)},
        "worst_f1": min(score.f1 for score in scores),
        "worst_wss_error": max(score.wss_error for score in scores),
    }


def best(pages: Sequence[PageTruth], reported: View) -> Score:
    """Return the score of plain DAMON: the better of its two definitions of hot.

    Plain DAMON counts a region as touched as a whole when a single sample hits, which exaggerates.
    Its users often go by the number of hits instead.
    """
    usual = score(pages, reported)
    hits_only = np.where(reported.heat < _HALF, 0, reported.share)
    by_hits = score(pages, replace(reported, share=hits_only))
    better = max(usual, by_hits, key=lambda s: s.f1)
    return Score(
        better.precision,
        better.recall,
        better.f1,
        max(usual.block_f1, by_hits.block_f1),
        min(usual.wss_error, by_hits.wss_error),
        usual.unobservable,
    )


def by_block(pages: Sequence[PageTruth], values: Floats) -> Floats:
    """Average values of pages over blocks of 64 KiB; each block lies within one region."""
    means, at = [], 0
    for part in pages:
        n = len(part.chance)
        heads = np.arange(0, n, _BLOCK)
        means.append(np.add.reduceat(values[at : at + n], heads) / np.diff(np.append(heads, n)))
        at += n
    return np.concatenate(means)


def truth_heat(pages: Sequence[PageTruth], sampling_ns: int) -> Floats:
    """Return the chance that a sample of *sampling_ns* finds each page accessed."""
    rate = np.concatenate([p.rate_hz for p in pages])
    heat: Floats = -np.expm1(-rate * sampling_ns / 1e9)
    return heat


def correlation(first: Floats, second: Floats) -> float:
    """Return Pearson's correlation, or NaN if either side is constant."""
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _f1(truth: NDArray[np.bool_], reported: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return precision, recall and F1."""
    both = int((truth & reported).sum())
    precision = both / reported.sum() if reported.any() else float(not truth.any())
    recall = both / truth.sum() if truth.any() else 1.0
    total = precision + recall
    return float(precision), float(recall), float(2 * precision * recall / total if total else 0)


OURS, PLAIN = "pydamon", "plain"
_TOLERANCE = 0.005
"""Smaller differences of errors do not count: medians do not repeat better."""
_FAIR = 0.9
_MOST_PERCENT = 5.0


class _Row(Protocol):
    """The fields that every benchmark of accuracy has for a tool on a target."""

    @property
    def name(self) -> str: ...
    @property
    def tool(self) -> str: ...
    @property
    def f1(self) -> float: ...
    @property
    def block_f1(self) -> float: ...
    @property
    def wss_error(self) -> float: ...
    @property
    def cpu(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """The errors of pydamon and of plain DAMON on a target.

    The errors are 1 - F1 by pages, 1 - F1 by blocks of 64 KiB, and the error of the working set.
    `as_accurate` and `half_the_error` use the blocks and the working set: regions tell how much of
    them is hot, but not which pages of a sparse pattern, where random pages have some F1 as well.
    """

    name: str
    cpu: float
    plain_cpu: float
    error: float
    plain_error: float
    block_error: float
    plain_block_error: float
    wss_error: float
    plain_wss_error: float

    @property
    def as_accurate(self) -> bool:
        """Whether both errors are at most those of plain DAMON."""
        return all(ours <= plain + _TOLERANCE for ours, plain in self._errors)

    @property
    def half_the_error(self) -> bool:
        """Whether both errors are at most half of those of plain DAMON."""
        return all(ours <= plain / 2 + _TOLERANCE for ours, plain in self._errors)

    @property
    def _errors(self) -> tuple[tuple[float, float], ...]:
        return (
            (self.block_error, self.plain_block_error),
            (self.wss_error, self.plain_wss_error),
        )


def compare(rows: Sequence[_Row]) -> Iterator[Comparison]:
    """Yield a comparison for each target that both tools have monitored."""
    by_tool = {tool: {row.name: row for row in rows if row.tool == tool} for tool in (OURS, PLAIN)}
    for name, ours in by_tool[OURS].items():
        plain = by_tool[PLAIN].get(name)
        if plain is not None:
            yield Comparison(
                name,
                ours.cpu,
                plain.cpu,
                1 - ours.f1,
                1 - plain.f1,
                1 - ours.block_f1,
                1 - plain.block_f1,
                ours.wss_error,
                plain.wss_error,
            )


def fair_budget_percent(ours: float, plain: float) -> float | None:
    """Return the budget at which plain DAMON uses as much CPU time as pydamon at 1 %.

    `None` means that it does so already. *ours* and *plain* are shares of one CPU, measured at a
    budget of 1 %.
    """
    if math.isnan(ours) or plain >= _FAIR * ours:
        return None
    return min(_MOST_PERCENT, ours / plain)
