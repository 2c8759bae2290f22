"""Live views: frames of a second each, in a bounded amount of memory."""

from pydamon._show.frames import *  # noqa: F403
from pydamon._show.frames import __all__  # noqa: F401
