"""The owners of memory as a flame graph: an HTML file without a network, and other tools' files.

The page has the tree of owners as columns; `page/flame.js` draws it, and zooms into a frame that is
clicked. A content security policy forbids to load anything, and to run any other script.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from pydamon._data.analysis import OwnerReport, OwnerTree
from pydamon._model.display import printable
from pydamon._model.units import format_duration, format_size
from pydamon._show.pictures.page import clock_text, content_policy, script_data

__all__ = ["collapsed", "flame_html", "speedscope"]

_PAGE = Path(__file__).parent / "page"
_LEAST_SHARE = 1e-4
"""Frames of less than this part of all memory are drawn as part of the frame around them."""
_SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def flame_html(report: OwnerReport) -> bytes:
    """A flame graph of the owners, with widths by their idle bytes, as a page."""
    script, style = ((_PAGE / name).read_text() for name in ("flame.js", "flame.css"))
    total = report.total()
    about = (
        f"{format_size(total.idle_bytes)} of {format_size(total.resident_bytes)} not accessed for "
        f"{format_duration(report.idle_ns)}, at {clock_text(report.time_ns)}"
    )
    return _HTML.format(
        policy=content_policy(script, style),
        about=escape(about),
        style=style,
        script=script,
        facts=script_data(_facts(report.tree())),
    ).encode()


def _facts(tree: OwnerTree) -> dict[str, list[Any]]:
    """The nodes of a tree as columns, each node behind its parent."""
    least = _LEAST_SHARE * max(1, tree.use.allocated_bytes)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("parent", "label", "idle", "used", "resident", "allocated", "shared")
    }
    queue = [(-1, tree)]
    for parent, node in queue:
        use = node.use
        row = (
            *(parent, printable(node.label) or "all owners", use.idle_bytes),
            *(use.hot_bytes + use.warm_bytes, use.resident_bytes, use.allocated_bytes),
            use.shared_bytes,
        )
        number = len(columns["parent"])
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
        queue += [(number, child) for child in node.children if child.use.allocated_bytes >= least]
    return columns


def collapsed(report: OwnerReport) -> bytes:
    """A line for each owner with idle bytes, as `flamegraph.pl` and others read them."""
    lines = (f"{';'.join(path)} {idle_bytes}\n" for path, idle_bytes in _stacks(report))
    return "".join(lines).encode(errors="backslashreplace")


def _stacks(report: OwnerReport) -> Iterator[tuple[list[str], int]]:
    for use in report.owners:
        if use.idle_bytes:
            yield [printable(label).replace(";", ":") for label in use.path], use.idle_bytes


def speedscope(report: OwnerReport) -> bytes:
    """The idle bytes of each owner in the format of speedscope."""
    numbers: dict[str, int] = {}
    samples, weights = [], []
    for path, idle_bytes in _stacks(report):
        samples.append([numbers.setdefault(label, len(numbers)) for label in path])
        weights.append(idle_bytes)
    name = f"idle for {format_duration(report.idle_ns)}"
    document = {
        "$schema": _SCHEMA,
        "exporter": "pydamon",
        "shared": {"frames": [{"name": label} for label in numbers]},
        "profiles": [
            {
                "type": "sampled",
                "name": name,
                "unit": "bytes",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
    }
    return json.dumps(document).encode()


_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>Owners of idle memory</title>
<style>{style}</style>
</head>
<body>
<header><h1>Owners of idle memory</h1><span>{about}</span></header>
<nav>
<label>width: <select id="weight">
<option value="idle">idle</option><option value="used">in use</option>
<option value="resident">resident</option><option value="allocated">allocated</option>
</select></label>
<label>find: <input id="find" type="search"></label>
<button id="all">All</button> <span id="shown" role="status"></span>
</nav>
<main id="graph"></main>
<footer><span>idle 0 % <span id="ramp"></span> 100 % of what is in memory</span>
<span class="help">click a frame, or press Enter on it, to zoom into it</span></footer>
<script type="application/json" id="facts">{facts}</script>
<script>{script}</script>
</body>
</html>
"""
