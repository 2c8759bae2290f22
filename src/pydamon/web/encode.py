"""Frames as JSON for the page."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from pydamon.core.names import dump_json, printable
from pydamon.core.regions import PAGE_SIZE
from pydamon.core.snapshot import Target
from pydamon.live import IDLE_NS, SUMS, Frame, FrameSource
from pydamon.views.text import target_label

__all__ = ["Encoder", "state_of"]

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
