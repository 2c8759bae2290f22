"""Names and numbers as people read them, the same in terminals, pictures and pages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from pydamon._model.names import printable
from pydamon._model.snapshot import Target
from pydamon._model.units import format_duration, format_size

if TYPE_CHECKING:
    from pydamon._data.analysis import HeatMap

__all__ = [
    "age",
    "bar",
    "count",
    "duration",
    "frequency",
    "heatmap_title",
    "mapping_label",
    "percent",
    "printable",
    "shortened",
    "size",
    "target_cell",
    "target_label",
]

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


def heatmap_title(heatmap: HeatMap) -> str:
    """The target of a heat map, how much of it is drawn, and for how long."""
    total = heatmap.axis.length + heatmap.left_out_bytes
    duration_ns = float(heatmap.time_edges[-1] - heatmap.time_edges[0])
    drawn = f"{size(heatmap.axis.length)} of {size(total)}"
    return f"{target_label(heatmap.target)}: {drawn} over {duration(duration_ns)}"


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
