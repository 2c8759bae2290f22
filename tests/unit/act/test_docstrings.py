"""The examples in docstrings of schemes run, without privileges."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import pydamon

_PACKAGES = ("_act.actions", "_act.policies", "_act.runtime", "_act.schemes", "_model.schemes")
_MODULES = sorted(
    module.name
    for package in _PACKAGES
    for module in pkgutil.iter_modules(
        importlib.import_module(f"pydamon.{package}").__path__, f"pydamon.{package}."
    )
)


@pytest.mark.parametrize("name", [*_MODULES, "pydamon._model.rates", "pydamon._model.units"])
def test_the_examples_of_a_module_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    "name",
    [
        *("AccessPattern", "Destination", "Filter", "Goal"),
        *("Guard", "Quota", "Scheme", "SchemeStats", "Watermarks", "Weights"),
        *("read_damo_schemes", "read_schemes"),
    ],
)
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>>" in (getattr(pydamon, name).__doc__ or "")
