"""Actions: one file each (or a few that are one thing), and one line here."""

from __future__ import annotations

from pydamon.schemes.actions.base import Action
from pydamon.schemes.actions.huge import Collapse, Hugepage, Nohugepage
from pydamon.schemes.actions.lru import LruPrio
from pydamon.schemes.actions.migrate import MigrateCold, MigrateHot
from pydamon.schemes.actions.reclaim import Cold, LruDeprio, Pageout
from pydamon.schemes.actions.stat import Stat
from pydamon.schemes.actions.willneed import Willneed

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
