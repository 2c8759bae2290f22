"""Memory by age and the needs curve as HTML: drawings with labels, and tables of the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.needs_curve import Needs, NeedsCurve
from pydamon._model.runs import Runs
from pydamon._show.frames.figures import AGE_LABELS, basis, figures, line
from pydamon._show.frames.series import AgeSeries
from pydamon._show.text import duration, needs_headline, per_second, size

__all__ = ["STYLE", "memory_section"]

STYLE = Path(__file__).parent / "page" / "memory.css"
"""The style sheet, which the live page has as well."""

_WIDTH, _HEIGHT, _NEEDS_WIDTH, _INSET = 1000, 220, 320, 14
_MOST_POINTS = 500
_ROWS = 16
_LOWEST_RATE = 0.01
_GAP_NS = 10**9


def memory_section(series: AgeSeries, needs_of_all: Needs | None) -> str:
    """The figures at the end of a recording, areas over time, the needs curve, and tables.

    There are no needs where nobody looked at pages.
    """
    needs = needs_of_all.total if needs_of_all else None
    told = figures(
        series.split.sizes[-1].tolist(), int(series.end_ns[-1] - series.start_ns[0]), needs
    )
    series = series.thinned(_MOST_POINTS)
    drawn = needs if needs and len(needs.idle_ns) else None
    point = drawn.point() if drawn else None
    needed = point.kept_bytes if point else 0
    top = max(float(series.split.sizes.sum(axis=1).max()), needed, 1.0)
    words = _needs_in_words(needs, series)
    distance_ns = needs_of_all.look_distance_ns if needs_of_all else 0
    note = basis(float(series.split.followed_share[-1]), distance_ns)
    return _SECTION.format(
        figures="".join(
            f"<li{' class=needed' if figure.meaning == 'needed' else ''}>"
            f"<strong>{size(figure.amount_bytes)}</strong>{figure.meaning}</li>"
            for figure in told
        ),
        label=escape(f"Resident memory by time since its last use, at the end: {line(told)}"),
        scale=_scale(top),
        areas=_areas(series, top, needed),
        times=_times(series),
        ages=_legend(series.split.sizes[-1]),
        note=escape(note),
        curve_label=escape(f"Memory kept, against pages a second that come back: {words}"),
        curve=_curve(drawn, top) if drawn else "",
        rates="".join(f"<span>{_page_rate(rate)}</span>" for rate in _decades(drawn)),
        words=escape(words),
        tables=_age_table(series) + (_needs_table(drawn) if drawn else ""),
    )


_SECTION = """<section aria-label="Memory by age">
<ul class="figures">{figures}</ul>
<div class="memory">
<figure>
<figcaption>Memory by time since its last use <span>all processes together</span></figcaption>
<div class="chart"><div class="y">{scale}</div>
<svg id="areas" role="img" tabindex="0" aria-label="{label}" viewBox="0 0 1000 220"
 preserveAspectRatio="none"><defs><pattern id="hatch" width="6" height="6"
 patternUnits="userSpaceOnUse"><rect width="6" height="6"/><path d="M-1 1l2-2M0 6l6-6M5 7l2-2"/>
</pattern></defs>{areas}</svg>
<div class="x">{times}</div></div>
<ul class="ages">{ages}</ul>
<p class="note">{note}</p>
</figure>
<figure>
<figcaption>Memory needed <span>by pages that come back</span></figcaption>
<div class="chart"><div class="y">{scale}</div>
<svg id="needs" role="img" tabindex="0" aria-label="{curve_label}" viewBox="0 0 320 220"
 preserveAspectRatio="none">{curve}</svg>
<div class="x">{rates}</div></div>
<p class="note">{words} Dot: what is needed. Dotted line: what is tolerated.</p>
</figure>
</div>
<details><summary>As tables</summary>{tables}</details>
</section>"""


def _page_rate(pages_per_s: float) -> str:
    return f"{per_second(pages_per_s)} pages/s"


def _clock(time_ns: float) -> str:
    return f"{datetime.fromtimestamp(int(time_ns) / 1e9).astimezone():%H:%M:%S}"


def _times(series: AgeSeries) -> str:
    times = np.linspace(int(series.start_ns[0]), int(series.end_ns[-1]), 5)
    return "".join(f"<span>{_clock(time_ns)}</span>" for time_ns in times)


def _scale(top: float) -> str:
    labels = (("top", size(top)), ("half", size(top / 2)), ("bottom", "0"))
    return "".join(f'<span class="{place}">{text}</span>' for place, text in labels)


def _legend(sizes: NDArray[np.float64]) -> str:
    return "".join(
        f'<li class="age{number}"><i></i>{escape(label)} <b>{size(amount)}</b></li>'
        for number, (label, amount) in enumerate(zip(AGE_LABELS, sizes.tolist(), strict=True))
        if amount or number < len(sizes) - 1
    )


def _areas(series: AgeSeries, top: float, needed: float) -> str:
    """A path for each class of age, hot ones below, and the line of what is needed."""
    begin_ns = int(series.start_ns[0])
    per_ns = _WIDTH / max(1, int(series.end_ns[-1]) - begin_ns)
    left, right = (
        ((times - begin_ns) * per_ns).astype(np.float64)
        for times in (series.start_ns, series.end_ns)
    )
    edges = np.zeros((len(series), series.split.sizes.shape[1] + 1))
    edges[:, 1:] = series.split.sizes.cumsum(axis=1)
    y = _HEIGHT * (1 - edges / top)
    # Only where nothing was recorded for a while is there a gap.
    runs = Runs.split(series.start_ns[1:] > series.end_ns[:-1] + _GAP_NS, len(series))
    parts = [
        f'<path class="age age{number}" d="'
        + "".join(_step(left[a:b], right[a:b], y[a:b, number + 1], y[a:b, number]) for a, b in runs)
        + '"/>'
        for number in range(len(AGE_LABELS))
        if series.split.sizes[:, number].any()
    ]
    if needed:
        at = f'x1="0" x2="{_WIDTH}" y1="{_y(needed, top)}" y2="{_y(needed, top)}"'
        parts += [f'<line class="need-halo" {at}/>', f'<line class="need" {at}/>']
    return "".join(parts)


def _step(
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    above: NDArray[np.float64],
    below: NDArray[np.float64],
) -> str:
    """Along the upper edge of an area, and back along its lower one."""
    ends = np.append(left[1:], right[-1])
    there = "".join(f"V{y:.1f}H{x:.1f}" for x, y in zip(ends, above, strict=True))
    back = "".join(f"V{y:.1f}H{x:.1f}" for x, y in zip(left[::-1], below[::-1], strict=True))
    return f"M{left[0]:.1f} {above[0]:.1f}{there}{back}Z"


def _y(amount: float, top: float) -> str:
    return f"{_HEIGHT * (1 - amount / top):.1f}"


def _decades(needs: NeedsCurve | None) -> tuple[float, ...]:
    """Whole powers of ten around all rates of a curve: the ends of its scale."""
    if needs is None:
        return ()
    rates = [*needs.refaults_per_s.tolist(), needs.tolerated_per_s]
    known = [rate for rate in rates if rate > _LOWEST_RATE]
    low, high = min([1.0, *known]), max([10.0, *known])
    return 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))


def _curve(needs: NeedsCurve, top: float) -> str:
    low, high = (math.log10(rate) for rate in _decades(needs))

    def x(rate: float) -> str:
        share = max(0.0, (math.log10(max(rate, 1e-9)) - low) / (high - low))
        return f"{_INSET + share * (_NEEDS_WIDTH - 2 * _INSET):.1f}"

    rates = [10.0**power for power in range(round(low), round(high) + 1)]
    parts = [
        f'<line class="grid" x1="{x(rate)}" x2="{x(rate)}" y1="0" y2="{_HEIGHT}"/>'
        for rate in rates
    ]
    at = f'x1="{x(needs.tolerated_per_s)}" x2="{x(needs.tolerated_per_s)}"'
    parts.append(f'<line class="tolerated" {at} y1="0" y2="{_HEIGHT}"/>')
    columns = zip(needs.refaults_per_s.tolist(), needs.kept_bytes.tolist(), strict=True)
    corners = "L".join(f"{x(rate)} {_y(kept, top)}" for rate, kept in columns)
    parts.append(f'<path class="curve" d="M{corners}"/>')
    point = needs.point()
    if point is not None:
        right, y = x(point.refaults_per_s), _y(point.kept_bytes, top)
        parts.append(f'<line class="need" x1="0" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<path class="dot" d="M{right} {y}h0.01"/>')
    return "".join(parts)


def _needs_in_words(needs: NeedsCurve | None, series: AgeSeries) -> str:
    if not series.split.followed_share.any():
        return "not known: nobody looked at single pages"
    if needs is None:
        return "not known: nobody looked at pages twice"
    headline, reason = needs_headline(needs, needs.point(), needs.tolerated_per_s)
    return f"It {headline}. {reason}"


def _age_table(series: AgeSeries) -> str:
    rows = [
        (_clock(series.end_ns[row]), size(sizes.sum()), *map(size, sizes.tolist()))
        for row in _spread(len(series))
        for sizes in (series.split.sizes[row],)
    ]
    return _table("Memory by time since its last use", ("time", "resident", *AGE_LABELS), rows)


def _needs_table(needs: NeedsCurve) -> str:
    rows = [
        (duration(point.idle_ns), size(point.kept_bytes), _page_rate(point.refaults_per_s))
        for point in map(needs.points.__getitem__, _spread(len(needs.points)))
    ]
    return _table("Memory needed", ("kept: used within", "memory", "come back"), rows)


def _spread(count: int) -> Sequence[int]:
    """Some of so many rows, the last among them."""
    step = max(1, -(-count // _ROWS))
    return range((count - 1) % step, count, step)


def _table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )
