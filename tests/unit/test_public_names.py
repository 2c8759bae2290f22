"""The public face: what can be imported, and that every type in a signature can be, too."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, get_args

import pytest

import pydamon

FACADES = (
    *("analysis", "cache", "containers", "export", "live", "notebook", "objects", "owners"),
    *("policies", "probes", "top", "web", "workloads"),
)
"""The public modules that have names."""
PUBLIC = (pydamon, *(importlib.import_module(f"pydamon.{name}") for name in FACADES))


def _names(module: ModuleType) -> dict[str, Any]:
    return {name: getattr(module, name) for name in module.__all__}


EXPORTED = {id(value): name for module in PUBLIC for name, value in _names(module).items()}


def test_modules_without_an_underscore_are_the_public_ones() -> None:
    found = {module.name for module in pkgutil.iter_modules(pydamon.__path__)}
    public = {name for name in found if not name.startswith("_")}
    assert public == {*FACADES, "pytest_plugin"}


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_names_are_sorted_and_there(module: ModuleType) -> None:
    names = list(module.__all__)
    assert len(set(names)) == len(names)
    # In sources as ruff sorts them; lazy_loader sorts the names of a stub once more.
    assert names in (sorted(names), sorted(names, key=lambda name: (_rank(name), name)))
    assert not [name for name in names if name.startswith("_")]
    assert all(hasattr(module, name) for name in names)


def _rank(name: str) -> int:
    """Constants, then classes, then the rest."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2


def test_the_version_is_that_of_the_package() -> None:
    assert pydamon.__version__ == version("pydamon")


def test_importing_pydamon_imports_nothing_that_takes_long() -> None:
    text = "import sys, pydamon; print({'numpy', 'pyarrow', 'importlib.metadata'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


PUBLIC_OBJECTS = {
    f"{module.__name__}.{name}": value
    for module in PUBLIC
    for name, value in _names(module).items()
    if inspect.isclass(value) or inspect.isfunction(value)
}


@pytest.mark.parametrize("name", PUBLIC_OBJECTS)
def test_every_type_in_a_public_signature_is_public(name: str) -> None:
    private = {
        f"{where}: {kind.__module__}.{kind.__qualname__}"
        for where, kind in _types_in(name, PUBLIC_OBJECTS[name])
        if id(kind) not in EXPORTED and not _is_made_by_pydamon_only(where, kind)
    }
    assert private == set()


def _is_made_by_pydamon_only(where: str, kind: type) -> bool:
    return where.endswith(".__init__") and kind.__name__.startswith("_")


_SPOKEN = ("__getitem__", "__iter__", "__init__")
"""Special methods that users call by other names."""


def _types_in(name: str, value: Any) -> Iterator[tuple[str, type]]:
    """The types of pydamon's that the signatures and attributes of a name mention."""
    if not inspect.isclass(value):
        yield from _types_of_function(name, value)
        return
    for base in value.__mro__:
        if base.__module__.startswith("pydamon."):
            yield from _types_of_members(name, base)


def _types_of_members(name: str, base: type) -> Iterator[tuple[str, type]]:
    for attribute, annotation in vars(base).get("__annotations__", {}).items():
        if not attribute.startswith("_"):
            yield from _resolved(f"{name}.{attribute}", annotation, base.__module__)
    for attribute, member in vars(base).items():
        if not attribute.startswith("_") or attribute in _SPOKEN:
            for function in _functions_of(member):
                yield from _types_of_function(f"{name}.{attribute}", function)


def _functions_of(member: Any) -> list[FunctionType]:
    if isinstance(member, property):
        member = member.fget
    elif isinstance(member, cached_property):
        member = member.func
    member = inspect.unwrap(getattr(member, "__func__", member))
    return [member] if isinstance(member, FunctionType) else []


def _types_of_function(name: str, function: Any) -> Iterator[tuple[str, type]]:
    function = inspect.unwrap(function)
    for parameter, annotation in function.__annotations__.items():
        if parameter.startswith("_"):
            continue
        yield from _resolved(name, annotation, function.__module__)


def _resolved(name: str, annotation: Any, module: str) -> Iterator[tuple[str, type]]:
    if not isinstance(annotation, str):
        return
    for node in ast.walk(ast.parse(annotation, mode="eval")):
        if isinstance(node, ast.Name):
            value = _value_of(node.id, module)
            for kind in (value, *get_args(value)):
                if inspect.isclass(kind) and kind.__module__.startswith("pydamon."):
                    yield name, kind


def _value_of(name: str, module: str) -> Any:
    """What a name means in a module, also where only type checkers import it."""
    namespace = vars(importlib.import_module(module))
    if name in namespace:
        return namespace[name]
    origin = _imports(module).get(name)
    return getattr(importlib.import_module(origin), name) if origin else None


@cache
def _imports(module: str) -> dict[str, str]:
    tree = ast.parse(Path(inspect.getfile(importlib.import_module(module))).read_text())
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
