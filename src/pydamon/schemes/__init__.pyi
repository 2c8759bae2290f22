from .apply import AppliedSchemes
from .applying import AppliedScheme, Tried
from .damo import read_damo_schemes
from .filters import Filter
from .pattern import AccessPattern, Age, Rate
from .quota import Goal, Quota, Weights
from .reading import read_schemes
from .scheme import Destination, Guard, Scheme
from .stats import SchemeStats
from .watermarks import Watermarks

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
    "read_damo_schemes",
    "read_schemes",
]
