"""Which rows of a recording belong to which target of which snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.arrow import column_array, to_numpy
from pydamon._data.recording.grouping import new_snapshots
from pydamon._data.recording.targets import distinct_targets
from pydamon._model.runs import Runs
from pydamon._model.snapshot import Target

__all__ = ["PER_TARGET", "Layout"]

PER_TARGET = (
    "start_ns",
    "end_ns",
    "host",
    "pid",
    "target",
    "process_started_ns",
    "container",
    "max_nr_accesses",
    "sampling_ns",
    "cpu_ns",
    "interruption_ns",
    "late_ticks",
    "vsz_bytes",
    "rss_bytes",
)
"""Columns that are the same in all rows of a target of a snapshot."""
_NAMES = ("host", "target", "container")
_COSTS = ("cpu_ns", "interruption_ns", "late_ticks")
_IDENTITY = ("start_ns", "end_ns", "pid", "process_started_ns", "host", "target")
"""Where any of these changes, another target of a snapshot begins."""


@dataclass(frozen=True)
class Layout:
    """The rows of a recording by snapshot and target.

    `target_offsets` is the row at which each target of each snapshot begins, and the number of
    rows: shape (n + 1,). `values` has the columns of `PER_TARGET` with one entry for each target
    of each snapshot, and `names` the words that `host`, `target` and `container` index.
    `kept_snapshots` is `target_snapshots` where rows were picked: snapshots and targets without
    rows stay.
    """

    target_offsets: NDArray[np.int64]
    values: Mapping[str, NDArray[Any]]
    names: Mapping[str, list[str]]
    kept_snapshots: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """The layout of a table whose rows stand in the order of snapshot, target and address."""
        arrays = {name: column_array(table, name) for name in PER_TARGET}
        columns = {
            name: to_numpy(array.indices if name in _NAMES else array)
            for name, array in arrays.items()
        }
        offsets = _target_runs(table, columns).bounds.astype(np.int64)
        values = {name: column[offsets[:-1]] for name, column in columns.items()}
        return cls(offsets, values, {name: arrays[name].dictionary.to_pylist() for name in _NAMES})

    @cached_property
    def _located(self) -> tuple[tuple[Target, ...], NDArray[np.int64]]:
        return distinct_targets(self.values, self.names)

    @property
    def located_targets(self) -> tuple[Target, ...]:
        """The targets in the order of appearance, each with its last name and its host."""
        return self._located[0]

    @property
    def target_indices(self) -> NDArray[np.int64]:
        """Which of `located_targets` each target of a snapshot is."""
        return self._located[1]

    @cached_property
    def target_snapshots(self) -> NDArray[np.int64]:
        """The snapshot that each target of a snapshot belongs to."""
        if self.kept_snapshots is not None:
            return self.kept_snapshots
        windows = self.values["start_ns"], self.values["end_ns"]
        return np.cumsum(new_snapshots(*windows, self.target_indices)) - 1

    @cached_property
    def snapshot_runs(self) -> Runs:
        """The targets of each snapshot, as runs of `target_snapshots`."""
        return Runs.of(self.target_snapshots)

    @cached_property
    def snapshot_offsets(self) -> NDArray[np.int64]:
        """The row at which each snapshot begins, and the number of rows."""
        return self.target_offsets[self.snapshot_runs.bounds]

    @cached_property
    def _per_snapshot(self) -> dict[str, NDArray[Any]]:
        """The columns that `per_snapshot` has been asked for."""
        return {}

    def per_snapshot(self, name: str) -> NDArray[Any]:
        """One value for each snapshot: see `Recording.per_snapshot`."""
        if name not in self._per_snapshot:
            self._per_snapshot[name] = self._reduced(name)
        return self._per_snapshot[name]

    def _reduced(self, name: str) -> NDArray[Any]:
        runs = self.snapshot_runs
        if name == "window_ns":
            return _means(self.values["end_ns"] - self.values["start_ns"], runs)
        values = self.values[name]
        if len(runs) == len(values):
            return values
        if name == "start_ns":
            return runs.min(values)
        if name in ("end_ns", "max_nr_accesses"):
            return runs.max(values)
        if name in _COSTS:
            # Targets that share a window and a host share its cost, too.
            windows = (self.values[column] for column in ("start_ns", "end_ns", "host"))
            counted = np.zeros(len(values), np.int64)
            heads = Runs.of(*windows, self.target_snapshots).heads
            counted[heads] = values[heads]
            return runs.sum(counted)
        return values[runs.heads]

    def pick(self, targets: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Layout:
        """The layout of some *rows*, with some *targets* of snapshots only."""
        _, snapshots = np.unique(self.target_snapshots[targets], return_inverse=True)
        row_count = np.append(0, np.cumsum(rows))
        return Layout(
            np.append(row_count[self.target_offsets[:-1][targets]], row_count[-1]),
            {name: values[targets] for name, values in self.values.items()},
            self.names,
            snapshots,
        )


def _target_runs(table: pa.Table, columns: Mapping[str, NDArray[Any]]) -> Runs:
    """The rows of each target of each snapshot."""
    start, end = (to_numpy(column_array(table, name)) for name in ("start", "end"))
    # A target whose addresses fall has begun anew: in another snapshot.
    apart = start[1:] < end[:-1]
    for name in _IDENTITY:
        apart |= columns[name][1:] != columns[name][:-1]
    return Runs.split(apart, len(table))


def _means(values: NDArray[np.int64], runs: Runs) -> NDArray[np.int64]:
    """The mean of each run, rounded down."""
    # Sum up differences from the first: sums of hostile windows may not fit into int64.
    first = values[runs.heads]
    lengths = runs.lengths
    differences = runs.sum(values - np.repeat(first, lengths))
    means: NDArray[np.int64] = first + (differences // lengths).astype(np.int64)
    return means
