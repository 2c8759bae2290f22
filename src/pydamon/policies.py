"""Policies: ready-made schemes, and the service that runs them."""

from pydamon._act.policies import *  # noqa: F403
from pydamon._act.policies import __all__  # noqa: F401
