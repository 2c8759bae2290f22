"""A heat map as one HTML file to zoom into, without a network.

The numbers stand in the page as columns, compressed; the scripts in `page/` draw the part that is
on the screen. A content security policy forbids to load anything, and to run any other script.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from pydamon._data.analysis import HeatMap
from pydamon._data.analysis.folding import Outline, SnapshotSample, fold_with_outline
from pydamon._data.analysis.heat import HeatExtent
from pydamon._data.recording import AnyRecording, RecordingInfo
from pydamon._model.units import format_duration
from pydamon._show.pictures.page_data import Columns, DrawnTarget, cells_of, facts_of, regions_of
from pydamon._show.scales import PALETTE
from pydamon._show.text import heatmap_title, printable, target_label

__all__ = ["heatmap_page", "recording_page"]

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("format.js", "regions.js", "painter.js", "page.js")
"""In this order: each script uses names of the scripts before it."""
_MOST_REGIONS = 3_000_000
"""In the page; beyond it every n-th snapshot is left out: browsers need 30 bytes for each."""
_MOST_TARGETS = 100
"""In the page: the hottest targets."""


def recording_page(recording: AnyRecording) -> str:
    """Every region of a recording; raises `RecordingError` where there is nothing to draw."""
    extent = HeatExtent(_MOST_REGIONS)
    outline = fold_with_outline(recording, extent)
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
    return _page(drawn, outline.begin_ns, f"Heat map of {names}{more}", ", ".join(about))


def heatmap_page(heatmap: HeatMap) -> bytes:
    """The cells of a heat map, as a file."""
    title = f"Heat map of {target_label(heatmap.target)}"
    begin_ns = int(heatmap.time_edges[0])
    about = f"{heatmap_title(heatmap)}, from {_clock(begin_ns)}"
    return _page([cells_of(heatmap)], begin_ns, title, about).encode()


def _about(info: RecordingInfo, outline: Outline, sample: SnapshotSample) -> list[str]:
    step = f" (drawn: one of {sample.step})" if sample.step > 1 else ""
    parts = [
        f"{format_duration(outline.duration_ns)} from {_clock(outline.begin_ns)}",
        f"{sample.count} snapshots{step}",
        f"probe {printable(info.probe)}",
        printable(info.hostname),
    ]
    return [part for part in parts if part]


def _clock(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns / 1e9).astimezone():%Y-%m-%d %H:%M:%S %z}"


def _page(drawn: Sequence[DrawnTarget], begin_ns: int, title: str, about: str) -> str:
    script = "\n".join((_PAGE / name).read_text() for name in _SCRIPTS)
    style = (_PAGE / "heatmap.css").read_text()
    columns = Columns()
    facts = {
        "start_ns": str(begin_ns),
        "palette": PALETTE.ravel().tolist(),
        "targets": [facts_of(target, begin_ns, columns) for target in drawn],
    }
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return _HTML.format(
        policy=escape(policy),
        title=escape(title),
        about=escape(about),
        style=style,
        script=script,
        # In a script element only `<` could end it; names that are not UTF-8 hold surrogates.
        facts=json.dumps(facts).replace("<", "\\u003c"),
        columns=columns.packed(),
    )


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
