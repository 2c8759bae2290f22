"""The web application: a page, and a stream of frames."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pydamon.live import FrameSource
from pydamon.web.encode import Encoder, state_of
from pydamon.web.guard import Guard

__all__ = ["application"]

_STATIC = Path(__file__).parent / "static"
_LOOK_S = 0.25
_FIRST_LOOK_S = 0.02
"""Somebody waits for the first picture."""
_HEARTBEAT_S = 15.0
_CHUNK_BYTES = 1 << 18


def application(
    source: FrameSource,
    token: str,
    *,
    host: str = "localhost",
    stopping: Callable[[], bool] = lambda: False,
) -> Starlette:
    """What a server serves: `/`, and `/frames` with all frames so far and those to come.

    Streams end when *stopping* is true. *host* is the name, beside the usual ones, that the server
    is asked for by.
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
            Mount("/", StaticFiles(directory=_STATIC, html=True)),
        ],
        middleware=[Middleware(Guard, token=token, host=host)],
    )


def _after(last_event_id: str, run: str) -> int:
    """The version that a page which connects again has seen last; 0 for one of another server."""
    begin, _, version = last_event_id.partition("-")
    return int(version) if begin == run and version.isdecimal() else 0


async def _events(
    source: FrameSource, encoder: Encoder, run: str, after: int, stopping: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The state at first and when it changes, and every frame since version *after*.

    Nothing waits here for a slow reader: what it has missed is what the history has by then.
    """
    yield b"retry: 2000\n\n"
    state: dict[str, object] = {}
    silent_s = 0.0
    while not stopping():
        # Before the frames are asked for: what has ended has put its last one there.
        newest_state = {**state_of(source), "run": run}
        chunk = b""
        for version, frame in source.history.since(after):
            chunk += b"id: %b-%d\ndata: %b\n\n" % (run.encode(), version, encoder(frame))
            after = version
            if len(chunk) > _CHUNK_BYTES:
                yield chunk
                chunk = b""
                await asyncio.sleep(0)
        if newest_state != state:
            state = newest_state
            chunk += b"event: state\ndata: %b\n\n" % json.dumps(state).encode()
        pause_s = _LOOK_S if after or source.ended else _FIRST_LOOK_S
        silent_s += pause_s
        if not chunk and silent_s >= _HEARTBEAT_S:
            chunk = b": still here\n\n"
        if chunk:
            silent_s = 0.0
            yield chunk
        await asyncio.sleep(pause_s)
