"""Schemes (DAMOS): what to do with memory that is accessed in a certain way."""

from __future__ import annotations

from pydamon.schemes.apply import AppliedSchemes, apply
from pydamon.schemes.applying import AppliedScheme, Tried
from pydamon.schemes.damo import read_damo_schemes
from pydamon.schemes.filters import Filter
from pydamon.schemes.pattern import AccessPattern, Age, Rate
from pydamon.schemes.quota import Goal, Quota, Weights
from pydamon.schemes.reading import read_schemes
from pydamon.schemes.scheme import Destination, Guard, Scheme
from pydamon.schemes.stats import SchemeStats
from pydamon.schemes.watermarks import Watermarks

__all__ = [
    "AccessPattern",
    "Age",
    "AppliedScheme",
    "AppliedSchemes",
    "Destination",
    "Filter",
    "Goal",
    "Guard",
    "Quota",
    "Rate",
    "Scheme",
    "SchemeStats",
    "Tried",
    "Watermarks",
    "Weights",
    "apply",
    "read_damo_schemes",
    "read_schemes",
]
