"""See memory live in a browser: `serve(source)`, for a `live.Feed` or a `live.Replay`.

The page gets its frames over one stream of server-sent events, and draws everything from them by
itself: ten browsers cost ten copies of the same bytes. The page can only look, and change nothing.
"""

from pydamon._show.web.app import application
from pydamon._show.web.server import Server, serve

__all__ = ["Server", "application", "serve"]
