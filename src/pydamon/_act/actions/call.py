"""A user's function as an action."""

from __future__ import annotations

from pydamon._act.actions.base import Action, Effect, Part
from pydamon._model.errors import SchemeError
from pydamon._model.schemes.scheme import ActionFunction, Scheme

__all__ = ["Call"]


class Call(Action):
    """Calls a function with each region; the function says for how many bytes it did something.

    Raises `SchemeError` for a scheme whose filters decide about pages. Exceptions of the function
    end the scheme: they are the user's.
    """

    hot_first = True
    needs_process = False
    sees_pages = False
    by_region = True
    failures = ()

    def __init__(self, function: ActionFunction, scheme: Scheme) -> None:
        if not all(rule.is_core for rule in scheme.filters):
            raise SchemeError(
                "filters: a function is called with regions, and only addr and target decide "
                "about regions"
            )
        self.name = scheme.label
        self._function = function

    def apply(self, part: Part) -> Effect:
        """Call the function with the region of a part."""
        size_bytes = self._function(part.region())
        return Effect(part.passed, part.size if size_bytes is None else int(size_bytes))

    def foresee(self, part: Part) -> Effect:
        """All of the part: nobody knows what the function would do."""
        return Effect(part.passed, part.size)
