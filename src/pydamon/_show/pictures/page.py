"""A recording as one HTML file without a network: memory by age, and a heat map to zoom into.

The numbers stand in the page as columns, compressed; the scripts in `page/` draw the part that is
on the screen. A content security policy forbids to load anything, and to run any other script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis import AddressAxis, HeatMap, Profile
from pydamon._data.analysis.axis import AxisSpans, spans_of
from pydamon._data.analysis.folding import Outline, SnapshotSample, fold_with_outline
from pydamon._data.analysis.heat import HeatExtent, zoom
from pydamon._data.analysis.needs import needs
from pydamon._data.recording import AnyRecording, Recording, RecordingInfo
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.runs import Runs, running_total
from pydamon._model.snapshot import Target
from pydamon._model.units import format_duration
from pydamon._show.frames.series import AgeSeriesFold
from pydamon._show.pictures.functions import functions_section
from pydamon._show.pictures.memory import STYLE, memory_section
from pydamon._show.text import PALETTE, heatmap_title, printable, target_label

__all__ = [
    "Columns",
    "DrawnTarget",
    "cells_of",
    "clock_text",
    "content_policy",
    "facts_of",
    "heatmap_page",
    "recording_page",
    "regions_of",
    "script_data",
]

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("format.js", "regions.js", "painter.js", "page.js")
"""In this order: each script uses names of the scripts before it."""
_MOST_REGIONS = 3_000_000
"""In the page; beyond it every n-th snapshot is left out: browsers need 30 bytes for each."""
_MOST_TARGETS = 100
"""In the page: the hottest targets."""


def recording_page(recording: AnyRecording, ran: Profile | None = None) -> str:
    """Every region of a recording, and the functions that ran, if they are known.

    Raises `RecordingError` where there is nothing to draw.
    """
    if not (isinstance(recording, Recording) or recording.ordered):
        recording = recording.sorted()
    extent, ages = HeatExtent(_MOST_REGIONS), AgeSeriesFold()
    outline = fold_with_outline(recording, extent, ages)
    series, told = ages.series(), None
    if series.split.followed_share.any():
        told = needs(recording)
    targets = extent.hottest_first()
    sample = extent.sample.take()
    drawn = [
        regions_of(sample.of_target(target), target, extent.axis_of(target))
        for target in targets[:_MOST_TARGETS]
    ]
    about = _about(recording.info, outline, extent.sample)
    if len(drawn) < len(targets):
        about.insert(2, f"the {len(drawn)} hottest of {len(targets)} targets")
    names = ", ".join(target_label(target) for target in targets[:3])
    more = f" and {len(targets) - 3} more" if len(targets) > 3 else ""
    title = f"Memory of {names}{more}"
    memory = memory_section(series, told) + (
        functions_section(ran) if ran and ran.functions else ""
    )
    return _page(drawn, outline.begin_ns, title, ", ".join(about), memory)


def heatmap_page(heatmap: HeatMap) -> bytes:
    """The cells of a heat map, as a file."""
    title = f"Heat map of {target_label(heatmap.target)}"
    begin_ns = int(heatmap.time_edges[0])
    about = f"{heatmap_title(heatmap)}, from {clock_text(begin_ns)}"
    return _page([cells_of(heatmap)], begin_ns, title, about).encode()


def _about(info: RecordingInfo, outline: Outline, sample: SnapshotSample) -> list[str]:
    step = f" (drawn: one of {sample.step})" if sample.step > 1 else ""
    parts = [
        f"{format_duration(outline.duration_ns)} from {clock_text(outline.begin_ns)}",
        f"{sample.count} snapshots{step}",
        f"probe {printable(info.probe)}",
        printable(info.hostname),
    ]
    return [part for part in parts if part]


def clock_text(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns / 1e9).astimezone():%Y-%m-%d %H:%M:%S %z}"


def _page(
    drawn: Sequence[DrawnTarget], begin_ns: int, title: str, about: str, memory: str = ""
) -> str:
    script = "\n".join((_PAGE / name).read_text() for name in _SCRIPTS)
    style = STYLE.read_text() + (_PAGE / "heatmap.css").read_text()
    columns = Columns()
    facts = {
        "start_ns": str(begin_ns),
        "palette": PALETTE.ravel().tolist(),
        "targets": [facts_of(target, begin_ns, columns) for target in drawn],
    }
    return _HTML.format(
        policy=content_policy(script, style),
        title=escape(title),
        about=escape(about),
        memory=memory,
        style=style,
        script=script,
        facts=script_data(facts),
        columns=columns.packed(),
    )


def content_policy(script: str, style: str) -> str:
    """The policy of a page with this script and style that loads nothing else, escaped."""
    return escape(
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def script_data(facts: dict[str, Any]) -> str:
    """Facts as JSON within a script element, which only `<` could end.

    It is ASCII, because names that are not UTF-8 hold surrogates.
    """
    return json.dumps(facts).replace("<", "\\u003c")


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
{memory}
<header><h2>Access rate by address and time</h2>
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


_ALIGNED = 8
_LEVEL = 6
_STEPS = 10_000
"""The steps that an access rate of 1 has."""


@dataclass(frozen=True)
class DrawnTarget:
    """The regions of one target, or the cells of its heat map.

    `spans` has their places and rates, snapshot by snapshot; `age_ms` has an entry each (an age of
    0 is unknown), and `sampling_ns` one for each snapshot of regions.
    `home` are the positions on the axis to begin with.
    """

    target: Target
    axis: AddressAxis
    spans: AxisSpans
    names: Sequence[str]
    home: tuple[int, int]
    sampling_ns: NDArray[np.int64]
    age_ms: NDArray[np.int64]
    cells: bool = False


def regions_of(recording: Recording, target: Target, axis: AddressAxis) -> DrawnTarget:
    """Every region of a recording, whose only target is *target*."""
    spans = spans_of(recording, axis)
    return DrawnTarget(
        target,
        axis,
        spans,
        recording.names("mapping"),
        zoom(spans, axis, "hottest"),
        recording.per_snapshot("sampling_ns"),
        np.maximum(recording.column("age_ns") // 10**6 + 1, 0),
    )


def cells_of(heatmap: HeatMap) -> DrawnTarget:
    """The cells of a heat map that are monitored: a column is a snapshot, a row a region."""
    edges = np.rint(heatmap.row_edges).astype(np.int64)
    monitored = ~np.isnan(heatmap.rates) | heatmap.unseen
    monitored &= (edges[1:] > edges[:-1])[:, None]
    column, row = np.nonzero(monitored.T)
    rates = np.nan_to_num(heatmap.rates.T[column, row])
    names = list(dict.fromkeys(heatmap.row_names))
    code = np.array([names.index(name) for name in heatmap.row_names], np.int32)
    columns = len(heatmap.time_edges) - 1
    spans = AxisSpans(
        edges[row],
        edges[row + 1],
        rates,
        code[row],
        running_total(np.bincount(column, minlength=columns)),
        heatmap.time_edges[:-1],
        heatmap.time_edges[1:],
        heatmap.unseen.T[column, row].astype(np.float64),
    )
    return DrawnTarget(
        heatmap.target,
        heatmap.axis,
        spans,
        names,
        (0, heatmap.axis.length),
        np.zeros(columns, np.int64),
        np.zeros(len(row), np.int64),
        cells=True,
    )


def facts_of(drawn: DrawnTarget, start_ns: int, columns: Columns) -> dict[str, Any]:
    """One target for the page; its numbers are added to *columns*, times from *start_ns* on."""
    spans, axis = drawn.spans, drawn.axis
    first = np.zeros(len(spans.low) + 1, np.bool_)
    first[spans.offsets[:-1]] = True
    gaps = spans.low - np.where(first[:-1], 0, np.append(0, spans.high)[:-1])
    sizes = spans.high - spans.low
    unit = (
        SMALLEST_PAGE if not ((gaps % SMALLEST_PAGE).any() or (sizes % SMALLEST_PAGE).any()) else 1
    )
    used, code = np.unique(spans.mapping, return_inverse=True)
    labels = _labels(spans, code, axis.begins.tolist())
    return {
        "label": target_label(drawn.target),
        "names": [printable(drawn.names[int(i)]) for i in used],
        "segments": [
            [str(start), end - start, names]
            for (start, end), names in zip(axis.segments.tolist(), labels, strict=True)
        ],
        "home": drawn.home,
        "unit": unit,
        "cells": drawn.cells,
        "steps": _STEPS,
        "columns": {
            "counts": columns.add(np.diff(spans.offsets)),
            "begin": columns.add(spans.start_ns - start_ns, np.float64),
            "end": columns.add(spans.end_ns - start_ns, np.float64),
            "sampling": columns.add(drawn.sampling_ns),
            "gaps": columns.add(gaps // unit),
            "sizes": columns.add(sizes // unit),
            "rate": columns.add(_steps(spans.rate)),
            "age": columns.add(drawn.age_ms),
            "unseen": columns.add(np.ceil(255 * spans.unseen).astype(np.int64)),
            "code": columns.add(code),
        },
    }


def _steps(rates: NDArray[np.float64]) -> NDArray[np.int64]:
    """Access rates in steps; memory that is accessed at all must differ from memory that is not."""
    return np.maximum(np.rint(rates * _STEPS), rates > 0).astype(np.int64)


def _labels(
    spans: AxisSpans, code: NDArray[np.int64], begins: list[int]
) -> list[list[tuple[int, int]]]:
    """For each segment of the axis, where mappings begin in it in the snapshot with most regions.

    A label is a pair of bytes from the beginning of the segment, and the index of a name.
    """
    widest = int(np.diff(spans.offsets).argmax())
    rows = slice(*spans.offsets[widest : widest + 2].tolist())
    low, names = spans.low[rows], code[rows]
    segment = np.searchsorted(begins, low, side="right") - 1
    heads = Runs.of(names, segment).heads
    labels: list[list[tuple[int, int]]] = [[] for _ in begins]
    columns = (column[heads].tolist() for column in (low, segment, names))
    for at, index, name in zip(*columns, strict=True):
        labels[index].append((at - begins[index], name))
    return labels


class Columns:
    """Columns of numbers one behind the other, each in the smallest type that holds it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def add(
        self, values: NDArray[Any], kind: type[np.float64] | None = None
    ) -> tuple[str, int, int]:
        """Append a column; returns its type, its place in bytes and its length."""
        most = int(values.max(initial=0))
        unsigned = (np.uint8, np.uint16, np.uint32)
        fitting: Any = kind or next(
            (dtype for dtype in unsigned if most <= np.iinfo(dtype).max), np.float64
        )
        data = values.astype(np.dtype(fitting).newbyteorder("<")).tobytes()
        place = (np.dtype(fitting).str[1:], self._at, len(values))
        data += bytes(-len(data) % _ALIGNED)
        self._parts.append(data)
        self._at += len(data)
        return place

    def packed(self) -> str:
        """All columns, compressed, as text."""
        return base64.b64encode(zlib.compress(b"".join(self._parts), _LEVEL)).decode()
