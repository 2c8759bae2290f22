"""Plain data, as TOML files hold it, made into the objects that it describes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import attrs

from pydamon.core.errors import UsageError
from pydamon.core.plain import Node
from pydamon.schemes.files import load
from pydamon.schemes.scheme import Scheme

__all__ = ["build", "build_all", "read_schemes"]

T = TypeVar("T")


def read_schemes(path: str | Path) -> list[Scheme]:
    """The schemes of a TOML file: tables `[[schemes]]`, whose keys are the arguments of `Scheme`.

    Raises `UsageError` for what is wrong, and says where it is.
    """
    tables = load(path).table(("schemes",))
    return build_all(Scheme, tables["schemes"]) if "schemes" in tables else []


def build_all(kind: type[T], node: Node) -> list[T]:
    """Objects of an attrs class, of a list of tables; see `build`."""
    return [build(kind, item) for item in node.items()]


def build(kind: type[T], node: Node, *, passed: tuple[str, ...] = ()) -> T:
    """An object of an attrs class, of a table whose keys are the arguments.

    Raises `UsageError` that begins with the place of what is wrong; *passed* are keys that are no
    arguments.
    """
    fields = _arguments(kind)  # type: ignore[arg-type]
    needed = [name for name, (_, is_needed) in fields.items() if is_needed]
    tables = node.table(tuple(fields), needed=needed, passed=passed)
    arguments = {name: _value(fields[name][0], value) for name, value in tables.items()}
    try:
        return kind(**arguments)
    except UsageError as error:
        # Converters begin with the name of the argument.
        name, colon, text = str(error).partition(": ")
        if colon and name.partition("[")[0] in fields:
            raise node.of(None, name).error(text, hint=error.hint) from None
        raise node.error(str(error), hint=error.hint) from None


def _value(kind: Any, node: Node) -> Any:
    """The value for an argument: converters look at what is no table."""
    if attrs.has(kind):
        return build(kind, node)
    if get_origin(kind) is tuple and attrs.has(get_args(kind)[0]):
        return tuple(build_all(get_args(kind)[0], node))
    return node.value


@cache
def _arguments(kind: type[Any]) -> dict[str, tuple[Any, bool]]:
    """What the arguments of an attrs class are, by name, and which of them it needs."""
    hints = get_type_hints(kind)
    return {
        str(one.alias): (_only(hints[one.name]), one.default is attrs.NOTHING)
        for one in attrs.fields(kind)
        if one.metadata.get("in_files", True)
    }


def _only(kind: Any) -> Any:
    """The attrs class of an optional one."""
    if get_origin(kind) is tuple:
        return kind
    return next((part for part in get_args(kind) if attrs.has(part)), kind)
