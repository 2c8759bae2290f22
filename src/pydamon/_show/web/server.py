"""The HTTP server for the application."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from pydamon._model.errors import UsageError
from pydamon._show.frames import FrameSource
from pydamon._show.web.app import application

__all__ = ["Server", "serve"]


_PATIENCE_S = 2


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the program around it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Listens at once; `run` serves until `stop`.

    Parameters
    ----------
    source
        A `pydamon.live.Feed` or `pydamon.live.Replay`.
    host
        The address to listen on; 0.0.0.0 means all addresses of this machine.
    port
        0 means any free port.

    Raises
    ------
    UsageError
        Where it cannot listen.

    Examples
    --------
    >>> import threading, pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon, pydamon.live.Feed(mon, "2s") as feed:
    ...     server = Server(feed)
    ...     thread = threading.Thread(target=server.run)
    ...     thread.start()
    ...     server.url.startswith(f"http://127.0.0.1:{server.port}/?token=")
    ...     server.stop()
    ...     thread.join()
    True
    """

    def __init__(self, source: FrameSource, host: str = "127.0.0.1", port: int = 0) -> None:
        self.token = secrets.token_urlsafe(16)
        """The secret that requests must have."""
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        """The port that it listens on."""
        self._host = host
        app = application(source, self.token, host=host, stopping=lambda: self._server.should_exit)
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                lifespan="off",
                log_level="critical",
                access_log=False,
                server_header=False,
                ws="none",
                timeout_graceful_shutdown=_PATIENCE_S,
            )
        )

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        host = socket.gethostname() if _is_any(self._host) else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={self.token}"

    def run(self) -> None:
        """Serve until `stop` is called."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run` soon; safe in a signal handler, and from another thread."""
        self._server.should_exit = True


def serve(
    source: FrameSource,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve a source until Ctrl-C.

    Parameters
    ----------
    source, host, port
        As for `Server`.
    announce
        Called with the address to open, which has the token in it.

    Raises
    ------
    UsageError
        Where it cannot listen.

    Examples
    --------
    >>> import pydamon
    >>> def show(pid):
    ...     with pydamon.monitor(pid) as mon, pydamon.live.Feed(mon) as feed:
    ...         serve(feed, port=8725)
    """
    server = Server(source, host, port)
    announce(server.url)
    with suppress(KeyboardInterrupt):
        server.run()


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise UsageError(f"not a port: {port}", hint="name one from 1 to 65535, or 0 for any")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot listen on {host} port {port}: {reason}", hint="name another with --port"
        ) from None
    return listener


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
