"""Plain data, as TOML files hold it, made into the objects that it describes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

import attrs
import cattrs

from pydamon.core.errors import UsageError
from pydamon.schemes.fields import Ns
from pydamon.schemes.scheme import Scheme

__all__ = ["from_plain", "load_toml", "read_schemes"]

T = TypeVar("T")


def read_schemes(path: str | Path) -> list[Scheme]:
    """The schemes of a TOML file: tables `[[schemes]]`, whose keys are the arguments of `Scheme`.

    Raises `UsageError` for what is wrong, and says where it is.
    """
    data = load_toml(path)
    for name in data:
        if name != "schemes":
            raise UsageError(f"{path}: {name}: not known", hint="schemes are tables [[schemes]]")
    return list(from_plain(tuple[Scheme, ...], data.get("schemes", []), f"{path}: schemes"))


def load_toml(path: str | Path) -> dict[str, Any]:
    """The contents of a TOML file."""
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None


def from_plain(kind: type[T], data: object, where: str) -> T:
    """An object of *kind* of plain data; raises `UsageError` that begins with *where* it is."""
    try:
        return _converter.structure(data, kind)
    except Exception as error:
        found = cattrs.transform_error(error, path=where, format_exception=_explain)
        text, _, place = found[0].rpartition(" @ ")
        raise UsageError(f"{place}: {text}", hint=_hint(error)) from None


def _explain(error: BaseException, _: type | None) -> str:
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        names = ", ".join(sorted(error.extra_fields))
        return f"not known: {names}"
    if isinstance(error, KeyError):
        return "is missing"
    if isinstance(error, TypeError):
        return "not a table of settings"
    return str(error)


def _hint(error: BaseException) -> str:
    """The hint of the first error in a group, or the keys that there are."""
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"there are {', '.join(f.alias or f.name for f in attrs.fields(error.cl))}"
    for part in getattr(error, "exceptions", ()):
        if hint := _hint(part):
            return hint
    return getattr(error, "hint", "")


def _is_leaf(kind: Any) -> bool:
    """Whether a value is taken as it is: the converters of the fields look at it."""
    if attrs.has(kind):
        return False
    return all(_is_leaf(part) for part in get_args(kind)) and kind is not tuple


_converter = cattrs.Converter(forbid_extra_keys=True, use_alias=True)
_converter.register_structure_hook_func(_is_leaf, lambda value, _: value)
for _kind in (int, float, str, bool, Ns):
    _converter.register_structure_hook(_kind, lambda value, _: value)
