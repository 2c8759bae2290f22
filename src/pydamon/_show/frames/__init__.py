"""What live views show: frames of a second each, kept in a bounded amount of memory.

A `Feed` runs a monitor and keeps what it sees in a `History` of frames; a `Replay` makes such a
history of a recording. `HeatMapCache` draws frames as heat maps.
"""

from pydamon._show.frames.ages import AGE_EDGES_NS, AgeSplit
from pydamon._show.frames.build import frame_of, frames_of
from pydamon._show.frames.feed import Feed, FrameSource, History, Replay
from pydamon._show.frames.frame import IDLE_NS, SUMS, Frame, Timing, fold, joined
from pydamon._show.frames.heatmap_cache import HeatMapCache, frames_at
from pydamon._show.frames.owners import LiveOwners
from pydamon._show.frames.spans import RateSpans, union

__all__ = [
    "AGE_EDGES_NS",
    "IDLE_NS",
    "SUMS",
    "AgeSplit",
    "Feed",
    "Frame",
    "FrameSource",
    "HeatMapCache",
    "History",
    "LiveOwners",
    "RateSpans",
    "Replay",
    "Timing",
    "fold",
    "frame_of",
    "frames_at",
    "frames_of",
    "joined",
    "union",
]
