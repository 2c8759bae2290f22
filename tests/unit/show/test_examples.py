"""The examples in docstrings of the public modules that show things run as they are printed."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import pydamon.export
import pydamon.live
import pydamon.notebook
import pydamon.objects
import pydamon.pytest_plugin
import pydamon.top
import pydamon.web
from pydamon._model import display

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


def examples() -> Iterator[doctest.DocTest]:
    finder = doctest.DocTestFinder(recurse=False)
    for module, name in public_names():
        value = getattr(module, name)
        # The names of the module where it is defined, as if the reader had imported them.
        names = {**vars(inspect.getmodule(value) or module), **vars(module)}
        yield from finder.find(value, f"{module.__name__}.{name}", globs=names)
    for value in (display.Displayable, display.Drawable.save):
        yield from finder.find(value, value.__qualname__, module=display, globs={})
    yield from finder.find(pydamon.pytest_plugin, "pydamon.pytest_plugin", globs={})


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: example.name)
def test_an_example_runs(
    example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(example, out=report.append)
    assert not runner.failures, "".join(report)
    assert list(tmp_path.iterdir()) == []


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
