"""See memory live in a terminal: the application that shows a `live.Feed` or a `live.Replay`."""

from pydamon._show.top import *  # noqa: F403
from pydamon._show.top import __all__  # noqa: F401
