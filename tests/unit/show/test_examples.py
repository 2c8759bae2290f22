"""Public names of the modules that show things are documented, with examples (run as doctests)."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import pydamon.export
import pydamon.live
import pydamon.notebook
import pydamon.objects
import pydamon.pytest_plugin
import pydamon.top
import pydamon.web

MODULES = (
    pydamon.export,
    pydamon.live,
    pydamon.notebook,
    pydamon.objects,
    pydamon.pytest_plugin,
    pydamon.top,
    pydamon.web,
)


def public_names() -> list[tuple[ModuleType, str]]:
    return [(module, name) for module in MODULES for name in module.__all__ if not name.isupper()]


@pytest.mark.parametrize(("module", "name"), public_names())
def test_public_names_are_documented(module: ModuleType, name: str) -> None:
    value = getattr(module, name)
    text = inspect.getdoc(value) or ""
    assert text
    if not callable(value) or getattr(value, "_is_protocol", False):
        return
    assert "Examples\n---" in text
    if inspect.signature(value).parameters:
        assert "Parameters\n---" in text
