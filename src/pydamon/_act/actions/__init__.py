"""Actions: one file each (or a few that belong together), and one line here."""

from __future__ import annotations

from pydamon._act.actions.base import Action, MemoryAction, Stat
from pydamon._act.actions.call import Call
from pydamon._act.actions.huge import Collapse, Hugepage, Nohugepage
from pydamon._act.actions.migrate import MigrateCold, MigrateHot
from pydamon._act.actions.reclaim import Cold, LruDeprio, LruPrio, Pageout, Willneed
from pydamon._model.schemes.scheme import Scheme

__all__ = ["ACTION_TYPES", "Action", "action_of"]

_TYPES: tuple[type[MemoryAction], ...] = (
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


def action_of(scheme: Scheme) -> Action:
    """The action of a scheme; raises `SchemeError` for what this machine cannot do."""
    if isinstance(scheme.action, str):
        return ACTION_TYPES[scheme.action](scheme)
    return Call(scheme.action, scheme)
