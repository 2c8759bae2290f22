"""Plain data from files that people write: TOML and JSON, bounded, each value with its place.

Whatever is read as a scheme, a policy or a configuration comes through here, so that all of it
fails in the same way: one line that names the file and the place in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

from pydamon._model.errors import UsageError

__all__ = ["MAX_FILE_BYTES", "Node", "near", "parse", "shown"]

T = TypeVar("T")

MAX_FILE_BYTES = 1 << 19
"""A file that people write is far smaller; what is larger is another kind of file."""
_MAX_DEPTH = 32
_MAX_VALUES = 20_000
_MAX_DIGITS = 400
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?(?:"""|\Z)' r"|'''.*?(?:'''|\Z)" r'|"(?:[^"\\\n]|\\.)*"?' r"|'[^'\n]*'?",
    re.DOTALL,
)
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_COMMENT = re.compile(r"#[^\n]*")
_BRACKET = re.compile(r"[\[\]{}]")
_TEXT = re.compile(r"\s*(?:\{|\[\s*(?:\{|\]\s*\Z))")
"""How JSON of interest begins, and TOML does not."""
_SIMPLE = re.compile(r"[\w.-]{1,60}")
_SHOWN = 60


def shown(value: object) -> str:
    """A value in a message: in one line, and never long."""
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
    """A question about the known word that is most like another one; empty where none is."""
    import difflib  # noqa: PLC0415  (most words are known)

    found = difflib.get_close_matches(word[:_SHOWN].lower(), known, 1)
    return f"; did you mean {found[0]}?" if found else ""


class _Object(dict[str, Any]):
    """An object of JSON, which remembers the key that stood in it twice."""

    duplicate: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a file, and where it is: *file*, and *place* as in `schemes[0].quota`."""

    value: Any
    file: str
    place: str = ""
    is_json: bool = False

    def error(self, text: str, hint: str = "") -> UsageError:
        """What is wrong with it, as an error that begins with its place."""
        return UsageError(": ".join(filter(None, (self.file, self.place, text))), hint=hint)

    def of(self, value: Any, key: str) -> Node:
        """A value that stands in it under a key."""
        key = key if _SIMPLE.fullmatch(key) else shown(key)
        return replace(self, value=value, place=f"{self.place}.{key}" if self.place else key)

    def table(
        self, known: Collection[str], *, needed: Collection[str] = (), passed: Collection[str] = ()
    ) -> dict[str, Node]:
        """Its values by key.

        Raises `UsageError` where it is no table, for keys that are not *known*, and for missing
        ones that are *needed*. Keys that are *passed* over say nothing that matters here.
        """
        if not isinstance(self.value, dict):
            noun = "an object" if self.is_json else "a table of settings"
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
        """The values of a list; raises `UsageError` where it is none."""
        if not isinstance(self.value, list):
            raise self.error(f"not a list: {shown(self.value)}")
        place = self.place
        return [replace(self, value=v, place=f"{place}[{i}]") for i, v in enumerate(self.value)]

    def read(self, convert: Callable[[Any], T]) -> T:
        """What a function makes of the value; its complaints are told with the place."""
        try:
            return convert(self.value)
        except UsageError as error:
            raise self.error(str(error), hint=error.hint) from None
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            raise self.error(f"cannot be {shown(self.value)}") from None


def parse(data: bytes, file: str) -> Node:
    """The contents of a file of TOML or JSON; a list without a name is one of schemes.

    Raises `UsageError` for what is too large or too deep, is not UTF-8, or is not TOML (or JSON,
    where the file is called so or it looks like it), and for numbers that are none.
    """
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{file} is too large: such a file has at most {MAX_FILE_BYTES:,} bytes")
    try:
        # Editors of other systems put a byte order mark before it.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} is not UTF-8: byte {error.start:,} does not fit", hint="save it as UTF-8"
        ) from None
    is_json = file.endswith(".json") or _TEXT.match(text) is not None
    value = _parsed(file, text, is_json=is_json)
    root = Node(value, file, "schemes" if isinstance(value, list) else "", is_json)
    _check(root)
    return root


def _parsed(file: str, text: str, *, is_json: bool) -> Any:
    import json  # noqa: PLC0415  (units need this module, and no file)
    import tomllib  # noqa: PLC0415

    kind = "JSON" if is_json else "TOML"
    # Parsers recurse, and take quadratic time for names of many parts: so look first.
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
    try:
        if is_json:
            return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
        return tomllib.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"{file} is not JSON: {error.msg}: {place}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits
        raise UsageError(f"{file} is not {kind}: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        found.duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


def _check(root: Node) -> None:
    """Raise `UsageError` for numbers that are none, keys that stand twice, and too many values."""
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
