"""The language of filters: which regions, in words and units that people type."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.arrays import strings
from pydamon._model.errors import UsageError
from pydamon._model.filter_fields import FIELDS
from pydamon._model.names import blanked
from pydamon._model.rates import Rate
from pydamon._model.units import parse_address, parse_duration_ns, parse_size

__all__ = ["FIELDS", "Columns", "Query", "Test", "parse", "searching"]

Test: TypeAlias = Callable[[Sequence[str]], NDArray[np.bool_]]
"""Of which texts something holds: shape (len(texts),)."""


def searching(expression: str) -> Test:
    """Whether it is found in texts; raises `ValueError` that says what cannot be read of it."""
    from pyarrow import compute  # noqa: PLC0415  (takes a tenth of a report's start)

    def found(texts: Sequence[str]) -> NDArray[np.bool_]:
        hits = compute.match_substring_regex(strings(texts), pattern)
        return np.array(hits.to_pylist(), np.bool_)

    pattern = expression.encode(errors="backslashreplace").decode()
    try:
        found([""])
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ").splitlines()[0][:80]
        raise ValueError(f"not a regular expression that RE2 knows: {reason}") from error
    return found


Mask: TypeAlias = NDArray[np.bool_]

_TEXT = ("mapping", "perms", "target", "host")
_DURATION = ("age", "idle", "time")
_SIZE = ("size", "touched", "unobservable", "unseen", "resident")
_ADDRESS = ("address", "start", "end")

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z_]+")
_OPERATOR = re.compile(r"<=|>=|==|!=|!~|[<>=~]")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'')
_BARE = re.compile(r"[^\s()\"']+")
_NUMBER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9.]+\s*(?:%|(?!(?i:and|or)\b)[^\W\d_]+)?)")
_DEEPEST = 100


class Columns(Protocol):
    """What a query is asked of: a value a row for each field."""

    def values(self, name: str) -> NDArray[Any]:
        """A column of numbers: a field in bytes or ns, `max_nr_accesses`, or `sampling_ns`."""
        ...

    def texts(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """The column of a text: indices, and the texts that they point at."""
        ...


_Node: TypeAlias = Callable[[Columns], Mask]


@dataclass(frozen=True)
class Query:
    """A filter that has been read; `text` is what it was read from."""

    text: str
    _node: _Node

    def mask(self, columns: Columns) -> Mask:
        """Which rows it holds for: shape (rows,)."""
        return self._node(columns)


def parse(text: str) -> Query:
    """Read a filter; raises `UsageError`, whose hint points at what cannot be read."""
    return Query(text, _Parser(text).whole())


class _Parser:
    """Recursive descent, from `or` down to a comparison; `at` is how far it got."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def whole(self) -> _Node:
        node = self._either()
        if self._rest():
            self._fail("expected `and`, `or` or the end")
        return node

    def _either(self) -> _Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            self._fail("too many brackets")
        nodes = [self._both()]
        while self._keyword("or"):
            nodes.append(self._both())
        self.depth -= 1
        return _combined(np.logical_or, nodes)

    def _both(self) -> _Node:
        nodes = [self._one()]
        while self._keyword("and"):
            nodes.append(self._one())
        return _combined(np.logical_and, nodes)

    def _one(self) -> _Node:
        inverted = False
        while self._keyword("not"):
            inverted = not inverted
        if self._rest().startswith("("):
            self.at += 1
            node = self._either()
            if not self._rest().startswith(")"):
                self._fail("expected `)`")
            self.at += 1
        else:
            node = self._comparison()
        return (lambda columns: ~node(columns)) if inverted else node

    def _comparison(self) -> _Node:
        self._rest()
        begin = self.at
        name = self._take(_WORD, "expected a field").lower()
        if name not in FIELDS:
            self._fail(f"there is no field {name!r}", begin)
        self._rest()
        begin = self.at
        sign = self._take(_OPERATOR, "expected one of = != < <= > >= ~ !~")
        if name in _TEXT:
            return self._of_text(name, sign, begin)
        if sign in ("~", "!~"):
            self._fail(f"{sign} is for names: {name} is a number", begin)
        return self._of_number(name, sign)

    def _of_text(self, name: str, sign: str, begin: int) -> _Node:
        if sign not in ("=", "==", "!=", "~", "!~"):
            self._fail(f"{name} is a name: compare it with = != ~ !~", begin)
        self._rest()
        begin = self.at
        found = _QUOTED.match(self.text, self.at)
        if found:
            self.at = found.end()
            value = found[1] if found[1] is not None else found[2]
            value = re.sub(r"\\([\"'])", r"\1", value)
        else:
            value = self._take(_BARE, "expected a name")
        if "~" in sign:
            try:
                test = searching(value)
            except ValueError as error:
                self._fail(str(error), begin)
        else:
            test = lambda texts: np.array([text == value for text in texts], np.bool_)  # noqa: E731
        wanted = not sign.startswith("!")

        def mask(columns: Columns) -> Mask:
            codes, texts = columns.texts(name)
            # Every name is looked at once, not every row.
            hits = test(texts) == wanted
            return hits[codes] if len(hits) else np.zeros(len(codes), np.bool_)

        return mask

    def _of_number(self, name: str, sign: str) -> _Node:
        self._rest()
        begin = self.at
        text = self._take(_NUMBER, f"expected a number ({FIELDS[name]})")
        try:
            value = _value(name, text)
        except ValueError:
            self._fail(f"cannot compare {name} with {text.strip()}: {FIELDS[name]}", begin)
        compare = _COMPARE[sign]
        if isinstance(value, Rate):
            return lambda columns: compare(columns.values("accesses"), _samples(value, columns))
        if name != "address":
            return lambda columns: _known(compare, columns.values(name), value)
        if sign in ("=", "==", "!="):
            inside: _Node = lambda columns: (  # noqa: E731
                (columns.values("start") <= value) & (value < columns.values("end"))
            )
            return inside if sign != "!=" else (lambda columns: ~inside(columns))
        if sign.startswith("<"):
            return lambda columns: compare(columns.values("start"), value)
        return lambda columns: compare(columns.values("end") - 1, value)

    def _rest(self) -> str:
        """What is still to be read, behind spaces."""
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.text[self.at :]

    def _keyword(self, word: str) -> bool:
        self._rest()
        found = _WORD.match(self.text, self.at)
        if found is None or found[0].lower() != word:
            return False
        self.at = found.end()
        return True

    def _take(self, pattern: re.Pattern[str], otherwise: str) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            self._fail(otherwise)
        self.at = found.end()
        return found[0]

    def _fail(self, why: str, at: int | None = None) -> NoReturn:
        at = self.at if at is None else at
        fields = f"\nfields: {', '.join(FIELDS)}" if "field" in why else ""
        raise UsageError(
            f"cannot read the filter at its character {at + 1}: {why}",
            hint=f"{blanked(self.text)}\n{' ' * at}^{fields}",
        )


def _known(compare: Callable[[Any, Any], Any], values: NDArray[Any], value: float) -> Mask:
    """A comparison that holds for nothing that is not known, which is NaN."""
    mask: Mask = compare(values, value)
    return mask & ~np.isnan(values) if values.dtype.kind == "f" else mask


def _combined(how: Callable[[Any, Any], Any], nodes: Sequence[_Node]) -> _Node:
    if len(nodes) == 1:
        return nodes[0]

    def mask(columns: Columns) -> Mask:
        # One after the other, not nested: a filter may have thousands of them.
        every: Mask = reduce(how, (node(columns) for node in nodes))
        return every

    return mask


def _samples(rate: Rate, columns: Columns) -> NDArray[np.float64]:
    """How many samples make a rate, a row: the conversion that schemes use, too."""
    return rate.samples(columns.values("max_nr_accesses"), columns.values("sampling_ns"))


def _value(name: str, text: str) -> Rate | float:
    """The value to compare a field with; raises `ValueError` (as `UsageError` is one)."""
    text = text.strip()
    if name in _DURATION:
        return 0 if text == "0" else parse_duration_ns(text)
    if name in _SIZE:
        return parse_size(text)
    if name in _ADDRESS:
        return parse_address(text)
    if name == "rate":
        return Rate.parse(text, bare=("%", 100))
    return float(text) if name == "temperature" else int(text)
