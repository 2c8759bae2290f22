"""A heat map as one HTML file: every region of a recording, to zoom into, without a network.

The regions stand in the page as columns, compressed; `page/heatmap.js` draws what is looked at. A
content security policy lets nothing be loaded, and no script run but that one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis import AddressAxis
from pydamon._data.analysis.axis import AxisSpans, spans_of
from pydamon._data.analysis.folding import Outline, SnapshotSample, fold_with_outline
from pydamon._data.analysis.heat import HeatExtent, zoom
from pydamon._data.recording import AnyRecording, Recording, RecordingInfo
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Target
from pydamon._model.units import format_duration
from pydamon._show.terminal.colours import PALETTE
from pydamon._show.terminal.text import printable, target_label

__all__ = ["heatmap_html"]

_PAGE = Path(__file__).parent / "page"
_MOST_REGIONS = 3_000_000
"""In the page; beyond it every n-th snapshot is left out: browsers need 30 bytes for each."""
_MOST_TARGETS = 100
"""In the page: the hottest ones."""
_ALIGNED = 8
_LEVEL = 6


def heatmap_html(recording: AnyRecording) -> str:
    """The page. Raises `RecordingError` where there is nothing to draw."""
    survey = HeatExtent(_MOST_REGIONS)
    outline = fold_with_outline(recording, survey)
    every = survey.hottest_first()
    sample = survey.sample.take()
    script = (_PAGE / "heatmap.js").read_text()
    style = (_PAGE / "heatmap.css").read_text()
    drawn = every[:_MOST_TARGETS]
    columns = _Columns()
    targets = [
        _target(sample.of_target(one), one, survey.axis_of(one), outline.begin_ns, columns)
        for one in drawn
    ]
    facts = {
        "start_ns": str(outline.begin_ns),
        "palette": PALETTE.ravel().tolist(),
        "targets": targets,
    }
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    names = ", ".join(one["label"] for one in targets[:3])
    more = len(every) - 3
    title = f"Heat map of {names}" + (f" and {more} more" if more > 0 else "")
    return _HTML.format(
        policy=escape(policy),
        title=escape(title),
        about=escape(_about(recording.info, outline, survey.sample, len(drawn), len(every))),
        style=style,
        script=script,
        # In a script element only `<` could end it; names that are not UTF-8 hold surrogates.
        facts=json.dumps(facts).replace("<", "\\u003c"),
        columns=columns.packed(),
    )


def _target(
    recording: Recording, target: Target, axis: AddressAxis, start_ns: int, columns: _Columns
) -> dict[str, Any]:
    """What the page must know of one target; its columns are added to the others."""
    spans = spans_of(recording, axis)
    first = np.zeros(len(spans.low), np.bool_)
    first[spans.offsets[:-1]] = True
    gaps = spans.low - np.where(first, 0, np.append(0, spans.high[:-1]))
    sizes = spans.high - spans.low
    unit = PAGE_SIZE if not ((gaps % PAGE_SIZE).any() or (sizes % PAGE_SIZE).any()) else 1
    used, code = np.unique(spans.mapping, return_inverse=True)
    names = recording.names("mapping")
    segments = axis.segments.tolist()
    return {
        "label": target_label(target),
        "names": [printable(names[int(i)]) for i in used],
        "segments": [
            [str(start), end - start, labels]
            for (start, end), labels in zip(
                segments, _labels(spans, code, axis.begins.tolist()), strict=True
            )
        ],
        "home": zoom(spans, axis, "hottest"),
        "unit": unit,
        "columns": {
            "counts": columns.add(np.diff(spans.offsets)),
            "begin": columns.add(spans.start_ns - start_ns, np.float64),
            "end": columns.add(spans.end_ns - start_ns, np.float64),
            "most": columns.add(recording.per_snapshot("max_nr_accesses")),
            "gaps": columns.add(gaps // unit),
            "sizes": columns.add(sizes // unit),
            "hits": columns.add(recording.column("nr_accesses")),
            # 0 where it is not known.
            "age": columns.add(np.maximum(recording.column("age_ns") // 10**6 + 1, 0)),
            "unseen": columns.add(np.ceil(255 * spans.unseen).astype(np.int64)),
            "code": columns.add(code),
        },
    }


def _labels(
    spans: AxisSpans, code: NDArray[np.int64], begins: list[int]
) -> list[list[tuple[int, int]]]:
    """For each segment of the axis, where names begin in it, as of the snapshot with most regions.

    Each is a pair of bytes from the beginning of the segment, and an index of the name.
    """
    widest = int(np.diff(spans.offsets).argmax())
    rows = slice(*spans.offsets[widest : widest + 2].tolist())
    low, mine = spans.low[rows], code[rows]
    segment = np.searchsorted(begins, low, side="right") - 1
    new = np.ones(len(low), np.bool_)
    new[1:] = (mine[1:] != mine[:-1]) | (segment[1:] != segment[:-1])
    found: list[list[tuple[int, int]]] = [[] for _ in begins]
    for at, which, name in zip(
        low[new].tolist(), segment[new].tolist(), mine[new].tolist(), strict=True
    ):
        found[which].append((at - begins[which], name))
    return found


class _Columns:
    """Columns of numbers one behind the other, each in the smallest type that holds it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def add(
        self, values: NDArray[Any], kind: type[np.float64] | None = None
    ) -> tuple[str, int, int]:
        """Append a column; its type, its place in bytes and its length."""
        most = int(values.max(initial=0))
        fitting: Any = kind or next(
            (one for one in (np.uint8, np.uint16, np.uint32) if most <= np.iinfo(one).max),
            np.float64,
        )
        data = values.astype(np.dtype(fitting).newbyteorder("<")).tobytes()
        found = (np.dtype(fitting).str[1:], self._at, len(values))
        data += bytes(-len(data) % _ALIGNED)
        self._parts.append(data)
        self._at += len(data)
        return found

    def packed(self) -> str:
        """All of them, compressed, as text."""
        return base64.b64encode(zlib.compress(b"".join(self._parts), _LEVEL)).decode()


def _about(
    info: RecordingInfo, outline: Outline, sample: SnapshotSample, drawn: int, targets: int
) -> str:
    began = datetime.fromtimestamp(outline.begin_ns / 1e9).astimezone()
    parts = [
        f"{format_duration(outline.duration_ns)} from {began:%Y-%m-%d %H:%M:%S %z}",
        f"{sample.count} snapshots"
        + (f" (drawn: one of {sample.step})" if sample.step > 1 else ""),
        f"the {drawn} hottest of {targets} targets" if drawn < targets else "",
        f"probe {printable(info.probe)}",
        printable(info.hostname),
    ]
    return ", ".join(part for part in parts if part)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><span>{about}</span></header>
<header>
<select id="target" aria-label="target"></select>
<button id="hottest">Hottest</button><button id="all">All</button>
<button id="in" aria-label="zoom in">+</button><button id="out" aria-label="zoom out">-</button>
<button id="back">Back</button>
<span id="shown" role="status">Unpacking...</span>
</header>
<canvas id="map" tabindex="0" aria-label="access rates by address (downwards) and time"></canvas>
<footer>
<span>access rate 0 % <span id="ramp"></span> <span id="top"></span></span>
<span><span class="none"></span> not monitored</span>
<span><span class="unseen"></span> not looked at yet</span>
<span class="help">drag a box or turn the wheel to zoom (shift: time, alt: addresses), arrows move,
Backspace goes back</span>
</footer>
<dl id="tip" hidden></dl>
<script type="application/json" id="facts">{facts}</script>
<script type="text/plain" id="columns">{columns}</script>
<script>{script}</script>
</body>
</html>
"""
