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

T = TypeVar("T")


def load(path: str | Path) -> Node:
    """Read a file; raises `UsageError` where that fails, and what `parse` raises."""
    try:
        with Path(path).open("rb") as file:
            return parse(file.read(MAX_FILE_BYTES + 1), str(path))
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # no file can have that name
        raise UsageError(f"cannot read {str(path)!r}: {error}") from None


def read_schemes(path: str | Path) -> list[Scheme]:
    """Read the schemes of a TOML file.

    Parameters
    ----------
    path
        The file. It has tables `[[schemes]]`, whose keys are the parameters of `Scheme`; tables in
        them have the parameters of `AccessPattern`, `Quota` and the others.

    Returns
    -------
    list of Scheme
        Every scheme of the file, in its order.

    Raises
    ------
    UsageError
        For a file that cannot be read, and for keys and values that are unknown or make no sense;
        the message says where they are.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pydamon
    >>> text = '''
    ... [[schemes]]
    ... action = "pageout"
    ... pattern = { max_rate = "0%", min_age = "2min" }
    ... quota = { time = "10ms", bytes = "128M" }
    ... '''
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "schemes.toml")
    ...     _ = path.write_text(text)
    ...     schemes = pydamon.read_schemes(path)
    >>> schemes[0].quota.size_bytes
    134217728
    """
    tables = load(path).table(("schemes",))
    return build_all(Scheme, tables["schemes"]) if "schemes" in tables else []


def build_all(kind: type[T], node: Node) -> list[T]:
    """Objects of an attrs class from a list of tables; see `build`."""
    return [build(kind, item) for item in node.items()]


def build(kind: type[T], node: Node, *, passed: tuple[str, ...] = ()) -> T:
    """An object of an attrs class from a table whose keys are the arguments.

    Raises `UsageError` that begins with the place of the mistake. Keys in *passed* are no
    arguments and say nothing here.
    """
    kinds, needed = _arguments(kind)  # type: ignore[arg-type]
    tables = node.table(tuple(kinds), needed=needed, passed=passed)
    arguments = {name: _value(kinds[name], value) for name, value in tables.items()}
    try:
        return kind(**arguments)
    except UsageError as error:
        # Converters begin with the name of the argument.
        name, colon, text = str(error).partition(": ")
        if colon and name.partition("[")[0] in kinds:
            raise node.of(None, name).error(text, hint=error.hint) from None
        raise node.error(str(error), hint=error.hint) from None


def _value(kind: Any, node: Node) -> Any:
    """The value for an argument: a table becomes an object, and converters check the rest."""
    if attrs.has(kind):
        return build(kind, node)
    if get_origin(kind) is tuple and attrs.has(get_args(kind)[0]):
        return tuple(build_all(get_args(kind)[0], node))
    return node.value


@cache
def _arguments(kind: type[Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arguments of an attrs class in files, with their types; and the arguments it needs."""
    hints = get_type_hints(kind)
    fields = [field for field in attrs.fields(kind) if field.metadata.get("in_files", True)]
    kinds = {str(field.alias): _without_none(hints[field.name]) for field in fields}
    needed = [str(field.alias) for field in fields if field.default is attrs.NOTHING]
    return kinds, tuple(needed)


def _without_none(kind: Any) -> Any:
    """The attrs class in a union with `None`; other types stay as they are."""
    if get_origin(kind) is tuple:
        return kind
    return next((part for part in get_args(kind) if attrs.has(part)), kind)
