"""Several windows of a target as one: the arithmetic of longer snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording import Recording
from pydamon._data.recording.accessed_within import packed
from pydamon._data.recording.arrow import dictionary_array
from pydamon._data.recording.layout import PER_TARGET
from pydamon._data.recording.rows import batch_of
from pydamon._model.classify import UNKNOWN
from pydamon._model.runs import Runs, expand, unique

__all__ = ["HELD", "TargetWindows", "WindowReader", "combined", "rows_of"]

_NAMES = ("mapping", "perms")
_NAMES_OF_TARGETS = ("host", "target", "container")
_BYTES = ("touched", "resident", "unobservable", "unseen", "repeated")
"""Columns of bytes, which are shares of the region here, from 0 to 1; NaN where unknown."""
_MEANS_BY_TIME = ("resident", "unobservable", "unseen", "repeated")
_SUMS = ("max_nr_accesses", "cpu_ns", "interruption_ns", "late_ticks")
HELD = frozenset(
    {
        *PER_TARGET,
        *("start", "end", "nr_accesses", "access_share", "access_share_error", "accessed_within"),
        *("age", "age_ns"),
        *_NAMES,
        *(f"{name}_bytes" for name in _BYTES),
    }
)
"""The columns of a recording that longer snapshots have."""
_LEAST_REGIONS = 1000
_PIECES_PER_REGION = 4
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class TargetWindows:
    """One or more windows of a target, taken together.

    `facts` has a number for each column of `PER_TARGET`, with codes for names. `columns` have one
    entry a region: `start`, `end`, `samples` and `time_ns` (of the windows that have the region),
    `share`, `variance` (of the share), `within` (`accessed_within`), the shares in `_BYTES`,
    `accessed`, `age_ns`, and codes for `mapping` and `perms`. `time_ns` is the length of all
    windows, without the time between them, and `most_regions` the largest number of regions in any
    of them.
    """

    facts: dict[str, int]
    columns: dict[str, NDArray[Any]]
    time_ns: int
    most_regions: int

    @property
    def key(self) -> tuple[int, ...]:
        """The target: its host, its pid and when it started."""
        return tuple(self.facts[name] for name in ("host", "pid", "process_started_ns"))


class WindowReader:
    """Makes windows of the chunks of a recording; `words` are the names that codes stand for."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    @property
    def words(self) -> list[str]:
        return list(self._codes)

    def snapshots(self, chunk: Recording) -> Iterator[list[TargetWindows]]:
        """The windows of each snapshot of a chunk."""
        columns = self._columns(chunk)
        facts = {name: chunk.per_target(name).tolist() for name in PER_TARGET}
        for name in _NAMES_OF_TARGETS:
            codes = self._own_codes(chunk, name)
            facts[name] = [int(codes[code]) for code in facts[name]]
        offsets = chunk.target_offsets.tolist()
        windows: list[TargetWindows] = []
        snapshot = 0
        for index, number in enumerate(chunk.target_snapshots.tolist()):
            if number != snapshot:
                yield windows
                windows, snapshot = [], number
            rows = slice(offsets[index], offsets[index + 1])
            own = {name: values[index] for name, values in facts.items()}
            windows.append(
                TargetWindows(
                    own,
                    {name: values[rows] for name, values in columns.items()},
                    max(1, own["end_ns"] - own["start_ns"]),
                    rows.stop - rows.start,
                )
            )
        yield windows

    def _columns(self, chunk: Recording) -> dict[str, NDArray[Any]]:
        start, end = chunk.column("start"), chunk.column("end")
        time_ns = np.maximum(chunk.column("end_ns") - chunk.column("start_ns"), 1).astype(float)
        columns: dict[str, NDArray[Any]] = {
            "start": start,
            "end": end,
            "time_ns": time_ns,
            "samples": time_ns / np.maximum(chunk.column("sampling_ns"), 1),
            "share": chunk.access_share,
            "variance": chunk.column("access_share_error").astype(np.float64) ** 2,
            "within": chunk.accessed_within,
            "accessed": chunk.column("nr_accesses") > 0,
            "age_ns": chunk.column("age_ns"),
        }
        for name in _BYTES:
            amount = chunk.column(f"{name}_bytes")
            columns[name] = np.where(amount == UNKNOWN, np.nan, amount / (end - start))
        for name in _NAMES:
            columns[name] = self._own_codes(chunk, name)[chunk.codes(name)]
        return columns

    def _own_codes(self, chunk: Recording, name: str) -> NDArray[np.int32]:
        """The code here of each name of a column of the chunk."""
        codes = [self._codes.setdefault(word, len(self._codes)) for word in chunk.names(name)]
        return np.array(codes, np.int32)


def combined(windows: Sequence[TargetWindows]) -> TargetWindows:
    """The windows of a target as one; they are in the order of time."""
    if len(windows) == 1:
        return windows[0]
    most_regions = max(window.most_regions for window in windows)
    last = windows[-1].facts
    sums = {name: sum(window.facts[name] for window in windows) for name in _SUMS}
    bounds = {
        "start_ns": min(window.facts["start_ns"] for window in windows),
        "end_ns": max(window.facts["end_ns"] for window in windows),
    }
    time_ns = sum(window.time_ns for window in windows)
    samples = sum(window.time_ns / max(1, window.facts["sampling_ns"]) for window in windows)
    columns = _pieces(windows)
    if len({window.facts["sampling_ns"] for window in windows}) > 1:  # they are of other times
        columns["within"][:] = np.nan
    most_pieces = _PIECES_PER_REGION * max(_LEAST_REGIONS, most_regions)
    return TargetWindows(
        {**last, **sums, **bounds, "sampling_ns": max(1, round(time_ns / samples))},
        _joined(columns, most_pieces),
        time_ns,
        most_regions,
    )


def _pieces(windows: Sequence[TargetWindows]) -> dict[str, NDArray[Any]]:
    """The regions of several windows, cut at all their borders, with what all windows say."""
    rows = {
        name: np.concatenate([window.columns[name] for window in windows])
        for name in windows[0].columns
    }
    borders = unique(np.concatenate([rows["start"], rows["end"]]))
    first, beyond = (np.searchsorted(borders, rows[name]) for name in ("start", "end"))
    row, place = expand(beyond - first)
    piece = first[row] + place
    order = np.argsort(piece, kind="stable")  # the windows of each piece, in the order of time
    row, piece = row[order], piece[order]
    runs = Runs.of(piece)
    last_row, number = row[runs.tails], piece[runs.heads]

    def sums(values: NDArray[Any]) -> NDArray[Any]:
        return runs.sum(values[row])

    samples, time_ns = sums(rows["samples"]), sums(rows["time_ns"])
    accessed = runs.max(rows["accessed"][row])
    age_ns = rows["age_ns"][last_row]
    stays = (accessed == rows["accessed"][last_row]) | (age_ns == UNKNOWN)
    return {
        "start": borders[number],
        "end": borders[number + 1],
        "samples": samples,
        "time_ns": time_ns,
        "share": sums(rows["share"] * rows["samples"]) / samples,
        "variance": sums(rows["variance"] * rows["samples"] ** 2) / samples**2,
        "within": _mean_within(rows["within"][row], rows["samples"][row], runs),
        "accessed": accessed,
        "age_ns": np.where(stays, age_ns, 0),
        "touched": runs.max(rows["touched"][row]),
        **{name: sums(rows[name] * rows["time_ns"]) / time_ns for name in _MEANS_BY_TIME},
        **{name: rows[name][last_row] for name in _NAMES},
    }


def _joined(columns: dict[str, NDArray[Any]], most: int) -> dict[str, NDArray[Any]]:
    """The same regions: neighbours that are equal become one, and alike ones while too many."""
    count = len(columns["start"])
    difference = np.zeros(max(0, count - 1))
    for name in ("share", "touched", "accessed"):
        difference += np.abs(np.diff(columns[name].astype(np.float64)))
    can_join = columns["start"][1:] == columns["end"][:-1]
    for values in (
        *(columns[name] for name in _NAMES),
        np.isnan(columns["resident"]),
        np.isnan(columns["variance"]),
        columns["age_ns"] == UNKNOWN,
    ):
        can_join &= values[1:] == values[:-1]
    is_equal = can_join & (difference == 0)
    for name in ("age_ns", "time_ns", "samples", *_MEANS_BY_TIME):
        values = columns[name]
        is_equal &= (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    is_joined = is_equal
    excess = count - int(is_equal.sum()) - most
    if excess > 0:
        candidates = np.flatnonzero(can_join & ~is_equal)
        order = np.argsort(difference[candidates], kind="stable")
        is_joined = is_equal.copy()
        is_joined[candidates[order[:excess]]] = True
    if not is_joined.any():
        return columns
    return _means(columns, Runs.split(~is_joined, count))


def _means(columns: dict[str, NDArray[Any]], runs: Runs) -> dict[str, NDArray[Any]]:
    """A region for each run of regions: its columns are means by size, and by size and time."""
    size = (columns["end"] - columns["start"]).astype(np.float64)
    total = runs.sum(size)
    by_samples, by_time = (columns[name] * size for name in ("samples", "time_ns"))
    samples, time_ns = runs.sum(by_samples), runs.sum(by_time)
    error = runs.sum(np.sqrt(columns["variance"]) * size) / total
    age_ns = runs.sum(columns["age_ns"] * size) / total
    return {
        "start": columns["start"][runs.heads],
        "end": columns["end"][runs.tails],
        "samples": samples / total,
        "time_ns": time_ns / total,
        "share": runs.sum(columns["share"] * by_samples) / samples,
        "variance": error**2,
        "within": _mean_within(columns["within"], by_samples, runs),
        "accessed": runs.max(columns["accessed"]),
        "age_ns": np.rint(age_ns).astype(np.int64),
        "touched": runs.sum(columns["touched"] * size) / total,
        **{name: runs.sum(columns[name] * by_time) / time_ns for name in _MEANS_BY_TIME},
        **{name: columns[name][runs.heads] for name in _NAMES},
    }


def _mean_within(within: NDArray[Any], weight: NDArray[Any], runs: Runs) -> NDArray[Any]:
    """The mean of `accessed_within` of each run, of what is known of it; NaN where nothing is."""
    weight = weight * ~np.isnan(within[:, 0])
    total = runs.sum(weight)
    sums = runs.sum(np.nan_to_num(within) * weight[:, None])
    return np.where(total > 0, sums.T / np.where(total > 0, total, 1), np.nan).T


def rows_of(windows: Sequence[TargetWindows], words: Sequence[str]) -> pa.Table:
    """The rows of a recording that windows of targets are; *words* are the names of codes."""
    lengths = [len(window.columns["start"]) for window in windows]
    column = {
        name: np.concatenate([window.columns[name] for window in windows])
        for name in windows[0].columns
    }

    def fact(name: str) -> NDArray[np.int64]:
        values = np.array([window.facts[name] for window in windows], np.int64)
        return np.repeat(values, lengths)

    facts: dict[str, Any] = {name: fact(name) for name in PER_TARGET}
    size = column["end"] - column["start"]
    share, accessed = column["share"].clip(0, 1), column["accessed"]
    most = np.minimum(facts["max_nr_accesses"], _INT32_MAX)
    nr_accesses = np.clip(np.rint(share * most), np.minimum(1, most), most)
    window_ns = np.maximum(facts["end_ns"] - facts["start_ns"], 1)
    age_ns = column["age_ns"]
    columns: dict[str, Any] = {
        **facts,
        "start": column["start"],
        "end": column["end"],
        "max_nr_accesses": most,
        "nr_accesses": np.where(accessed, nr_accesses, 0).astype(np.int64),
        "access_share": share.astype(np.float32),
        "access_share_error": np.sqrt(column["variance"]).astype(np.float32),
        "accessed_within": packed(column["within"]),
        "age": np.clip(age_ns // window_ns, 0, _INT32_MAX),
        "age_ns": age_ns,
    }
    for name in _BYTES:
        amount = np.rint(column[name].clip(0, 1) * size)
        columns[f"{name}_bytes"] = np.where(np.isnan(amount), UNKNOWN, amount).astype(np.int64)
    columns |= {name: column[name] for name in _NAMES}
    for name in (*_NAMES, *_NAMES_OF_TARGETS):
        used, codes = np.unique(columns[name], return_inverse=True)
        columns[name] = dictionary_array(codes.astype(np.int32), [words[code] for code in used])
    return pa.Table.from_batches([batch_of(columns, len(size))])
