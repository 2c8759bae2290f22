"""Containers: their names, and how much memory each needs."""

from pydamon._containers import *  # noqa: F403
from pydamon._containers import __all__  # noqa: F401
