"""Actions: a module each (or for a few that belong together), and a line in `ACTIONS`.

That table is in `_model/schemes/scheme.py`: a scheme checks names without loading the actions.
"""

from __future__ import annotations

from pkgutil import resolve_name

from pydamon._act.actions.base import Action, Call, MemoryAction
from pydamon._model.schemes.scheme import ACTIONS, Scheme

__all__ = ["ACTION_TYPES", "Action", "action_of"]

ACTION_TYPES: dict[str, type[MemoryAction]] = {
    name: resolve_name(f"{__name__}.{place}") for name, place in ACTIONS.items()
}
"""Every action by name."""


def action_of(scheme: Scheme) -> Action:
    """The action of a scheme; raises `SchemeError` for what this machine cannot do."""
    if isinstance(scheme.action, str):
        return ACTION_TYPES[scheme.action](scheme)
    return Call(scheme.action, scheme)
