"""Which regions a scheme is about: its access pattern, and the filters that go by regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pydamon.core.regions import PAGE_SIZE
from pydamon.schemes.chosen import Candidates
from pydamon.schemes.filters import Filter
from pydamon.schemes.pattern import UNBOUNDED, Bounds

__all__ = ["FilterDecision", "filtered", "matching"]


def matching(chosen: Candidates, bounds: Bounds) -> Candidates:
    """The regions within closed bounds of size, access rate and age."""
    size, rate, age, age_ns = chosen.size, chosen.nr_accesses, chosen.age, chosen.age_ns
    fits = (size >= bounds.min_size) & (size <= bounds.max_size)
    fits &= (rate >= bounds.min_nr_accesses) & (rate <= bounds.max_nr_accesses)
    if bounds.max_nr_accesses < UNBOUNDED:
        # What nobody has looked at may be accessed at any rate.
        fits &= ~chosen.is_unseen
    if bounds.min_age_ns is None:
        fits &= age >= bounds.min_age
    else:
        fits &= age_ns >= bounds.min_age_ns
    if bounds.max_age_ns is None:
        fits &= age <= bounds.max_age
    else:
        fits &= age_ns <= bounds.max_age_ns
    return chosen if fits.all() else chosen.take(fits)


class FilterDecision:
    """What filters say about things in turn: the first that has a say decides."""

    def __init__(self, count: int) -> None:
        self.allowed = np.zeros(count, np.bool_)
        self.decided = np.zeros(count, np.bool_)

    def ask(self, rule: Filter, is_of_kind: NDArray[np.bool_]) -> None:
        """Let one filter decide about what it is for."""
        concerned = (is_of_kind == rule.matching) & ~self.decided
        self.allowed |= concerned & rule.allow
        self.decided |= concerned

    def passes(self, default: bool) -> NDArray[np.bool_]:
        """What is allowed, with a default for what no filter had a say about."""
        return np.where(self.decided, self.allowed, default)


def filtered(chosen: Candidates, filters: Sequence[Filter]) -> Candidates:
    """What the filters that go by regions do not reject; regions on a border are cut there."""
    core = [rule for rule in filters if rule.is_core]
    if not core:
        return chosen
    addresses = [_pages(rule) for rule in core if rule.kind == "addr"]
    if addresses:
        borders = np.concatenate(addresses)
        chosen = chosen.cut_at(dict.fromkeys(range(len(chosen.snapshot.targets)), borders))
    verdict = FilterDecision(len(chosen))
    for rule in core:
        if rule.kind == "addr":
            start, end = _pages(rule)
            verdict.ask(rule, (chosen.start >= start) & (chosen.end <= end))
        else:
            verdict.ask(rule, chosen.target == rule.target)
    # Where filters of pages follow, they decide about what is left.
    default = len(core) < len(filters) or not core[-1].allow
    kept = chosen.take(verdict.passes(default))
    explicit = (verdict.allowed & verdict.decided)[verdict.passes(default)]
    return Candidates(kept.snapshot, kept.region, kept.start, kept.end, explicit)


def _pages(rule: Filter) -> NDArray[np.int64]:
    """Whole pages around an address range."""
    assert rule.start is not None
    assert rule.end is not None
    return np.array([rule.start // PAGE_SIZE, -(-rule.end // PAGE_SIZE)], np.int64) * PAGE_SIZE
