"""The application: its panels, and the actions of its keys."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType

from pydamon._data.analysis import HeatMap
from pydamon._data.analysis.heat import Range
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.snapshot import Target
from pydamon._show.frames import Frame, FrameSource, HeatMapCache, frames_at
from pydamon._show.top.heat import HeatPanel, HeatShown, hottest_row
from pydamon._show.top.memory import MemoryPanel, MemoryShown, headline, memory_lines
from pydamon._show.top.panels import (
    BOLD,
    DIM,
    KEYS,
    PLAIN,
    WARN,
    StatusPanel,
    addresses_line,
    caveat_lines,
    map_columns,
    measuring_line,
    row_bounds,
    target_line,
)
from pydamon._show.top.table import Table, TablePanel

__all__ = ["TopApp"]

_TICK_S = 0.25
_FIRST_TICK_S = 0.02
"""Short, because a user is waiting for the first picture."""
_PLAY_S = 60.0
"""A recording plays as fast as it was made; a longer one plays in a minute."""
_STATUS_LINES = 4
_OTHER_LINES = 1 + _STATUS_LINES
_MUCH_HOTTER = 2.0
_SMALLEST = 4 * SMALLEST_PAGE


class TopApp(App[None]):
    """Shows one target of a source: its memory by age, heat map and mappings.

    Parameters
    ----------
    source
        A `pydamon.live.Feed` or `pydamon.live.Replay`.
    colour
        Whether the terminal has enough colours for a heat map; otherwise it is made of digits.

    Examples
    --------
    >>> import pydamon
    >>> def show(pid):
    ...     with pydamon.monitor(pid) as mon, pydamon.live.Feed(mon) as feed:
    ...         TopApp(feed).run()
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { background: ansi_default; color: ansi_default; overflow: hidden; }
    #status { height: 4; }
    #memory { height: 6; }
    #heat { height: 1fr; min-height: 4; }
    #table { height: 2; }
    #keys { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "quit", priority=True),
        Binding("space", "pause", "pause, or go on"),
        Binding("left", "step(-1)", "a column back"),
        Binding("right", "step(1)", "a column on"),
        Binding("shift+left,pageup", "leap(-1)", "half a screen back"),
        Binding("shift+right,pagedown", "leap(1)", "half a screen on"),
        Binding("home", "first", "the beginning"),
        Binding("end", "last", "the end, and stay there"),
        Binding("s", "sort", "rank by something else"),
        Binding("up", "pick(-1)", "pick a row"),
        Binding("down", "pick(1)", "pick a row"),
        Binding("shift+up", "pan(-1)", "lower addresses"),
        Binding("shift+down", "pan(1)", "higher addresses"),
        Binding("plus,equals_sign,enter", "zoom_in", "zoom in"),
        Binding("minus,backspace", "zoom_out", "zoom out"),
        Binding("f", "addresses('hottest')", "follow the hottest"),
        Binding("a", "addresses('all')", "all addresses"),
        Binding("o", "owners", "owners, or mappings"),
        Binding("t,tab", "target", "the next target"),
    ]

    def __init__(self, source: FrameSource, *, colour: bool = True) -> None:
        super().__init__(ansi_color=True)
        self._source = source
        self._colour = colour
        self._cache = HeatMapCache()
        self._frames: list[Frame] = []
        self._drawn_state = (-1, "", "")
        self._target: Target | None = None
        self._target_is_chosen = False
        self._at_ns: int | None = None
        self._playing = not source.live
        self._ranges: list[Range] = ["hottest"]
        self._picked: int | None = None
        self._table = Table()
        self._heatmap: HeatMap | None = None

    def compose(self) -> ComposeResult:
        """The panels, from the top."""
        yield StatusPanel(id="status")
        yield MemoryPanel(id="memory")
        yield HeatPanel(id="heat")
        yield TablePanel(id="table")
        yield StatusPanel(id="keys")

    def on_mount(self) -> None:
        """Look for new frames from now on, and quit on signals as on the key."""
        self.query_one("#keys", StatusPanel).show(((KEYS, DIM),))
        self.query_one("#status", StatusPanel).show((("watching ...", BOLD),))
        if self._playing:
            self._frames = self._source.history.frames()
            self._at_ns = self._frames[0].start_ns + self._column_ns if self._frames else None
        self.call_after_refresh(self._look)
        self.set_interval(_TICK_S, self._look)
        self._hurry = self.set_interval(_FIRST_TICK_S, self._look_for_the_first)
        if not self.is_headless:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    asyncio.get_running_loop().add_signal_handler(number, self.exit)

    def on_heat_panel_resized(self) -> None:
        """Draw everything again: there is room for another number of rows or columns."""
        self._show()

    def on_click(self, event: events.Click) -> None:
        """Pick the row that was clicked."""
        panel = self.query_one(HeatPanel)
        if event.widget is panel and event.y < panel.map_lines:
            self._picked = event.y * (2 if self._colour else 1)
            self._show()

    @property
    def _column_ns(self) -> int:
        return self._source.history.frame_ns

    @property
    def _free_lines(self) -> int:
        """How many lines heat map and mappings have together."""
        return self.size.height - _OTHER_LINES - memory_lines(self.size.height)

    @property
    def _end_ns(self) -> int:
        """The time at the right of the map."""
        return self._frames[-1].end_ns if self._at_ns is None else self._at_ns

    def _look_for_the_first(self) -> None:
        self._look()
        if self._frames or self._source.ended:
            self._hurry.stop()

    def _look(self) -> None:
        """Draw again if there are new frames, or time goes on in a recording."""
        state = (self._source.history.version, self._source.ended, self._source.caveat)
        if state != self._drawn_state:
            self._drawn_state = state
            self._frames = self._source.history.frames()
        elif not self._playing or self._at_ns is None:
            return
        if self._playing and self._at_ns is not None:
            length_ns = self._frames[-1].end_ns - self._frames[0].start_ns
            self._move(max(int(_TICK_S * 10**9), int(length_ns * _TICK_S / _PLAY_S)))
        self._show()

    def _show(self) -> None:
        """Draw everything as it is at the time that is shown."""
        if not self._frames:
            self._show_status(None)
            return
        panel = self.query_one(HeatPanel)
        columns = map_columns(panel.size.width)
        shown, _ = frames_at(self._frames, columns, self._end_ns, self._column_ns)
        frame = next((frame for frame in reversed(shown) if frame is not None), self._frames[0])
        target = self._choose(frame)
        self._heatmap = self._cache.render(
            self._frames,
            target,
            panel.map_lines * (2 if self._colour else 1),
            columns,
            end_ns=self._end_ns,
            column_ns=self._column_ns,
            addresses=self._ranges[-1],
        )
        if self._heatmap is not None:
            rows = len(self._heatmap.rates)
            self._picked = None if self._picked is None else min(self._picked, rows - 1)
            panel.show(HeatShown(self._heatmap, self._colour, self._picked))
        self._show_memory(shown, target)
        last = next((f for f in reversed(shown) if f and target.key in f.working_sets), frame)
        self._show_table(last, target)
        self._show_status(frame)

    def _show_memory(self, shown: Sequence[Frame | None], target: Target) -> None:
        """The areas, where there are lines for them."""
        panel = self.query_one(MemoryPanel)
        lines = memory_lines(self.size.height)
        panel.display = lines > 0
        if panel.size.height != lines:
            panel.styles.height = lines
        panel.show(MemoryShown.of(shown, target, self._colour, self._source.history))

    def _show_table(self, frame: Frame, target: Target) -> None:
        """A line for each mapping, or owner, in at most two fifths of the screen."""
        panel = self.query_one(TablePanel)
        shown = self._table.rows(frame, target, self._source.history)
        lines = max(2, min(1 + len(shown), self._free_lines * 2 // 5))
        if panel.size.height != lines:
            panel.styles.height = lines
        panel.show(shown)

    def _choose(self, frame: Frame) -> Target:
        """The target that the user chose, or else the one with by far the largest working set."""
        sets = frame.working_sets
        targets = {target.key: target for target in frame.targets}
        shown = self._target
        if sets and not self._target_is_chosen:
            largest = max(sets, key=sets.__getitem__)
            if shown is None or sets[largest] > _MUCH_HOTTER * sets.get(shown.key, 0.0):
                shown = targets[largest]
        self._target = targets.get(shown.key, shown) if shown else Target(0)
        return self._target

    def _show_status(self, frame: Frame | None) -> None:
        lines = [("watching: no window has ended yet", BOLD)]
        if frame is not None and self._target is not None:
            paused = self._at_ns is not None and not self._playing
            before = [f for f in self._frames if f.start_ns < self._end_ns] or self._frames
            sampling_ns = frame.timing.sampling_ns
            lines = [
                (
                    headline(frame, self._target, self._frames[0].start_ns, self._source.history),
                    BOLD,
                ),
                (target_line(frame, self._target, paused), PLAIN),
                (measuring_line(before, self._source), PLAIN),
                (addresses_line(self._heatmap, self._picked, self._ranges[-1], sampling_ns), DIM),
            ]
        ended = self._source.ended
        if ended and (self._source.live or self._at_ns is None):
            picture = "the last picture" if frame else "nothing was seen"
            lines[-1] = (f"{ended}; {picture}; q quits", BOLD)
        caveat = caveat_lines(self._source.caveat, self.size.width)
        lines += [(line, WARN) for line in caveat]
        panel = self.query_one("#status", StatusPanel)
        if panel.size.height != _STATUS_LINES + len(caveat):
            panel.styles.height = _STATUS_LINES + len(caveat)
        panel.show(tuple(lines))

    def action_pause(self) -> None:
        """Pause, or go on: live at the newest frame, in a recording from here."""
        if self._at_ns is None and not self._frames:
            return
        if self._source.live:
            self._at_ns = self._end_ns if self._at_ns is None else None
        else:
            self._playing = not self._playing
            if self._playing and self._at_ns is None:
                self.action_first()
                self._playing = True
        self._show()

    def action_step(self, columns: int) -> None:
        """Go back or on by columns, and pause there."""
        if self._frames:
            self._playing = False
            self._move(columns * self._column_ns)
            self._show()

    def action_leap(self, direction: int) -> None:
        """Go back or on by half a screen."""
        self.action_step(direction * max(1, map_columns(self.size.width) // 2))

    def action_first(self) -> None:
        """Go to the first column."""
        if self._frames:
            self._playing = False
            self._at_ns = self._frames[0].start_ns + self._column_ns
            self._show()

    def action_last(self) -> None:
        """Go to the end, and stay there while it moves on."""
        self._at_ns, self._playing = None, False
        self._show()

    def action_sort(self) -> None:
        """Rank the mappings, or the owners, by something else."""
        self._table.sort_next()
        self._show()

    def action_owners(self) -> None:
        """Show the owners of the memory in the place of the mappings, or the mappings again."""
        self._table.shows_owners = not self._table.shows_owners
        self._show()

    def action_pick(self, lines: int) -> None:
        """Pick the row some lines away; the first time, the hottest row."""
        heatmap = self._heatmap
        if heatmap is None:
            return
        if self._picked is None:
            self._picked = hottest_row(heatmap)
        else:
            rows = len(heatmap.rates)
            row = self._picked + lines * (2 if self._colour else 1)
            if not 0 <= row < rows:
                row -= self._pan(1 if lines > 0 else -1)
            self._picked = min(max(0, row), rows - 1)
        self._show()

    def action_pan(self, direction: int) -> None:
        """Show the addresses half a screen above or below."""
        rows = self._pan(direction)
        if self._picked is not None and self._heatmap is not None:
            self._picked = min(max(0, self._picked - rows), len(self._heatmap.rates) - 1)
        self._show()

    def _pan(self, direction: int) -> int:
        """Move the addresses by half a screen; returns by how many rows that was possible."""
        if self._heatmap is None:
            return 0
        addresses, share = self._cache.beside(direction / 2)
        if share:
            kept = self._ranges if isinstance(self._ranges[-1], str) else self._ranges[:-1]
            self._ranges = [*kept, addresses]
        return round(share * len(self._heatmap.rates))

    def action_zoom_in(self) -> None:
        """Show half of the addresses, around the picked row, or the hottest one."""
        heatmap = self._heatmap
        if heatmap is None or heatmap.axis.length <= _SMALLEST:
            return
        rows = len(heatmap.rates)
        middle = hottest_row(heatmap) if self._picked is None else self._picked
        low = min(max(0, middle - rows // 4), rows - rows // 2)
        self._ranges.append(row_bounds(heatmap, low, low + max(1, rows // 2)))
        if self._picked is not None:
            self._picked = min(rows - 1, (self._picked - low) * 2 + 1)
        self._show()

    def action_zoom_out(self) -> None:
        """Undo the last zoom; without one, show all addresses."""
        if len(self._ranges) > 1:
            self._ranges.pop()
        else:
            self._ranges = ["all"]
        self._picked = None
        self._show()

    def action_addresses(self, addresses: str) -> None:
        """Show all addresses, or follow the hottest."""
        self._ranges = ["all" if addresses == "all" else "hottest"]
        self._picked = None
        self._show()

    def action_target(self) -> None:
        """Show the next target of the newest frame."""
        if not self._frames:
            return
        before = [frame for frame in self._frames if frame.start_ns < self._end_ns]
        targets = (before or self._frames)[-1].targets
        keys = [target.key for target in targets]
        at = keys.index(self._target.key) if self._target and self._target.key in keys else -1
        self._target, self._target_is_chosen = targets[(at + 1) % len(targets)], True
        self._ranges, self._picked = ["hottest"], None
        self._show()

    def _move(self, by_ns: int) -> None:
        """Show another time; beyond the end it stays at the newest frame."""
        first_ns = self._frames[0].start_ns + self._column_ns
        at_ns = max(first_ns, self._end_ns + by_ns)
        self._at_ns = at_ns
        if at_ns >= self._frames[-1].end_ns:
            self._at_ns, self._playing = None, False
