"""pydamon beside the kernel's plain algorithm, at the same CPU time, target by target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["OURS", "PLAIN", "Comparison", "compare", "fair_budget_percent"]

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
