"""YAML as far as damo writes it: plain data, read by PyYAML with the values that JSON has.

`on`, `1:30` and dates are text here, which YAML 1.1 makes numbers or truth values of. Aliases and
keys that are no text are refused: no tool writes them, and a small file of aliases can be huge.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from pydamon._model.errors import UsageError

__all__ = ["is_yaml", "parse_yaml"]

_BEGINNING = re.compile(
    r"(?:\s*(?:#[^\n]*)?\n)*(?:---\s|%YAML|(?:kdamonds|contexts|schemes|action) *:|- +[\"'\w-]+ *:)"
)
"""How YAML of damo's begins, and neither TOML nor JSON does."""
_MAX_LINES = 20_000
_MAX_DEPTH = 32
_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "null": (r"~|null|", "~n\0"),
    "bool": (r"true|false", "tf"),
    "int": (r"-?(?:0|[1-9][0-9]{0,399})", "-0123456789"),
    "float": (r"-?[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?", "-0123456789"),
}
"""What words without quotes are, and how they begin; all others are text."""

_Pairs = list[tuple[str, Any]]


def is_yaml(file: str, text: str) -> bool:
    """Whether a file is YAML, by its name or its beginning."""
    return file.endswith((".yaml", ".yml")) or _BEGINNING.match(text) is not None


def parse_yaml(file: str, text: str, table: Callable[[_Pairs], dict[str, Any]]) -> Any:
    """Parse a file; *table* makes a table of its keys and values.

    Raises `UsageError` for syntax errors, and where PyYAML is not installed.
    """
    if text.count("\n") > _MAX_LINES:
        raise UsageError(f"{file} is too large: more than {_MAX_LINES:,} lines")
    try:
        import yaml  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UsageError(
            f"{file}: reading YAML needs PyYAML",
            hint="pip install 'pydamon[yaml]', or write JSON: damo args damon --format json",
        ) from None
    try:
        return _loader()(text, table).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f": line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"{file} is not YAML: {error.problem or error.context}{place}") from None
    except (yaml.YAMLError, ValueError) as error:
        reason = (str(error).splitlines() or ["a value makes no sense"])[0]
        raise UsageError(f"{file} is not YAML: {reason}") from None


@cache
def _loader() -> Any:
    """The class of loaders; PyYAML is imported when it is needed."""
    import yaml  # noqa: PLC0415

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Reads a text; its method `table` makes tables."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's way)

        def __init__(self, text: str, table: Callable[[_Pairs], dict[str, Any]]) -> None:
            super().__init__(text)
            self.table = table
            self.depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            if self.check_event(yaml.AliasEvent):
                raise _mistake("aliases are not read", self.peek_event())
            if self.depth > _MAX_DEPTH:
                problem = f"it is nested too deep: at most {_MAX_DEPTH} levels"
                raise _mistake(problem, self.peek_event())
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    for name, (pattern, first) in _PLAIN.items():
        firsts = [char.strip("\0") for char in first]
        Loader.add_implicit_resolver(_TAG + name, re.compile(f"(?:{pattern})\\Z"), firsts)
    Loader.add_constructor(_TAG + "map", _table)
    return Loader


def _table(loader: Any, node: Any) -> dict[str, Any]:
    pairs: _Pairs = loader.construct_pairs(node, deep=True)
    for (key, _), (key_node, _) in zip(pairs, node.value, strict=True):
        if not isinstance(key, str):
            raise _mistake("a key must be text", key_node)
    made: dict[str, Any] = loader.table(pairs)
    return made


def _mistake(problem: str, place: Any) -> Exception:
    """An error about an event or a node."""
    import yaml  # noqa: PLC0415

    error: Exception = yaml.MarkedYAMLError(None, None, problem, place.start_mark)
    return error
