"""Schemes (DAMOS) as data: access pattern, filters, quota, watermarks, guard.

The state that a scheme keeps while it works has the same names: `_act/runtime`.
"""

from __future__ import annotations

from pydamon._model.rates import Rate
from pydamon._model.schemes.limits import Goal, Guard, Quota, Watermarks, Weights
from pydamon._model.schemes.matching import AccessPattern, Age, Filter
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
