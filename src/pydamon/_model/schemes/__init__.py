"""Schemes (DAMOS) as data: access pattern, filters, quota, watermarks, guard.

The state that a scheme keeps while it works has the same names: `_act/runtime`.
"""

from __future__ import annotations

from pydamon._model.rates import Rate
from pydamon._model.schemes.filters import Filter
from pydamon._model.schemes.pattern import AccessPattern, Age
from pydamon._model.schemes.pauses import Guard, Watermarks
from pydamon._model.schemes.quota import Goal, Quota, Weights
from pydamon._model.schemes.scheme import Destination, Scheme, SchemeStats

__all__ = [
    "AccessPattern",
    "Age",
    "Destination",
    "Filter",
    "Goal",
    "Guard",
    "Quota",
    "Rate",
    "Scheme",
    "SchemeStats",
    "Watermarks",
    "Weights",
]
