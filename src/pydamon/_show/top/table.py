"""The table of `pydamon top`: mappings, or the owners of memory in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style

from pydamon._data.analysis import OWNER_SORT_KEYS, OwnerReport, OwnerUse
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.snapshot import Target
from pydamon._show.frames import Frame, History
from pydamon._show.results.owners import innermost
from pydamon._show.text import count, duration, shortened, size
from pydamon._show.top.panels import BOLD, DIM, PLAIN, SORTS, MappingsShown, Panel, mapping_lines

__all__ = ["OwnersShown", "Table", "TablePanel"]

_NUMBER = 9
_COLUMNS = (
    (100, ("allocated", "resident", "hot", "warm", "idle")),
    (64, ("resident", "hot", "idle")),
    (0, ("idle",)),
)
"""The columns from each width on."""
_NOTHING = "nothing is known of owners yet"


@dataclass(frozen=True)
class OwnersShown:
    """Owners of memory, ranked by one of `analysis.OWNER_SORT_KEYS`: of a process, or of all."""

    report: OwnerReport | None
    sort: str
    pid: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def rows(self) -> list[OwnerUse]:
        """The owners that have a page in memory."""
        uses = self.report.by(self.sort) if self.report else []
        return [use for use in uses if use.resident_bytes >= SMALLEST_PAGE]


class Table:
    """What the table shows, and by what it is ranked."""

    def __init__(self) -> None:
        self.shows_owners = False
        self._sorts = {False: SORTS[0], True: OWNER_SORT_KEYS[0]}

    def sort_next(self) -> None:
        """Rank what is shown by something else."""
        keys = OWNER_SORT_KEYS if self.shows_owners else SORTS
        place = keys.index(self._sorts[self.shows_owners]) + 1
        self._sorts[self.shows_owners] = keys[place % len(keys)]

    def rows(self, frame: Frame, target: Target, history: History) -> MappingsShown | OwnersShown:
        """The mappings of a target, or the owners of its memory; of all where that is not known."""
        sort = self._sorts[self.shows_owners]
        if self.shows_owners:
            report = history.owners_by_target.get(target.key)
            if report is None:
                return OwnersShown(history.owners, sort)
            return OwnersShown(report, sort, target.pid)
        return MappingsShown.of(frame, target, sort)


class TablePanel(Panel[MappingsShown | OwnersShown]):
    """A table, and a line about what does not fit."""

    def lines(
        self, shown: MappingsShown | OwnersShown, width: int, height: int
    ) -> list[list[Segment]]:
        """The header, the rows, and how many more there are."""
        if isinstance(shown, OwnersShown):
            return _owner_lines(shown, width, height)
        return mapping_lines(shown, width, height)


def _owner_lines(shown: OwnersShown, width: int, height: int) -> list[list[Segment]]:
    columns = next(columns for least, columns in _COLUMNS if width >= least)
    name_width = max(8, width - len(columns) * (_NUMBER + 1) - 1)
    rows = shown.rows
    lines = [_header(shown, columns, name_width)]
    if not rows:
        return [*lines, [Segment(_NOTHING, DIM)]]
    fit = len(rows) if len(rows) < height else max(1, height - 2)
    lines += [_row(use, shown.sort, columns, name_width) for use in rows[:fit]]
    if fit < len(rows):
        idle = size(sum(use.idle_bytes for use in rows[fit:]))
        more = f"and {count(len(rows) - fit, 'more owner')} with {idle} idle"
        lines.append([Segment(more, DIM)])
    return lines


def _row(use: OwnerUse, sort: str, columns: Sequence[str], name_width: int) -> list[Segment]:
    cells = [Segment(f"{shortened(innermost(use.path), name_width):<{name_width}}")]
    for name in columns:
        value = getattr(use, f"{name}_bytes")
        text = size(value) if value else "-"
        cells.append(Segment(f" {text:>{_NUMBER}}", BOLD if name == sort else PLAIN))
    return cells


def _header(shown: OwnersShown, columns: Sequence[str], name_width: int) -> list[Segment]:
    idle = "idle" if shown.report is None else f"idle {duration(shown.report.idle_ns)}"
    titles = {"idle": idle.replace(" s", "s")}
    cells = "".join(
        f" {titles.get(name, name) + ('▼' if name == shown.sort else ''):>{_NUMBER}}"
        for name in columns
    )
    first = "owner, of all processes" if shown.pid is None else f"owner, of process {shown.pid}"
    first = shortened(first, name_width)
    return [Segment(f"{first:<{name_width}}{cells} ", Style(bold=True, underline=True))]
