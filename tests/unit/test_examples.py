"""The examples in the docstrings of public names run, without privileges, and leave no files."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_public_names import PUBLIC, PUBLIC_OBJECTS

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _examples() -> dict[str, doctest.DocTest]:
    """Every docstring with examples, by name; one that several names share is there once."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found: dict[int, doctest.DocTest] = {}
    objects: dict[str, Any] = {module.__name__: module for module in PUBLIC} | PUBLIC_OBJECTS
    for name, value in objects.items():
        tests = finder.find(value, name, module=False, globs={})
        if inspect.ismodule(value):
            tests = [test for test in tests if test.name == name]
        found |= {hash(test.docstring): test for test in tests if test.examples}
    return {test.name: test for test in found.values()}


EXAMPLES = _examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=_FLAGS)
    runner.run(EXAMPLES[name], out=said.append, clear_globs=False)
    assert not runner.failures, "".join(said)
    assert not list(tmp_path.iterdir())
