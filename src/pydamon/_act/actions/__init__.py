"""Actions: one file each (or a few that are one thing), and one line here."""

from __future__ import annotations

from pydamon._act.actions.base import Action, Stat
from pydamon._act.actions.huge import Collapse, Hugepage, Nohugepage
from pydamon._act.actions.migrate import MigrateCold, MigrateHot
from pydamon._act.actions.reclaim import Cold, LruDeprio, LruPrio, Pageout, Willneed

__all__ = ["ACTION_TYPES", "Action"]

_TYPES: tuple[type[Action], ...] = (
    Stat,
    Pageout,
    Cold,
    Willneed,
    Hugepage,
    Nohugepage,
    Collapse,
    LruPrio,
    LruDeprio,
    MigrateHot,
    MigrateCold,
)
ACTION_TYPES = {kind.name: kind for kind in _TYPES}
"""Every action by name."""
