"""How much memory programs need, as a picture: memory against pages that come back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from pydamon._data.analysis import IDLE_AGES_NS, Needs
from pydamon._show.pictures.labels import Anchor, Label, Paper, new_axes, svg_labels
from pydamon._show.text import (
    RateScale,
    duration,
    needs_headline,
    per_second,
    size,
    target_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["needs_html", "needs_png", "needs_svg", "plot_needs"]

_WIDTH, _HEIGHT = 640, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 84, 58, 24, 58
_MEMORY_TICKS = 4
_MARK_DISTANCE = 44
"""Pixels between two idle times along the curve, at least."""
_STYLE = (
    "text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#222}rect.b{fill:#fff}"
    "line{stroke:#ccc}polyline{stroke:#7d1e6d;stroke-width:2;fill:none}"
    "circle{fill:#7d1e6d}circle.need{fill:#de513a}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}rect.b{fill:#181818}line{stroke:#444}"
    "polyline{stroke:#f6821e}circle{fill:#f6821e}circle.need{fill:#fbbe32}}"
)


@dataclass(frozen=True)
class _Layout:
    """A chart in pixels: grid lines, labels, the curve, idle times on it, and what is needed."""

    lines: tuple[tuple[int, int, int, int], ...]
    labels: tuple[Label, ...]
    curve: tuple[tuple[float, float], ...]
    marks: tuple[tuple[float, float], ...]
    need: tuple[float, float] | None

    @property
    def size(self) -> tuple[int, int]:
        return _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM


def _layout(needs: Needs, refaults_per_s: float | None) -> _Layout:
    total = needs.total
    tolerated = total.tolerated_per_s if refaults_per_s is None else refaults_per_s
    point = total.point(tolerated)
    scale = RateScale.of(total, tolerated)
    whole = max(total.resident_bytes, 1)

    def place(kept_bytes: float, rate: float) -> tuple[float, float]:
        height = float(scale.heights(np.array([rate]))[0])
        x = _LEFT + _WIDTH * min(kept_bytes / whole, 1.0)
        return round(x, 1), round(_TOP + _HEIGHT * (1 - height), 1)

    headline, reason = needs_headline(total, point, tolerated)
    labels = [Label(_LEFT, 20, f"{_name(needs)}: {headline}"), Label(_LEFT, 38, reason)]
    lines = []
    for rate in _decades(scale):
        y = round(place(0, rate)[1])
        lines.append((_LEFT, y, _LEFT + _WIDTH, y))
        labels.append(Label(_LEFT - 8, y + 4, per_second(rate), "end"))
    bottom = _TOP + _HEIGHT
    for tick in range(_MEMORY_TICKS + 1):
        x = _LEFT + round(_WIDTH * tick / _MEMORY_TICKS)
        lines.append((x, _TOP, x, bottom))
        text = size(whole * tick / _MEMORY_TICKS) if tick else "0"
        labels.append(Label(x, bottom + 18, text, "end" if tick == _MEMORY_TICKS else "middle"))
    labels.append(
        Label(_LEFT, bottom + 40, "pages a second that come back, by memory that is kept")
    )
    marks: list[tuple[float, float]] = []
    for idle_ns in IDLE_AGES_NS:
        if idle_ns and (at := total.at(idle_ns)):
            mark = place(at.kept_bytes, at.refaults_per_s)
            if marks and math.dist(mark, marks[-1]) < _MARK_DISTANCE:
                continue
            marks.append(mark)
            side: Anchor = "end" if mark[0] > _LEFT + _WIDTH / 2 else "start"
            shift = -8 if side == "end" else 8
            labels.append(
                Label(round(mark[0]) + shift, round(mark[1]) - 6, duration(idle_ns), side)
            )
    return _Layout(
        tuple(lines),
        tuple(labels),
        tuple(place(each.kept_bytes, each.refaults_per_s) for each in total.points),
        tuple(marks),
        place(point.kept_bytes, point.refaults_per_s) if point else None,
    )


def _name(needs: Needs) -> str:
    (target, *others) = [curve.target for curve in needs.targets] or [None]
    return target_label(target) if target and not others else "All targets"


def _decades(scale: RateScale) -> Iterator[float]:
    """The powers of ten on a scale."""
    first = math.ceil(math.log10(scale.low) - 1e-9)
    for power in range(first, math.floor(math.log10(scale.top) + 1e-9) + 1):
        yield 10.0**power


def needs_svg(needs: Needs, refaults_per_s: float | None = None) -> bytes:
    """The picture: light or dark as the viewer is."""
    return "".join(_svg(_layout(needs, refaults_per_s))).encode() + b"\n"


def _svg(layout: _Layout) -> Iterator[str]:
    width, height = layout.size
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><style>{_STYLE}</style>'
        f'<rect class="b" width="{width}" height="{height}"/>'
    )
    for x1, y1, x2, y2 in layout.lines:
        yield f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'
    points = " ".join(f"{x:g},{y:g}" for x, y in layout.curve)
    yield f'<polyline points="{points}"/>'
    for x, y in layout.marks:
        yield f'<circle cx="{x:g}" cy="{y:g}" r="3"/>'
    if layout.need:
        x, y = layout.need
        yield f'<circle class="need" cx="{x:g}" cy="{y:g}" r="6"/>'
    yield from svg_labels(layout.labels)
    yield "</svg>"


_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    "<title>{title}</title><style>body{{font:14px ui-sans-serif,system-ui,sans-serif;margin:2em;"
    "color-scheme:light dark}}td,th{{text-align:right;padding:.1em 1.5em .1em 0}}</style>"
    "{picture}<table><tr><th>idle for</th><th>kept</th><th>pages a second</th></tr>{rows}</table>"
    "</html>\n"
)


def needs_html(needs: Needs, refaults_per_s: float | None = None) -> bytes:
    """The picture and its numbers as a page, which loads nothing from elsewhere."""
    rows = "".join(
        f"<tr><td>{duration(point.idle_ns)}</td><td>{size(point.kept_bytes)}</td>"
        f"<td>{per_second(point.refaults_per_s)}</td></tr>"
        for point in needs.total.points
    )
    title = f"How much memory {_name(needs)} needs"
    picture = needs_svg(needs, refaults_per_s).decode()
    return _PAGE.format(title=escape(title), picture=picture, rows=rows).encode()


_GRID, _CURVE, _NEED = "#cccccc", "#7d1e6d", "#de513a"


def needs_png(needs: Needs, refaults_per_s: float | None = None) -> bytes:
    """The picture on white paper; raises `UsageError` where Pillow is not installed."""
    layout = _layout(needs, refaults_per_s)
    paper = Paper(layout.size)
    for line in layout.lines:
        paper.draw.line(line, _GRID)
    paper.draw.line(layout.curve, _CURVE, width=2)
    for mark in layout.marks:
        paper.draw.circle(mark, 3, _CURVE)
    if layout.need:
        paper.draw.circle(layout.need, 6, _NEED)
    paper.label(layout.labels)
    return paper.png()


def plot_needs(needs: Needs, ax: Axes | None = None) -> Axes:
    """Draw the curve into *ax*, or a new figure; raises `UsageError` without Matplotlib."""
    axes = new_axes(ax)
    total = needs.total
    scale = RateScale.of(total, total.tolerated_per_s)
    axes.plot(total.kept_bytes / 2**20, np.maximum(total.refaults_per_s, scale.low))
    axes.set_yscale("log")
    axes.set_xlim(0, max(total.resident_bytes, 1) / 2**20)
    axes.set_xlabel("memory that is kept (MiB)")
    axes.set_ylabel("pages a second that come back")
    axes.set_title(_name(needs))
    return axes
