"""Access control: requests need the token, and a name that this server has."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

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
