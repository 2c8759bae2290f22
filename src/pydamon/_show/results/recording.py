"""A recording: its heat map and its summary."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data import analysis
from pydamon._data.recording import Recording, RecordingFile
from pydamon._model.errors import RecordingError
from pydamon._model.units import format_duration
from pydamon._show.results.heatmap import HeatMapView, heatmap_cells
from pydamon._show.results.summary import SummaryView
from pydamon._show.results.view import View, html_of_parts
from pydamon._show.text import printable

__all__ = ["RecordingFileView", "RecordingView"]

_ROWS, _COLUMNS = 80, 200
"""Of the heat map in a notebook."""


@dataclass(frozen=True)
class RecordingView(View):
    """The heat map, then the summary; a sentence where nothing was recorded."""

    recording: Recording

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._parts(*heatmap_cells(console))

    def html(self) -> str:
        """As in a terminal, with more cells."""
        return html_of_parts(self._parts(_ROWS, _COLUMNS))

    def _parts(self, rows: int, columns: int) -> RenderResult:
        try:
            yield HeatMapView(analysis.heatmap(self.recording, rows, columns))
            yield SummaryView(analysis.summary(self.recording), self.recording.info)
        except RecordingError as error:
            yield Text(f"{error}")


@dataclass(frozen=True)
class RecordingFileView(View):
    """Where the file is and how it was made: it may be too large to be read for a look."""

    file: RecordingFile

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        info = self.file.info
        yield Text(f"Recording {printable(str(self.file.path))}", style="bold")
        yield Text(
            f"probe {printable(info.probe)}, sampled every "
            f"{format_duration(info.attrs.sampling_ns)}, aggregated every "
            f"{format_duration(info.attrs.aggregation_ns)}, Linux {printable(info.kernel)}, "
            f"host {printable(info.hostname)}"
        )
        if self.file.problem:
            yield Text(printable(f"not complete: {self.file.problem}"), style="yellow")
