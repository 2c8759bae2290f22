"""What live views show: frames of a second each, kept in a bounded amount of memory.

with pydamon.monitor(pid) as mon, pydamon.live.Feed(mon) as feed:
    time.sleep(5)
    print(feed.history.frames()[-1].working_sets)
"""

from pydamon.live.feed import Feed, FrameSource, Replay
from pydamon.live.frame import IDLE_NS, SUMS, Frame, Timing, fold, joined
from pydamon.live.history import History
from pydamon.live.making import frame_of, frames_of
from pydamon.live.scroll import HeatMapCache, frames_at
from pydamon.live.spans import RateSpans, union

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
