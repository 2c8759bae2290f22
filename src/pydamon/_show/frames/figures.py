"""Resident memory by age as people read it: figures, names of classes, and colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydamon._data.analysis.needs_curve import NeedsCurve
from pydamon._show.frames.ages import AGE_EDGES_NS
from pydamon._show.frames.frame import IDLE_NS
from pydamon._show.text import duration, percent, size

__all__ = ["AGE_COLOURS", "AGE_LABELS", "AGE_LABELS_SHORT", "Figure", "basis", "figures", "line"]


def _labels() -> tuple[str, ...]:
    times = [duration(edge_ns) for edge_ns in AGE_EDGES_NS]
    between = [f"idle {low} to {high}" for low, high in pairwise(times)]
    return (f"used within {times[0]}", *between, f"idle {times[-1]} or more", "age not known")


def _short_labels() -> tuple[str, ...]:
    times = [duration(edge_ns).replace(" ", "") for edge_ns in AGE_EDGES_NS]
    return (f"<{times[0]}", *(f"≥{time}" for time in times), "unknown")


AGE_LABELS = _labels()
"""What the columns of `AgeSplit.sizes` are."""
AGE_LABELS_SHORT = _short_labels()
"""The same in a few characters."""

AGE_COLOURS = {
    "light": ("#76180f", "#b93a0b", "#dd7a22", "#8dbadf", "#c6daec", "#8b8a94"),
    "dark": ("#fff0c4", "#fbb34b", "#e0662c", "#5463a6", "#36406b", "#85848f"),
}
"""From hot to cold, for light and for dark paper: what is used most differs most from the paper.
Each step is one of lightness, which all kinds of colour vision see. The last is for unknown age."""

_NEGLIGIBLE = 0.01
"""A share of memory of unknown age that is not worth a figure."""


@dataclass(frozen=True, slots=True)
class Figure:
    """An amount of memory, and what it is."""

    amount_bytes: float
    meaning: str

    def __str__(self) -> str:
        return f"{size(self.amount_bytes)} {self.meaning}"


def figures(
    sizes: Sequence[float], watched_ns: int, needs: NeedsCurve | None = None
) -> tuple[Figure, ...]:
    """The figures that matter most of memory by age, as in `AgeSplit.sizes`.

    Memory that was watched for *watched_ns* cannot be called idle for longer.
    """
    total, unknown = sum(sizes), sizes[-1]
    told = [Figure(total, "resident")]
    edges = [edge_ns for edge_ns in AGE_EDGES_NS if edge_ns <= min(IDLE_NS, watched_ns)]
    if edges:
        time, classes = duration(edges[-1]), len(edges)
        told.append(Figure(sum(sizes[:classes]), f"used within {time}"))
        told.append(Figure(sum(sizes[classes:-1]), f"idle for {time}"))
    if unknown > _NEGLIGIBLE * total:
        told.append(Figure(unknown, "of unknown age"))
    point = needs.point() if needs else None
    if point is not None:
        told.append(Figure(point.kept_bytes, "needed"))
    return tuple(told)


def line(told: Sequence[Figure]) -> str:
    """Figures in one line."""
    words = [str(figure) for figure in told if figure.meaning != "needed"]
    needed = [f"needs {size(figure.amount_bytes)}" for figure in told if figure.meaning == "needed"]
    return "; ".join([", ".join(words), *needed])


def basis(followed_share: float, distance_ns: int = 0) -> str:
    """How ages were found out, where that is worth a note: *distance_ns* is that of looks."""
    if followed_share == 0:
        return "by regions: a region counts as used where any page of it is"
    notes = []
    if followed_share < 1:
        share = percent(followed_share)
        notes.append(f"estimated from {share} of the memory, followed page by page")
    if distance_ns > AGE_EDGES_NS[0]:
        notes.append(f'looks are {duration(distance_ns)} apart: what was used since one is "used"')
    return "; ".join(notes)
