"""Saying something about a target once, however often it is found."""

from __future__ import annotations

import logging

__all__ = ["say_once"]

_LOGGER = logging.getLogger("pydamon")
_MOST = 1000
_said: set[str] = set()


def say_once(key: str, text: str) -> None:
    """Warn by the logger `pydamon`, once for each key while this process lives."""
    if key in _said:
        return
    if len(_said) >= _MOST:
        _said.clear()
    _said.add(key)
    _LOGGER.warning("%s", text)
