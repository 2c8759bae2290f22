"""What the page gets, as JSON: frames, the state of their source, needs of targets, and owners."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from pydamon._data.analysis import OwnerReport
from pydamon._model.display import dump_json, printable
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._show.frames import AGE_EDGES_NS, IDLE_NS, SUMS, Frame, FrameSource, History
from pydamon._show.frames.figures import AGE_LABELS
from pydamon._show.frames.frame import Key
from pydamon._show.results.owners import innermost
from pydamon._show.text import needs_headline, target_label

__all__ = ["Encoder", "News"]

_MOST_CURVES = 50
"""The targets with most memory; curves of others are left out."""
_MOST_OWNERS = 200
"""Those of the most idle memory."""
_NEEDS_PAUSE_S = 5.0
"""Needs are means over a long time, which hardly change in a second."""
_UNSEEN = -1000
"""The rate of spans that no probe had looked at yet."""


class Encoder:
    """Encodes each frame once, and keeps the bytes for as long as the frame lives."""

    def __init__(self) -> None:
        self._encoded: WeakKeyDictionary[Frame, bytes] = WeakKeyDictionary()

    def __call__(self, frame: Frame) -> bytes:
        """A frame as one line of JSON; times are in ms, addresses are page numbers.

        The `low` of a span is relative to the end of the span before; its `rate` is in 1/1000, and
        below 0 where no probe had looked yet. JavaScript's numbers end at 2^53, which page numbers
        do not reach.
        """
        encoded = self._encoded.get(frame)
        if encoded is None:
            self._encoded[frame] = encoded = dump_json(_document(frame), compact=True).encode()
        return encoded


def _state_of(source: FrameSource) -> dict[str, Any]:
    """What the page knows of a source besides its frames."""
    return {
        "live": source.live,
        "ended": source.ended,
        "caveat": printable(source.caveat),
        "probe": source.probe_name,
        "aggregation": source.attrs.aggregation_ns / 1e6,
        "idle": IDLE_NS / 1e6,
        "page": SMALLEST_PAGE,
        "ageEdges": [edge_ns / 1e6 for edge_ns in AGE_EDGES_NS],
        "ageLabels": AGE_LABELS,
    }


def _needs_of(source: FrameSource) -> dict[str, Any]:
    """What the page knows of how much memory each target needs, by the target's identity."""
    needs = source.history.needs
    curves, distance_ns = ((), 0) if needs is None else (needs.targets, needs.look_distance_ns)
    largest = sorted(curves, key=lambda curve: -curve.resident_bytes)[:_MOST_CURVES]
    return {
        _id(curve.target.key): {
            "idle": (curve.idle_ns / 1e6).tolist(),
            "kept": curve.kept_bytes.tolist(),
            "back": [float(f"{rate:.3g}") for rate in curve.refaults_per_s.tolist()],
            "tolerated": curve.tolerated_per_s,
            "distance": distance_ns / 1e6,
            "words": "It {}. {}".format(*needs_headline(curve, point, curve.tolerated_per_s)),
            "point": point and [point.idle_ns / 1e6, point.kept_bytes, point.refaults_per_s],
        }
        for curve, point in ((curve, curve.point()) for curve in largest)
        if curve.target is not None
    }


def _owners_of(history: History) -> dict[str, Any]:
    """What the page knows of the owners of memory, by target too; empty if that is nothing."""
    if history.owners is None:
        return {}
    by_target = {
        _id(key): _owners_in(report, f"process {key[1]}")
        for key, report in history.owners_by_target.items()
    }
    return {**_owners_in(history.owners, "all processes"), "targets": by_target}


def _owners_in(report: OwnerReport, whose: str) -> dict[str, Any]:
    when = datetime.fromtimestamp(report.time_ns / 1e9).astimezone()
    return {
        "words": f"of {whose}, as of {when:%H:%M:%S}"
        + ("" if report.is_by_page else "; by regions, so that small owners are guesses"),
        "notes": [printable(note) for note in report.notes],
        "rows": [
            {
                "name": innermost(use.path),
                "idle": use.idle_bytes,
                "hot": use.hot_bytes,
                "warm": use.warm_bytes,
                "resident": use.resident_bytes,
                "allocated": use.allocated_bytes,
            }
            for use in report.owners[:_MOST_OWNERS]
            if use.resident_bytes >= SMALLEST_PAGE
        ],
    }


def _id(key: Key) -> str:
    """The identity of a target, as text."""
    return "/".join(map(str, key))


def _document(frame: Frame) -> dict[str, Any]:
    spans, timing = frame.spans, frame.timing
    low, high = spans.start // SMALLEST_PAGE, spans.end // SMALLEST_PAGE
    before = np.append(0, high[:-1])
    # Rounded up: memory that is accessed at all must differ from memory that is not.
    rate = np.nan_to_num(np.ceil(spans.rate * 1000 - 1e-3), nan=_UNSEEN)
    return {
        "start": frame.start_ns / 1e6,
        "end": frame.end_ns / 1e6,
        "measured": timing.measured_ns / 1e6,
        "snapshots": timing.snapshots,
        "sampling": timing.sampling_ns / 1e6,
        "cpu": timing.cpu_ns / 1e6,
        "late": timing.late_ticks,
        "targets": [[_id(target.key), target_label(target)] for target in frame.targets],
        "ages": np.rint(frame.ages.sizes).astype(np.int64).tolist(),
        "followed": frame.ages.followed_share.tolist(),
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


class News:
    """What a page knows of a source besides its frames: events for what has changed."""

    def __init__(self, source: FrameSource, run: str) -> None:
        self._source = source
        self._run = run
        self._sent: dict[str, dict[str, Any]] = {}
        self._needs_age_s = _NEEDS_PAUSE_S
        self._owners: OwnerReport | None = None

    def events(self, passed_s: float) -> bytes:
        """The events since the last call, *passed_s* ago."""
        newest = {"state": {**_state_of(self._source), "run": self._run}}
        self._needs_age_s += passed_s
        if self._needs_age_s >= _NEEDS_PAUSE_S or self._source.ended:
            self._needs_age_s = 0.0
            newest["needs"] = _needs_of(self._source)
        report = self._source.history.owners
        if report is not self._owners:
            self._owners, newest["owners"] = report, _owners_of(self._source.history)
        changed = {name: data for name, data in newest.items() if data != self._sent.get(name)}
        self._sent |= changed
        return b"".join(
            b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(data).encode())
            for name, data in changed.items()
            if data
        )
