"""Names and numbers as they stand on a screen."""

from __future__ import annotations

from pydamon.core.snapshot import Target
from pydamon.core.units import format_duration, format_size

__all__ = ["bar", "duration", "mapping_label", "percent", "printable", "size", "target_label"]

_EIGHTHS = " ▏▎▍▌▋▊▉"


def printable(text: str) -> str:
    """*text* without control characters, which a file's name may hold and a terminal obeys."""
    return "".join(char if char.isprintable() else "?" for char in text)


def mapping_label(name: str, width: int = 0) -> str:
    """The name of a mapping: of a path that does not fit into *width* cells only the end."""
    label = printable(name) or "(not mapped)"
    if not width or len(label) <= width:
        return label
    label = label.rsplit("/", 1)[-1] or label
    return label if len(label) <= width else label[: max(0, width - 1)] + "~"


def target_label(target: Target) -> str:
    """A target's name and pid."""
    name = printable(target.name)
    if not target.pid:
        return name or "memory"
    return f"{name} (pid {target.pid})" if name else f"pid {target.pid}"


def percent(share: float) -> str:
    """A share of 1 in percent: of small ones, two digits."""
    value = share * 100
    if value == 0:
        return "0 %"
    return f"{value:.2g} %" if value < 9.95 else f"{value:.0f} %"


def size(size_bytes: float) -> str:
    """Bytes for people."""
    return format_size(round(size_bytes))


def duration(duration_ns: float) -> str:
    """A duration for people; none at all has no need of nanoseconds."""
    return format_duration(duration_ns) if duration_ns >= 1 else "0 s"


def bar(share: float, width: int, ascii_only: bool = False) -> str:
    """A bar of *share* (0 to 1) of *width* cells."""
    if ascii_only:
        return "#" * round(share * width)
    full, rest = divmod(round(max(0.0, min(1.0, share)) * width * 8), 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")
