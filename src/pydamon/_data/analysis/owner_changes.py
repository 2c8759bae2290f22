"""How the memory of owners changed between two reports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydamon._data.analysis.owners import OwnerReport, OwnerUse, added
from pydamon._model.display import Displayable

__all__ = ["OwnerChange", "OwnerDiff", "owner_diff"]

Path = tuple[str, ...]
_OF_ONE_RUN = re.compile(r" \(\d+\)$|(?<=^process) \d+| at 0x[0-9a-f]+(?=$| \()|(?<=\S):\d+(?=\)$)")
"""What labels have that another run, or another version of a program, has not: a process's pid,
addresses, and the line in `function (file:line)`."""


@dataclass(frozen=True, slots=True)
class OwnerChange:
    """One owner in both reports; its bytes are 0 in a report that does not have it.

    Examples
    --------
    >>> before, after = OwnerUse(("main", "load"), idle_bytes=4096), OwnerUse(("main", "load"))
    >>> OwnerChange(("main", "load"), before, after).idle_bytes
    -4096
    """

    path: tuple[str, ...]
    before: OwnerUse
    after: OwnerUse

    @property
    def idle_bytes(self) -> int:
        """By how much idle bytes grew; below 0 where they shrank."""
        return self.after.idle_bytes - self.before.idle_bytes

    @property
    def resident_bytes(self) -> int:
        """By how much resident bytes grew; below 0 where they shrank."""
        return self.after.resident_bytes - self.before.resident_bytes


@dataclass(frozen=True)
class OwnerDiff(Displayable):
    """Two reports of owners side by side: see `owner_diff`.

    Attributes
    ----------
    before, after : OwnerReport
        The reports.
    changes : tuple of OwnerChange
        Every owner, from the largest change of idle bytes to the smallest.
    """

    before: OwnerReport
    after: OwnerReport
    changes: tuple[OwnerChange, ...]


def owner_diff(before: OwnerReport, after: OwnerReport) -> OwnerDiff:
    """Compare the memory of owners in two reports.

    Parameters
    ----------
    before, after
        What `pydamon.analysis.owners` returns for two recordings.

    Returns
    -------
    OwnerDiff
        The owners of both.

    Notes
    -----
    Owners are matched by their paths. Those that only one of the reports has are matched again
    without what differs from run to run: pids, addresses, and numbers of lines. Owners that are the
    same then are summed up.

    Examples
    --------
    >>> def report(idle_bytes, line):
    ...     path = ("main (app.py:90)", f"load (app.py:{line})")
    ...     use = OwnerUse(path, 8192, 8192, idle_bytes=idle_bytes)
    ...     return OwnerReport((use,), (), 0, 10**10, True)
    >>> (change,) = owner_diff(report(4096, line=10), report(8192, line=12)).changes
    >>> change.path, change.idle_bytes
    (('main (app.py)', 'load (app.py)'), 4096)
    """
    sides = [_summed(report.owners) for report in (before, after)]
    common = sides[0].keys() & sides[1].keys()
    pairs: dict[Path, list[list[OwnerUse]]] = {}
    for side, uses in enumerate(sides):
        for path, use in uses.items():
            key = path if path in common else tuple(_OF_ONE_RUN.sub("", label) for label in path)
            pairs.setdefault(key, [[], []])[side].append(use)
    changes = [
        OwnerChange(path, added(path, old), added(path, new)) for path, (old, new) in pairs.items()
    ]
    changes.sort(key=lambda change: (-abs(change.idle_bytes), change.path))
    return OwnerDiff(before, after, tuple(changes))


def _summed(uses: Iterable[OwnerUse]) -> dict[Path, OwnerUse]:
    """The uses by path: a report that was read from a file may name a path twice."""
    by_path: dict[Path, list[OwnerUse]] = {}
    for use in uses:
        by_path.setdefault(use.path, []).append(use)
    return {path: added(path, same) for path, same in by_path.items()}
