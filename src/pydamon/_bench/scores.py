"""How well a tool tells what a workload accessed, beside the plain algorithm at the same cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    "score",
    "truth_heat",
    "view",
]

_BLOCK = (64 << 10) // PAGE_SIZE
_HALF = 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class View:
    """What a tool says of some pages: which `share` of each was touched, how often it was seen
    accessed (`heat`, 0 to 1), and which share of it could not be observed."""

    share: Floats
    heat: Floats
    unobservable: Floats

    @property
    def hot(self) -> NDArray[np.bool_]:
        """The pages that the tool calls hot."""
        hot: NDArray[np.bool_] = (self.share >= _HALF) | (self.heat >= _HALF)
        return hot


@dataclass(frozen=True, slots=True)
class Score:
    """One comparison; `wss_error` is the error of the working set over its true size."""

    precision: float
    recall: float
    f1: float
    block_f1: float
    wss_error: float
    unobservable: float


def view(snapshot: Snapshot, target: int, pages: Sequence[PageTruth]) -> View:
    """What a snapshot says of *pages*: the density of the region that each lies in."""
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


def score(pages: Sequence[PageTruth], said: View) -> Score:
    """Compare what was accessed with what a tool says of the same pages."""
    chance = np.concatenate([p.chance for p in pages])
    precision, recall, f1 = _f1(chance >= _HALF, said.hot)
    true_blocks = by_block(pages, chance) >= _HALF / _BLOCK
    # Half a page of a block, or samples that say so whatever the share.
    hot_blocks = by_block(pages, said.share) >= _HALF / _BLOCK
    hot_blocks |= by_block(pages, said.heat) >= _HALF
    real = chance.sum()
    return Score(
        precision,
        recall,
        f1,
        _f1(true_blocks, hot_blocks)[2],
        float(abs(said.share.sum() - real) / real) if real else float(said.share.sum() > 0),
        float(said.unobservable.mean()),
    )


def best(pages: Sequence[PageTruth], said: View) -> Score:
    """The score of plain DAMON: of its two ways to say what is hot the one that is better for it.

    To it a region is touched as a whole as soon as one sample hits, which exaggerates; going by
    the number of hits alone is what its users often do.
    """
    usual = score(pages, said)
    by_hits = score(pages, replace(said, share=np.where(said.heat < _HALF, 0, said.share)))
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
    """Means of one value a page by blocks of 64 KiB, each within one region."""
    means, at = [], 0
    for part in pages:
        n = len(part.chance)
        heads = np.arange(0, n, _BLOCK)
        means.append(np.add.reduceat(values[at : at + n], heads) / np.diff(np.append(heads, n)))
        at += n
    return np.concatenate(means)


def truth_heat(pages: Sequence[PageTruth], sampling_ns: int) -> Floats:
    """The chance of each page that a sample of that length finds it accessed."""
    rate = np.concatenate([p.rate_hz for p in pages])
    heat: Floats = -np.expm1(-rate * sampling_ns / 1e9)
    return heat


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's; NaN where either is the same everywhere."""
    if len(one) < 2 or one.std() == 0 or other.std() == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _f1(real: NDArray[np.bool_], said: NDArray[np.bool_]) -> tuple[float, float, float]:
    both = int((real & said).sum())
    precision = both / said.sum() if said.any() else float(not real.any())
    recall = both / real.sum() if real.any() else 1.0
    total = precision + recall
    return float(precision), float(recall), float(2 * precision * recall / total if total else 0)


OURS, PLAIN = "pydamon", "plain"
_ALIKE = 0.005
"""Errors that differ by less are the same: medians repeat no better."""
_FAIR = 0.9
_MOST_PERCENT = 5.0


class _Row(Protocol):
    """What every benchmark of accuracy says of one tool on one target."""

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
    """The errors of both on one target: 1 - F1 by pages and by blocks of 64 KiB, and that of the
    working set.

    `as_accurate` and `half_the_error` go by blocks and the working set: regions say how much of
    them is hot, not which pages of a sparse pattern, where pages named at random have some F1.
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
        """At least as accurate as plain DAMON in both."""
        return all(ours <= plain + _ALIKE for ours, plain in self._errors)

    @property
    def half_the_error(self) -> bool:
        """At least twice as accurate in both."""
        return all(ours <= plain / 2 + _ALIKE for ours, plain in self._errors)

    @property
    def _errors(self) -> tuple[tuple[float, float], ...]:
        return (
            (self.block_error, self.plain_block_error),
            (self.wss_error, self.plain_wss_error),
        )


def compare(rows: Sequence[_Row]) -> Iterator[Comparison]:
    """One comparison for each target that both have watched."""
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
    """The budget with which plain DAMON uses as much CPU time as pydamon did at 1 %.

    `None` where it already does; both figures are shares of one CPU as measured at that budget.
    """
    if math.isnan(ours) or plain >= _FAIR * ours:
        return None
    return min(_MOST_PERCENT, ours / plain)
