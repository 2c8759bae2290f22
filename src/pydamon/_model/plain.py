"""Read the TOML, JSON and YAML files that people write: bounded, and each value with its place.

Schemes, policies and configurations are all read here, so that all errors look alike: one line
that names the file and the place in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

from pydamon._model.errors import UsageError
from pydamon._model.yaml_text import is_yaml, parse_yaml

__all__ = ["MAX_FILE_BYTES", "Node", "near", "parse", "shown"]

T = TypeVar("T")

MAX_FILE_BYTES = 1 << 19
"""Files that people write are far smaller; a larger file is of another kind."""
_MAX_DEPTH = 32
_MAX_VALUES = 20_000
_MAX_DIGITS = 400
"""A longer integer counts as infinite, and is refused."""
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?(?:"""|\Z)' r"|'''.*?(?:'''|\Z)" r'|"(?:[^"\\\n]|\\.)*"?' r"|'[^'\n]*'?",
    re.DOTALL,
)
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_COMMENT = re.compile(r"#[^\n]*")
_BRACKET = re.compile(r"[\[\]{}]")
_JSON_START = re.compile(r"\s*(?:\{|\[\s*(?:\{|\]\s*\Z))")
"""How an object or a list of objects begins in JSON, and nothing in TOML."""
_SIMPLE_KEY = re.compile(r"[\w.-]{1,60}")
_SHOWN = 60
"""The most characters of a value that a message shows."""


def shown(value: object) -> str:
    """A value as a message shows it: one short line."""
    if value is None:
        return "null"
    if isinstance(value, dict | list) and value:
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "a number of very many digits"
    text = ascii(value[: 2 * _SHOWN]) if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def near(word: str, known: Collection[str]) -> str:
    """The end of a message about an unknown word: which known word it resembles, if any."""
    import difflib  # noqa: PLC0415  (most words are known)

    close = difflib.get_close_matches(word[:_SHOWN].lower(), known, 1)
    return f"; did you mean {close[0]}?" if close else ""


class _Object(dict[str, Any]):
    """An object of JSON, with the first key that it has twice."""

    duplicate: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a file, and its place there, such as `schemes[0].quota`.

    `syntax` is `"TOML"`, or `"JSON"` or `"YAML"` as damo writes them.
    """

    value: Any
    file: str
    place: str = ""
    syntax: str = "TOML"

    def error(self, text: str, hint: str = "") -> UsageError:
        """An error about the value, which begins with its place."""
        return UsageError(": ".join(filter(None, (self.file, self.place, text))), hint=hint)

    def of(self, value: Any, key: str) -> Node:
        """A value that this table has under a key."""
        key = key if _SIMPLE_KEY.fullmatch(key) else shown(key)
        return replace(self, value=value, place=f"{self.place}.{key}" if self.place else key)

    def table(
        self, known: Collection[str], *, needed: Collection[str] = (), passed: Collection[str] = ()
    ) -> dict[str, Node]:
        """The values of a table by key, without the keys that are *passed* over.

        Raises `UsageError` if the value is no table, for a key that is not *known*, and for a
        *needed* key that is missing.
        """
        if not isinstance(self.value, dict):
            noun = "a table of settings" if self.syntax == "TOML" else "an object"
            raise self.error(f"not {noun}: {shown(self.value)}")
        for key in self.value:
            if key not in known and key not in passed:
                raise self.of(None, key).error(
                    f"not known{near(key, known)}", hint=f"there are {', '.join(known)}"
                )
        for key in needed:
            if key not in self.value:
                raise self.of(None, key).error("is missing")
        return {key: self.of(v, key) for key, v in self.value.items() if key not in passed}

    def items(self) -> list[Node]:
        """The values of a list; raises `UsageError` if the value is no list."""
        if not isinstance(self.value, list):
            raise self.error(f"not a list: {shown(self.value)}")
        place = self.place
        return [replace(self, value=v, place=f"{place}[{i}]") for i, v in enumerate(self.value)]

    def read(self, convert: Callable[[Any], T]) -> T:
        """Convert the value with a function; its errors become a `UsageError` with the place."""
        try:
            return convert(self.value)
        except UsageError as error:
            raise self.error(str(error), hint=error.hint) from None
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            raise self.error(f"cannot be {shown(self.value)}") from None


def parse(data: bytes, file: str) -> Node:
    """Parse a file of TOML, JSON or YAML; a list without a name is a list of schemes.

    A file is JSON or YAML if its name or its text says so. Raises `UsageError` for a file that is
    too large, too deep, or not UTF-8, for syntax errors, and for numbers that are not finite.
    """
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{file} is too large: such a file has at most {MAX_FILE_BYTES:,} bytes")
    try:
        # Some editors put a byte order mark before the text.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} is not UTF-8: byte {error.start:,} does not fit", hint="save it as UTF-8"
        ) from None
    syntax = _syntax(file, text)
    if syntax != "YAML":
        _check_shape(file, text, is_json=syntax == "JSON")
    value = _parsed(file, text, syntax)
    root = Node(value, file, "schemes" if isinstance(value, list) else "", syntax)
    _check(root)
    return root


def _syntax(file: str, text: str) -> str:
    if file.endswith(".json") or _JSON_START.match(text):
        return "JSON"
    return "YAML" if is_yaml(file, text) else "TOML"


def _check_shape(file: str, text: str, *, is_json: bool) -> None:
    """Refuse text before it is parsed: parsers recurse, and take quadratic time for long names."""
    if is_json:
        bare = _JSON_STRING.sub("", text)
    else:
        bare = _COMMENT.sub("", _STRING.sub("", text))
        if any(part.count(".") > _MAX_DEPTH for part in re.split(r"[=,\[\]{}\n]", bare)):
            raise UsageError(f"{file}: a name has more than {_MAX_DEPTH} parts")
    brackets = _BRACKET.findall(bare)
    steps = (1 if bracket in "[{" else -1 for bracket in brackets)
    if max(accumulate(steps), default=0) > _MAX_DEPTH:
        raise UsageError(f"{file} is nested too deep: at most {_MAX_DEPTH} levels")
    if bare.count(",") + len(brackets) // 2 > _MAX_VALUES:
        raise _too_many(file)


def _parsed(file: str, text: str, syntax: str) -> Any:
    if syntax == "YAML":
        return parse_yaml(file, text, _object)
    import json  # noqa: PLC0415  (units need this module, and no file)
    import tomllib  # noqa: PLC0415

    try:
        if syntax == "JSON":
            return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
        return tomllib.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"{file} is not JSON: {error.msg}: {place}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits
        raise UsageError(f"{file} is not {syntax}: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    table = _Object(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        table.duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return table


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


def _check(root: Node) -> None:
    """Raise `UsageError` for numbers that are not finite, duplicate keys, and too many values."""
    for count, node in enumerate(_walk(root)):
        if count > _MAX_VALUES:
            raise _too_many(root.file)
        if isinstance(node.value, float) and not math.isfinite(node.value):
            raise node.error(f"not a finite number: {node.value}")
        if isinstance(node.value, _Object) and node.value.duplicate is not None:
            raise node.of(None, node.value.duplicate).error("stands there twice")


def _too_many(file: str) -> UsageError:
    return UsageError(f"{file} is too large: more than {_MAX_VALUES:,} values")


def _walk(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node.value, dict):
        for key, value in node.value.items():
            yield from _walk(node.of(value, key))
    elif isinstance(node.value, list):
        for item in node.items():
            yield from _walk(item)
