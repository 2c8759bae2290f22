"""Schemes and configurations in TOML files, made into the objects that they describe."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import attrs

from pydamon._model.errors import UsageError
from pydamon._model.plain import MAX_FILE_BYTES, Node, parse
from pydamon._model.schemes.scheme import Scheme

__all__ = ["build", "build_all", "load", "read_schemes"]


def load(path: str | Path) -> Node:
    """What is in a file; raises `UsageError` where it cannot be read, and what `parse` raises."""
    try:
        with Path(path).open("rb") as opened:
            return parse(opened.read(MAX_FILE_BYTES + 1), str(path))
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # a name that no file can have
        raise UsageError(f"cannot read {str(path)!r}: {error}") from None


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
