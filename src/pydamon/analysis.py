"""Analysis of recordings: functions with typed results."""

from pydamon._data.analysis import *  # noqa: F403
from pydamon._data.analysis import __all__  # noqa: F401
