"""See memory live in a browser: `serve(source)`, for a `live.Feed` or a `live.Replay`.

What the page shows comes as frames over one stream of server-sent events, from which it draws
everything by itself: ten browsers cost ten copies of the same bytes. Nothing can be done from the
page but look.
"""

from pydamon._show.web.app import application
from pydamon._show.web.server import Server, serve

__all__ = ["Server", "application", "serve"]
