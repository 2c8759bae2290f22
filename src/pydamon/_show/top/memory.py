"""Memory by age as stacked columns: what is used below, what has been idle for longest on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from pydamon._data.analysis.needs_curve import NeedsCurve
from pydamon._model.snapshot import Target
from pydamon._show.frames import AGE_EDGES_NS, Frame, History
from pydamon._show.frames.figures import AGE_COLOURS, AGE_LABELS_SHORT, figures, line
from pydamon._show.text import duration, per_second, shortened, size
from pydamon._show.top.panels import BOLD, DIM, LEFT, PLAIN, Panel, right_width

__all__ = ["MemoryPanel", "MemoryShown", "headline", "memory_lines"]

_LEAST_HEIGHT = 16
"""Lower terminals have no lines for the areas."""
_LINES = 6
_MOST_LINES = 16
_EMPTY = len(AGE_LABELS_SHORT)
"""The class of cells above all memory."""
_EIGHTHS = " ▁▂▃▄▅▆▇"
_MARKS = "█▓▒░·? "
"""What stands for each class where there are no colours."""
_CURVE_TITLE = " kept, come back /s"


def memory_lines(height: int) -> int:
    """How many lines of a terminal of that height are for the areas."""
    return 0 if height < _LEAST_HEIGHT else max(_LINES, min(_MOST_LINES, height // 4))


def headline(frame: Frame, target: Target, begin_ns: int, history: History) -> str:
    """How much memory a target has, uses and needs, which is watched since *begin_ns*."""
    sizes = frame.age_sizes(target)
    if sizes is None:
        return "nothing is known about its memory then"
    needs = history.needs_of(target)
    return line(figures(sizes.tolist(), frame.end_ns - begin_ns, needs))


@dataclass(frozen=True)
class MemoryShown:
    """Bytes by age in each column: shape (columns, classes), NaN where nothing is known.

    `newest` are those of the newest column that has any; its `followed_share` is 0 where ages are
    those of regions. Looks are `distance_ns` apart.
    """

    columns: NDArray[np.float64]
    newest: tuple[float, ...]
    followed_share: float
    colour: bool
    needs: NeedsCurve | None = None
    distance_ns: int = 0

    @classmethod
    def of(
        cls, shown: Sequence[Frame | None], target: Target, colour: bool, history: History
    ) -> MemoryShown:
        """What the frames of the columns know of a target."""
        sizes = {frame: frame.age_sizes(target) for frame in dict.fromkeys(shown) if frame}
        nothing = np.full(_EMPTY, np.nan)
        columns = [sizes[frame] if frame else None for frame in shown]
        known = [frame for frame, amounts in sizes.items() if amounts is not None]
        newest = sizes[known[-1]] if known else None
        return cls(
            np.array([nothing if amounts is None else amounts for amounts in columns]),
            (0.0,) * _EMPTY if newest is None else tuple(newest.tolist()),
            known[-1].followed_share(target) if known else 0.0,
            colour,
            history.needs_of(target),
            history.needs.look_distance_ns if history.needs else 0,
        )


class MemoryPanel(Panel[MemoryShown]):
    """The areas with their scale, and a legend with the newest amounts."""

    def lines(self, shown: MemoryShown, width: int, height: int) -> list[list[Segment]]:
        """The columns from the top, and a line below them."""
        if height < 2:
            return []
        sums, columns = shown.columns.sum(axis=1), len(shown.columns)
        top = float(np.nanmax(sums)) if np.isfinite(sums).any() else 0.0
        cells = _cells(shown.columns, top, height - 1)[::-1]
        labels = _labels(shown, top, height - 1)
        draw = _coloured if shown.colour else _marked
        areas = [[Segment("│", DIM), *draw(row), Segment("│", DIM)] for row in cells]
        areas.append([Segment(f"├{'─' * columns}┤", DIM)])
        legend = _legend(shown, right_width(width) - 1, height)
        return [
            [Segment(f"{labels.get(y, ''):>{LEFT - 1}}", DIM), *area, *legend[y]]
            for y, area in enumerate(areas)
        ]


def _labels(shown: MemoryShown, top: float, height: int) -> dict[int, str]:
    """What stands on the left of each line: the scale, what is needed, and what ages are of."""
    labels = {height // 2: "memory by age"}
    if shown.followed_share < 1:
        labels[height // 2 + 1] = "estimated" if shown.followed_share else "by regions"
    elif shown.distance_ns > AGE_EDGES_NS[0]:
        labels[height // 2 + 1] = f"looks {duration(shown.distance_ns)}"
    point = shown.needs.point() if shown.needs else None
    if point is not None and top:
        row = height - 1 - int(point.kept_bytes / top * height)
        labels[max(0, row)] = f"need {size(point.kept_bytes)}"
    return labels | {0: size(top), height: "0"}


def _cells(columns: NDArray[np.float64], top: float, height: int) -> list[list[tuple[int, ...]]]:
    """Lines from the bottom: for each column the lower class, the upper one, and its beginning.

    That is in eighths of a line. Where there are more than two classes in a cell, only the two
    with most of it are drawn.
    """
    unit = top / (8 * height) if top else 1.0
    edges = np.rint(np.nan_to_num(columns).cumsum(axis=1) / unit)
    places = np.arange(8 * height)
    classes = (places[None, :, None] >= edges[:, None, :]).sum(axis=2)
    cells = classes.reshape(len(columns), height, 8)
    counts = np.stack([(cells == number).sum(axis=2) for number in range(_EMPTY + 1)], axis=2)
    most = np.sort(np.argsort(counts, axis=2, kind="stable")[:, :, -2:], axis=2)
    of_most = np.take_along_axis(counts, most, axis=2)
    only = (of_most == 0).any(axis=2)
    single = counts.argmax(axis=2)
    lower = np.where(only, single, most[:, :, 0])
    upper = np.where(only, single, most[:, :, 1])
    filled = np.clip(np.rint(8 * of_most[:, :, 0] / of_most.sum(axis=2)), 1, 7).astype(np.int64)
    drawn = np.stack([lower, upper, np.where(only, 0, filled)], axis=2)
    return [[tuple(cell) for cell in row] for row in drawn.swapaxes(0, 1).tolist()]


def _coloured(row: Sequence[tuple[int, ...]]) -> list[Segment]:
    segments = []
    for (lower, upper, filled), run in groupby(row):
        count = len(list(run))
        if lower == upper:
            # A background fills the whole cell, whatever the font is like.
            segments.append(Segment(" " * count, _style(upper, upper)))
        else:
            segments.append(Segment(_EIGHTHS[filled] * count, _style(lower, upper)))
    return segments


def _marked(row: Sequence[tuple[int, ...]]) -> list[Segment]:
    classes = [lower if filled >= 4 or lower == upper else upper for lower, upper, filled in row]
    return [Segment("".join(_MARKS[number] for number in classes), PLAIN)]


@cache
def _style(lower: int, upper: int) -> Style:
    return Style(color=_colour(lower), bgcolor=_colour(upper))


def _colour(number: int) -> Color | None:
    return None if number == _EMPTY else Color.parse(AGE_COLOURS["dark"][number])


def _legend(shown: MemoryShown, width: int, height: int) -> list[list[Segment]]:
    """The classes as they are stacked, and below them the needs curve."""
    lines: list[list[Segment]] = []
    if width >= 20:
        for number in reversed(range(_EMPTY)):
            amount = shown.newest[number]
            if number == _EMPTY - 1 and not amount:
                continue
            mark = "█" if shown.colour else _MARKS[number]
            style = _style(number, _EMPTY) if shown.colour else PLAIN
            text = f" {AGE_LABELS_SHORT[number]:<8}{size(amount):>9}"
            lines.append([Segment(f" {mark}", style), Segment(text, BOLD if not number else PLAIN)])
        lines += [[Segment(shortened(text, width), DIM)] for text in _curve(shown.needs, height)]
    return [*lines, *[[] for _ in range(height)]][:height]


def _curve(needs: NeedsCurve | None, height: int) -> list[str]:
    """Some points of the needs curve: memory kept, and how many pages a second come back."""
    room = height - _EMPTY - 2
    if needs is None or room < 2 or not len(needs.points):
        return []
    step = max(1, -(-len(needs.points) // room))
    rows = [
        f" {size(point.kept_bytes):>9} {per_second(point.refaults_per_s):>9}"
        for point in needs.points[::-step]
    ]
    return ["", _CURVE_TITLE, *rows]
