"""See memory live in a terminal: the application that shows a `live.Feed` or a `live.Replay`.

with pydamon.monitor(pid) as mon, pydamon.live.Feed(mon) as feed:
    TopApp(feed).run()
"""

from pydamon._show.top.app import TopApp

__all__ = ["TopApp"]
