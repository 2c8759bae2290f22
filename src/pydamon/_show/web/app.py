"""The web application: a page, and a stream of frames as JSON."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pydamon._model.names import dump_json, printable
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Target
from pydamon._show.frames import IDLE_NS, SUMS, Frame, FrameSource
from pydamon._show.terminal.text import target_label
from pydamon._show.web.guard import Guard

__all__ = ["Encoder", "application", "state_of"]

_UNSEEN = -1000


class Encoder:
    """Encodes each frame once, and keeps that for as long as there is the frame."""

    def __init__(self) -> None:
        self._encoded: WeakKeyDictionary[Frame, bytes] = WeakKeyDictionary()

    def __call__(self, frame: Frame) -> bytes:
        """A frame as one line of JSON; times are in ms, addresses are page numbers.

        Of spans `low` is relative to the end of the span before, and `rate` in 1/1000, below 0
        where nobody had looked yet; numbers
        beyond 2^53 would not survive in JavaScript, page numbers do.
        """
        found = self._encoded.get(frame)
        if found is None:
            self._encoded[frame] = found = dump_json(_document(frame), compact=True).encode()
        return found


def state_of(source: FrameSource) -> dict[str, Any]:
    """What the page should know of a source beside its frames."""
    return {
        "live": source.live,
        "ended": source.ended,
        "probe": source.probe_name,
        "aggregation": source.attrs.aggregation_ns / 1e6,
        "idle": IDLE_NS / 1e6,
        "page": PAGE_SIZE,
    }


def _id(target: Target) -> str:
    """What tells a target from all others, on the page."""
    return "/".join(map(str, target.key))


def _document(frame: Frame) -> dict[str, Any]:
    spans, timing = frame.spans, frame.timing
    low, high = spans.start // PAGE_SIZE, spans.end // PAGE_SIZE
    before = np.append(0, high[:-1])
    # Not rounded to nothing: what is accessed at all must differ from what is not.
    rate = np.nan_to_num(np.ceil(spans.rate * 1000 - 1e-3), nan=_UNSEEN)
    return {
        "start": frame.start_ns / 1e6,
        "end": frame.end_ns / 1e6,
        "measured": timing.measured_ns / 1e6,
        "snapshots": timing.snapshots,
        "sampling": timing.sampling_ns / 1e6,
        "cpu": timing.cpu_ns / 1e6,
        "late": timing.late_ticks,
        "targets": [[_id(target), target_label(target)] for target in frame.targets],
        "names": [printable(name) for name in frame.names],
        "spans": {
            "target": spans.target.tolist(),
            "low": (low - before).tolist(),
            "pages": (high - low).tolist(),
            "rate": rate.astype(np.int64).tolist(),
            "name": spans.name.tolist(),
        },
        "sums": {
            "target": frame.sum_target.tolist(),
            "name": frame.sum_name.tolist(),
            **{
                column: np.rint(frame.sums[:, i]).astype(np.int64).tolist()
                for i, column in enumerate(SUMS)
            },
        },
    }


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
