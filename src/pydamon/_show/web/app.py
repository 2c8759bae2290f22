"""The web application: a page, and a stream of frames as JSON, for requests that may have them."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pydamon._show.frames import FrameSource
from pydamon._show.pictures.memory import STYLE
from pydamon._show.web.encode import Encoder, News

__all__ = ["Guard", "application"]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_LOCAL = {"localhost", "ip6-localhost"}


class Guard:
    """ASGI middleware that refuses requests without the token, or for another host.

    The token comes in the address once, and moves to a cookie that scripts cannot read. Every
    answer carries the headers that keep foreign code out.
    """

    def __init__(self, app: ASGIApp, token: str, host: str) -> None:
        self._app = app
        self._token = token
        self._hosts = _LOCAL | {
            host.lower(),
            socket.gethostname().lower(),
            socket.getfqdn().lower(),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request that is allowed."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http":
            await self._answer(scope)(scope, receive, _with_headers(send))

    def _answer(self, scope: Scope) -> ASGIApp:
        headers = Headers(scope=scope)
        if not self._knows(headers.get("host", "")):
            return PlainTextResponse("pydamon does not answer to this name\n", 421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("pydamon can only be looked at\n", 405)
        # A cookie belongs to a host, whatever the port: another pydamon may serve another port.
        name = f"pydamon-{(scope.get('server') or ('', 0))[1]}"
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1]
        if self._is_token(given):
            answer = RedirectResponse(scope["path"] if _is_plain(scope["path"]) else "/", 303)
            answer.set_cookie(name, self._token, httponly=True, samesite="lax", path="/")
            return answer
        if not self._is_token(_cookie(headers.get("cookie", ""), name)):
            text = "open the address that pydamon serve has printed: it has a token in it\n"
            return PlainTextResponse(text, 403)
        return self._app

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _knows(self, host: str) -> bool:
        """Whether a Host header names this server; DNS can rebind names, but not addresses."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name.lower().rstrip(".") in self._hosts
        return True


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sending


def _cookie(header: str, name: str) -> str:
    try:
        cookie = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _is_plain(path: str) -> bool:
    """Whether a redirect to this path stays on this server."""
    return path.startswith("/") and not path.startswith("//") and "\\" not in path


_STATIC = Path(__file__).parent / "static"
_POLL_S = 0.25
_FIRST_POLL_S = 0.02
"""Short, because a user is waiting for the first picture."""
_HEARTBEAT_S = 15.0
_CHUNK_BYTES = 1 << 18


def application(
    source: FrameSource,
    token: str,
    *,
    host: str = "localhost",
    stopping: Callable[[], bool] = lambda: False,
) -> Starlette:
    """The ASGI application: `/` is the page, `/frames` a stream of all frames, old and new.

    Parameters
    ----------
    source
        A `pydamon.live.Feed` or `pydamon.live.Replay`.
    token
        The secret that requests must have.
    host
        A name of the server that requests may use, besides the usual ones.
    stopping
        Streams end when it returns true.

    Returns
    -------
    starlette.applications.Starlette
        To be run by any ASGI server.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon, pydamon.live.Feed(mon, "2s") as feed:
    ...     [route.path for route in application(feed, "secret").routes]
    ['/frames', '/memory.css', '']
    """
    encoder, run = Encoder(), secrets.token_hex(4)

    async def frames(request: Request) -> StreamingResponse:
        after = _after(request.headers.get("last-event-id", ""), run)
        return StreamingResponse(
            _events(source, encoder, run, after, stopping), media_type="text/event-stream"
        )

    return Starlette(
        routes=[
            Route("/frames", frames),
            Route("/memory.css", lambda _: FileResponse(STYLE)),
            Mount("/", StaticFiles(directory=_STATIC, html=True)),
        ],
        middleware=[Middleware(Guard, token=token, host=host)],
    )


def _after(last_event_id: str, run: str) -> int:
    """The last version that a reconnecting page has; 0 where another server (*run*) sent it."""
    begin, _, version = last_event_id.partition("-")
    return int(version) if begin == run and version.isdecimal() else 0


async def _events(
    source: FrameSource, encoder: Encoder, run: str, after: int, stopping: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The state at first and when it changes, and every frame since version *after*.

    No queue builds up for a slow reader: it gets what the history has when it reads again.
    """
    yield b"retry: 2000\n\n"
    news = News(source, run)
    pause_s = silent_s = 0.0
    while not stopping():
        # Read before the frames: a source that has ended has put its last frame there.
        events = news.events(pause_s)
        chunk = b""
        for version, frame in source.history.since(after):
            chunk += b"id: %b-%d\ndata: %b\n\n" % (run.encode(), version, encoder(frame))
            after = version
            if len(chunk) > _CHUNK_BYTES:
                yield chunk
                chunk = b""
                await asyncio.sleep(0)
        chunk += events
        pause_s = _POLL_S if after or source.ended else _FIRST_POLL_S
        silent_s += pause_s
        if not chunk and silent_s >= _HEARTBEAT_S:
            chunk = b": still here\n\n"
        if chunk:
            silent_s = 0.0
            yield chunk
        await asyncio.sleep(pause_s)
