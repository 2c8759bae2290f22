"""Names, numbers and scales as people read them, the same in terminals, pictures and pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size

from pydamon._model.display import printable
from pydamon._model.snapshot import Target
from pydamon._model.units import format_duration, format_size

if TYPE_CHECKING:
    from pydamon._data.analysis import HeatMap, NeedsCurve, NeedsPoint

__all__ = [
    "PALETTE",
    "UNSEEN",
    "RateScale",
    "age",
    "bar",
    "colour_index",
    "count",
    "duration",
    "frequency",
    "heatmap_title",
    "labelled_ticks",
    "mapping_label",
    "needs_headline",
    "per_second",
    "percent",
    "printable",
    "rgb",
    "shortened",
    "size",
    "target_cell",
    "target_label",
    "time_ticks",
    "top_rate",
]

_ANCHORS = np.array(
    [
        (16, 10, 46),
        (66, 10, 104),
        (125, 30, 109),
        (180, 48, 92),
        (222, 81, 58),
        (246, 130, 22),
        (251, 190, 50),
        (252, 253, 170),
    ],
    np.float64,
)
_SHADES = 256


def _palette() -> NDArray[np.uint8]:
    place = np.linspace(0, len(_ANCHORS) - 1, _SHADES)
    mixed = [np.interp(place, np.arange(len(_ANCHORS)), _ANCHORS[:, i]) for i in range(3)]
    return np.stack(mixed, axis=1).round().astype(np.uint8)


PALETTE = _palette()
"""Red, green, blue of shape (256, 3): dark violet to pale yellow. Lightness only grows, so that
colour-blind readers can tell the rates apart."""


UNSEEN = _SHADES
"""The index of memory that no probe has looked at yet: grey, which no rate has."""
_GREY = (128, 128, 128)


def rgb(index: int) -> tuple[int, int, int]:
    """Red, green and blue of an index in the palette, or of `UNSEEN`."""
    red, green, blue = _GREY if index == UNSEEN else PALETTE[index].tolist()
    return red, green, blue


def top_rate(rates: NDArray[np.float64]) -> float:
    """The highest access rate, which the end of the scale stands for; 0 where none is known."""
    return float(np.nanmax(rates)) if np.isfinite(rates).any() else 0.0


def colour_index(
    rates: NDArray[np.float64], top: float, unseen: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The index in the palette of rates from 0 to *top*, and -1 for NaN: the shape of *rates*.

    Where *unseen* is true the index is `UNSEEN`.
    """
    shares = np.minimum(rates / top, 1.0) if top else np.zeros_like(rates)
    shades = np.nan_to_num(shares * (_SHADES - 1)).round().astype(np.int64)
    indices: NDArray[np.int64] = np.where(np.isnan(rates), -1, shades)
    return indices if unseen is None else np.where(unseen, UNSEEN, indices)


def time_ticks(duration_ns: float, most: int) -> list[float]:
    """Times from 0 to below *duration_ns* in round steps; about *most* of them at the most."""
    step_ns = _round_up(duration_ns / most)
    return [i * step_ns for i in range(most + 1) if i * step_ns < duration_ns]


_EARLIEST_NS = 10**17
"""Earlier times, in 1973, are of a clock that counts from the start of the machine."""


def labelled_ticks(
    edges_ns: NDArray[np.int64], most: int, absolute: bool = False
) -> list[tuple[float, str]]:
    """How far ticks are behind the first of some edges, in ns, and their labels.

    Labels count from the first edge, or are the local time of day if they are *absolute*. Times of
    a clock that counts from the start of the machine count from there.
    """
    begin_ns, duration_ns = int(edges_ns[0]), float(edges_ns[-1] - edges_ns[0])
    if not absolute:
        return [(tick_ns, duration(tick_ns)) for tick_ns in time_ticks(duration_ns, most)]
    step_ns = max(1, round(_round_up(duration_ns / most)))
    ticks_ns = range(-begin_ns % step_ns, max(1, int(duration_ns)), step_ns)
    return [(tick_ns, _clock(begin_ns + tick_ns, step_ns)) for tick_ns in ticks_ns]


def _clock(time_ns: int, step_ns: int) -> str:
    """The time of day, with milliseconds where ticks are closer than a second."""
    if time_ns < _EARLIEST_NS:
        return f"{time_ns / 1e9:.{0 if step_ns >= 1e9 else 3}f} s"
    clock = datetime.fromtimestamp(time_ns // 10**9).strftime("%H:%M:%S")
    return clock if step_ns >= 1e9 else f"{clock}.{time_ns // 10**6 % 1000:03}"


def _round_up(duration_ns: float) -> float:
    """The next longer duration whose multiples are round numbers."""
    for unit in (60e9, 3600e9):
        if unit / 2 <= duration_ns <= 30 * unit:
            return unit * next(n for n in (1, 2, 5, 10, 20, 30) if n * unit >= duration_ns)
    power = 10.0 ** math.floor(math.log10(max(duration_ns, 1.0)))
    return float(next(n * power for n in (1, 2, 5, 10) if n * power >= duration_ns))


_EIGHTHS = " ▏▎▍▌▋▊▉"


def mapping_label(name: str, width: int = 0) -> str:
    """The name of a mapping: of a path that is wider than *width* cells only the end."""
    label = printable(name) or "(not mapped)"
    return shortened(label, width) if width else label


def shortened(text: str, width: int) -> str:
    """*text* in at most *width* cells: of a path only its end, of anything else its beginning."""
    if cell_len(text) <= width:
        return text
    text = text.rsplit("/", 1)[-1] or text
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "~"


def target_label(target: Target) -> str:
    """A target's name and pid, and its host where there are several."""
    name = printable(target.name)
    at = f" on {printable(target.host)}" if target.host else ""
    if not target.pid:
        return (name or "memory") + at
    return f"{name} (pid {target.pid}{at})" if name else f"pid {target.pid}{at}"


def target_cell(target: Target) -> str:
    """A target in a table, where names may be cut: the pid first."""
    if not target.pid:
        return target_label(target)
    parts = (str(target.pid), printable(target.host), printable(target.name))
    return " ".join(part for part in parts if part)


def heatmap_title(heatmap: HeatMap, absolute: bool = False) -> str:
    """The target of a heat map, how much is drawn, for how long, and if *absolute* since when."""
    total = heatmap.axis.length + heatmap.left_out_bytes
    duration_ns = float(heatmap.time_edges[-1] - heatmap.time_edges[0])
    drawn = f"{size(heatmap.axis.length)} of {size(total)}"
    title = f"{target_label(heatmap.target)}: {drawn} over {duration(duration_ns)}"
    begin_ns = int(heatmap.time_edges[0])
    if not absolute or begin_ns < _EARLIEST_NS:
        return title
    began = datetime.fromtimestamp(begin_ns // 10**9).astimezone()
    return f"{title} from {began:%Y-%m-%d %H:%M:%S %Z}"


def needs_headline(
    curve: NeedsCurve, point: NeedsPoint | None, tolerated: float, ascii_only: bool = False
) -> tuple[str, str]:
    """How much is needed, and why."""
    resident = size(curve.resident_bytes)
    if not len(curve.idle_ns):
        return (
            f"how much of {resident} it needs is not known",
            f"watched for {duration(curve.longest_ns)} by looks that tell idle times from "
            f"{duration(curve.shortest_ns)} on: record for longer",
        )
    limit = f"{per_second(tolerated)} a second are tolerated"
    if point is None:
        longest = curve.points[-1]
        return (
            f"needs all of its {resident}, as far as this recording tells",
            f"even after {duration(longest.idle_ns)} without use, "
            f"{per_second(longest.refaults_per_s)} pages a second come back; {limit}",
        )
    deviation = ""
    if point.kept_deviation_bytes:
        deviation = f" {'+-' if ascii_only else '±'}{size(point.kept_deviation_bytes)}"
    at_most = "at most " if point.idle_ns == curve.idle_ns[0] else ""
    return (
        f"needs {at_most}{size(point.kept_bytes)}{deviation} of {resident}",
        f"It was in use within {duration(point.idle_ns)}. Without the rest, "
        f"{per_second(point.refaults_per_s)} pages a second come back; {limit}.",
    )


@dataclass(frozen=True, slots=True)
class RateScale:
    """A scale of ratios, from *low* a second at 0 to *top* at 1."""

    low: float
    top: float

    @classmethod
    def of(cls, curve: NeedsCurve, tolerated: float) -> Self:
        """The scale of a curve: from below the tolerated rate on, three decades at least."""
        top = max(float(curve.refaults_per_s.max(initial=0.0)), tolerated, 1e-3)
        return cls(max(min(tolerated / 10, top / 1000), top / 10**6), top)

    def heights(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where rates stand on the scale; 0 for those that are below it."""
        heights: NDArray[np.float64] = np.log(np.maximum(rates, self.low) / self.low)
        return heights / math.log(self.top / self.low)


def percent(share: float) -> str:
    """A share of 1 in percent, small shares with two digits."""
    value = share * 100
    if value == 0:
        return "0 %"
    if value < 0.005:
        return "<0.01 %"
    return f"{value:.2g} %" if value < 9.95 else f"{value:.0f} %"


def frequency(hz: float, error: float = math.nan, ascii_only: bool = False) -> str:
    """Accesses a second, and where it is known the standard deviation: `2.1Hz ±0.5`."""
    if math.isnan(error):
        return f"{_number(hz)}Hz"
    return f"{_number(hz)}Hz {'+-' if ascii_only else '±'}{_number(error)}"


def per_second(rate: float, error: float = 0.0, ascii_only: bool = False) -> str:
    """A number of events a second, and the standard deviation if there is one: `120 ±8`."""
    if not error:
        return _number(rate)
    return f"{_number(rate)} {'+-' if ascii_only else '±'}{_number(error)}"


def _number(value: float) -> str:
    """A number of 0 or more with two digits; from 10 on it is whole."""
    if 0 < value < 0.005:
        return "<0.01"
    return f"{value:.2g}" if value < 9.95 else f"{value:.0f}"


def size(size_bytes: float) -> str:
    """Bytes with a unit."""
    return format_size(round(size_bytes))


def count(number: int, noun: str) -> str:
    """A number and its noun, which takes an s in the plural."""
    return f"{number} {noun}{'s' * (number != 1)}"


def age(age_ns: float) -> str:
    """For how long an access rate has held; "?" where that is unknown."""
    return "?" if age_ns < 0 else duration(age_ns)


def duration(duration_ns: float) -> str:
    """A duration with its unit; below 1 ns it is 0 s."""
    return format_duration(duration_ns) if duration_ns >= 1 else "0 s"


def bar(share: float, width: int, ascii_only: bool = False) -> str:
    """A bar that fills *share* (0 to 1) of *width* cells."""
    if ascii_only:
        return "#" * round(share * width)
    full, rest = divmod(round(max(0.0, min(1.0, share)) * width * 8), 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")
