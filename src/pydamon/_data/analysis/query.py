"""The language of filters: conditions on regions, in words and units that people type.

rate > 50% and (mapping ~ heap or size >= 1MiB) and not idle < 10s
"""

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

from pydamon._data.recording.arrow import string_array
from pydamon._model.display import blanked
from pydamon._model.errors import UsageError
from pydamon._model.filter_fields import FIELDS
from pydamon._model.passed import KINDS
from pydamon._model.rates import Rate
from pydamon._model.shares import MeasuredRates, reached, significant
from pydamon._model.units import parse_address, parse_duration_ns, parse_size

__all__ = ["FIELDS", "Columns", "Query", "TextTest", "measured_rates", "parse", "regex_test"]

Mask: TypeAlias = NDArray[np.bool_]
TextTest: TypeAlias = Callable[[Sequence[str]], Mask]
"""Which texts pass a test: shape (len(texts),)."""

_TEXTS = ("mapping", "perms", "target", "host", "container")
_DURATIONS = ("age", "idle", "time")
_SIZES = ("size", "touched", "unobservable", "unseen", "resident", *KINDS)
_ADDRESSES = ("address", "start", "end")
_RATES = {"rate": ("%", 100), "access_share": ("%", 100), "hz": ("hz", 1)}
"""What a number without a unit means: a unit, and a factor."""

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
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
_MAX_DEPTH = 100
_MAX_REASON = 80


class Columns(Protocol):
    """The regions that a query is applied to: a value a region for each field.

    Examples
    --------
    >>> import numpy as np
    >>> from pydamon.analysis import parse
    >>> class Sizes:
    ...     def values(self, name):
    ...         return np.array([4096, 1 << 20])
    ...     def texts(self, name):
    ...         raise KeyError(name)
    >>> parse("size >= 1MiB").mask(Sizes()).tolist()
    [False, True]
    """

    def values(self, name: str) -> NDArray[Any]:
        """A column of numbers: a field in bytes, ns or a share; or one of the recording's."""
        ...

    def texts(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """A column of texts: indices, and the texts that they point at."""
        ...


_Condition: TypeAlias = Callable[[Columns], Mask]


@dataclass(frozen=True)
class Query:
    """A filter that has been parsed: see `parse`.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("1s"))
    >>> query = pydamon.analysis.parse("address = 0x0")
    >>> int(query.mask(pydamon.analysis.RegionColumns(recording)).sum()) == len(recording)
    True
    """

    text: str
    _condition: _Condition

    def mask(self, columns: Columns) -> Mask:
        """Return for which regions it holds.

        Parameters
        ----------
        columns
            The regions, such as `RegionColumns`.

        Returns
        -------
        ndarray of bool, shape (rows,)
            Whether the filter holds for each region.
        """
        return self._condition(columns)


def parse(text: str) -> Query:
    """Parse a filter.

    Parameters
    ----------
    text
        Comparisons of `FIELDS` with values, joined by `and`, `or`, `not` and brackets.

    Returns
    -------
    Query
        The filter.

    Raises
    ------
    UsageError
        If the text is no filter; the hint points at the place.

    Examples
    --------
    >>> from pydamon.analysis import parse
    >>> parse("rate > 50% and size >= 1MiB").text
    'rate > 50% and size >= 1MiB'
    """
    return Query(text, _Parser(text).parse())


def regex_test(expression: str) -> TextTest:
    """Whether a regular expression is in texts; raises `ValueError` if it cannot be read."""
    from pyarrow import compute  # noqa: PLC0415  (takes a tenth of the start of a report)

    def test(texts: Sequence[str]) -> Mask:
        hits = compute.match_substring_regex(string_array(texts), pattern)
        return np.array(hits.to_pylist(), np.bool_)

    pattern = expression.encode(errors="backslashreplace").decode()
    try:
        test([""])
    except pa.ArrowInvalid as error:
        message = str(error).removeprefix("Invalid regular expression: ")
        reason = message.splitlines()[0][:_MAX_REASON]
        raise ValueError(f"not a regular expression that RE2 knows: {reason}") from error
    return test


class _Parser:
    """Recursive descent, from `or` down to a comparison; `at` is how far it has read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def parse(self) -> _Condition:
        condition = self._disjunction()
        if self._rest():
            self._fail("expected `and`, `or` or the end")
        return condition

    def _disjunction(self) -> _Condition:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self._fail("too many brackets")
        conditions = [self._conjunction()]
        while self._keyword("or"):
            conditions.append(self._conjunction())
        self.depth -= 1
        return _combined(np.logical_or, conditions)

    def _conjunction(self) -> _Condition:
        conditions = [self._negation()]
        while self._keyword("and"):
            conditions.append(self._negation())
        return _combined(np.logical_and, conditions)

    def _negation(self) -> _Condition:
        inverted = False
        while self._keyword("not"):
            inverted = not inverted
        if self._rest().startswith("("):
            self.at += 1
            condition = self._disjunction()
            if not self._rest().startswith(")"):
                self._fail("expected `)`")
            self.at += 1
        else:
            condition = self._comparison()
        return (lambda columns: ~condition(columns)) if inverted else condition

    def _comparison(self) -> _Condition:
        self._rest()
        begin = self.at
        name = self._take(_WORD, "expected a field").lower()
        if name not in FIELDS:
            self._fail(f"there is no field {name!r}", begin)
        self._rest()
        begin = self.at
        sign = self._take(_OPERATOR, "expected one of = != < <= > >= ~ !~")
        if name in _TEXTS:
            return self._text_comparison(name, sign, begin)
        if sign in ("~", "!~"):
            self._fail(f"{sign} is for names: {name} is a number", begin)
        return self._number_comparison(name, sign)

    def _text_comparison(self, name: str, sign: str, begin: int) -> _Condition:
        if sign not in ("=", "==", "!=", "~", "!~"):
            self._fail(f"{name} is a name: compare it with = != ~ !~", begin)
        self._rest()
        begin = self.at
        value = self._text()
        if "~" in sign:
            try:
                test = regex_test(value)
            except ValueError as error:
                self._fail(str(error), begin)
        else:
            test = _equality_test(value)
        wanted = not sign.startswith("!")

        def condition(columns: Columns) -> Mask:
            codes, texts = columns.texts(name)
            # Every name is tested once, not every region.
            hits = test(texts) == wanted
            return hits[codes] if len(hits) else np.zeros(len(codes), np.bool_)

        return condition

    def _text(self) -> str:
        quoted = _QUOTED.match(self.text, self.at)
        if quoted is None:
            return self._take(_BARE, "expected a name")
        self.at = quoted.end()
        value = quoted[1] if quoted[1] is not None else quoted[2]
        return re.sub(r"\\([\"'])", r"\1", value)

    def _number_comparison(self, name: str, sign: str) -> _Condition:
        self._rest()
        begin = self.at
        text = self._take(_NUMBER, f"expected a number ({FIELDS[name]})")
        try:
            column, value = _column_and_value(name, text)
        except (UsageError, ValueError):
            self._fail(f"cannot compare {name} with {text.strip()}: {FIELDS[name]}", begin)
        compare = _COMPARISONS[sign]
        if isinstance(value, Rate):
            return lambda columns: reached(value, measured_rates(columns), compare)
        if column == "access_share":
            return lambda columns: significant(columns.values(column), value, compare)
        if column == "address":
            return _address_condition(sign, value)
        return lambda columns: _known(compare, columns.values(column), value)

    def _rest(self) -> str:
        """The text behind the next spaces, which are skipped."""
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at
        return self.text[self.at :]

    def _keyword(self, word: str) -> bool:
        self._rest()
        match = _WORD.match(self.text, self.at)
        if match is None or match[0].lower() != word:
            return False
        self.at = match.end()
        return True

    def _take(self, pattern: re.Pattern[str], expectation: str) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            self._fail(expectation)
        self.at = match.end()
        return match[0]

    def _fail(self, why: str, at: int | None = None) -> NoReturn:
        at = self.at if at is None else at
        fields = f"\nfields: {', '.join(FIELDS)}" if "field" in why else ""
        raise UsageError(
            f"cannot read the filter at its character {at + 1}: {why}",
            hint=f"{blanked(self.text)}\n{' ' * at}^{fields}",
        )


def _equality_test(value: str) -> TextTest:
    return lambda texts: np.array([text == value for text in texts], np.bool_)


def _address_condition(sign: str, address: float) -> _Condition:
    """A condition on the addresses that a region has; an equal one lies in it."""
    compare = _COMPARISONS[sign]
    if sign.startswith("<"):
        return lambda columns: compare(columns.values("start"), address)
    if sign.startswith(">"):
        return lambda columns: compare(columns.values("end") - 1, address)

    def contains(columns: Columns) -> Mask:
        inside: Mask = (columns.values("start") <= address) & (address < columns.values("end"))
        return inside if sign != "!=" else ~inside

    return contains


def _known(compare: Callable[[Any, Any], Any], values: NDArray[Any], value: float) -> Mask:
    """A comparison that holds for no unknown value, which is NaN."""
    mask: Mask = compare(values, value)
    return mask & ~np.isnan(values) if values.dtype.kind == "f" else mask


def _combined(combine: Callable[[Any, Any], Any], conditions: Sequence[_Condition]) -> _Condition:
    if len(conditions) == 1:
        return conditions[0]

    def condition(columns: Columns) -> Mask:
        # One after the other, not nested: a filter may have thousands of conditions.
        mask: Mask = reduce(combine, (each(columns) for each in conditions))
        return mask

    return condition


def measured_rates(columns: Columns) -> MeasuredRates:
    """What is known of the access rates of regions."""
    names = ("nr_accesses", "max_nr_accesses", "access_share", "sampling_ns")
    return MeasuredRates(*map(columns.values, names))


def _column_and_value(name: str, text: str) -> tuple[str, Rate | float]:
    """The column to compare, and with what; raises `ValueError`, of which `UsageError` is one."""
    text = text.strip()
    if name in _DURATIONS:
        return name, 0 if text == "0" else parse_duration_ns(text)
    if name in _SIZES:
        return name, parse_size(text)
    if name in _ADDRESSES:
        return name, parse_address(text)
    if name in _RATES:
        rate = Rate.parse(text, bare=_RATES[name])
        if name != "rate" and rate.unit != _RATES[name][0]:
            raise ValueError("not a rate in that unit")
        return name, rate.value / 100 if name == "access_share" else rate
    return name, float(text) if name == "temperature" else int(text)
