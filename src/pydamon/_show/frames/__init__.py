"""What live views show: frames of a second each, kept in a bounded amount of memory.

with pydamon.monitor(pid) as mon, pydamon.live.Feed(mon) as feed:
    time.sleep(5)
    print(feed.history.frames()[-1].working_sets)
"""

from pydamon._show.frames.cache import HeatMapCache, frames_at
from pydamon._show.frames.feed import Feed, FrameSource, History, Replay
from pydamon._show.frames.frames import IDLE_NS, SUMS, Frame, RateSpans, Timing, fold, joined, union
from pydamon._show.frames.making import frame_of, frames_of

__all__ = [
    "IDLE_NS",
    "SUMS",
    "Feed",
    "Frame",
    "FrameSource",
    "HeatMapCache",
    "History",
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
