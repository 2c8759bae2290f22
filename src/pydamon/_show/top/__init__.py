"""See memory live in a terminal: the application that shows a `live.Feed` or a `live.Replay`."""

from pydamon._show.top.app import TopApp

__all__ = ["TopApp"]
