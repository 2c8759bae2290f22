"""Schemes (DAMOS) as data: access pattern, filters, quota, watermarks."""

from __future__ import annotations

from pydamon._model.schemes.filters import Filter
from pydamon._model.schemes.pattern import AccessPattern, Age, Rate
from pydamon._model.schemes.quota import Goal, Quota, Watermarks, Weights
from pydamon._model.schemes.scheme import Destination, Guard, Scheme, SchemeStats

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
