"""What the heat map's page knows of each target: facts as JSON, and columns of numbers."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis import AddressAxis, HeatMap
from pydamon._data.analysis.axis import AxisSpans, spans_of
from pydamon._data.analysis.heat import zoom
from pydamon._data.recording import Recording
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Target
from pydamon._show.text import printable, target_label

__all__ = ["Columns", "DrawnTarget", "cells_of", "facts_of", "regions_of"]

_ALIGNED = 8
_LEVEL = 6
_STEPS = 10_000
"""The steps that an access rate of 1 has."""


@dataclass(frozen=True)
class DrawnTarget:
    """The regions of one target, or the cells of its heat map.

    `spans` has their places and rates, snapshot by snapshot; `age_ms` has an entry each (an age of
    0 is unknown), and `sampling_ns` one for each snapshot of regions.
    `home` are the positions on the axis to begin with.
    """

    target: Target
    axis: AddressAxis
    spans: AxisSpans
    names: Sequence[str]
    home: tuple[int, int]
    sampling_ns: NDArray[np.int64]
    age_ms: NDArray[np.int64]
    cells: bool = False


def regions_of(recording: Recording, target: Target, axis: AddressAxis) -> DrawnTarget:
    """Every region of a recording, whose only target is *target*."""
    spans = spans_of(recording, axis)
    return DrawnTarget(
        target,
        axis,
        spans,
        recording.names("mapping"),
        zoom(spans, axis, "hottest"),
        recording.per_snapshot("sampling_ns"),
        np.maximum(recording.column("age_ns") // 10**6 + 1, 0),
    )


def cells_of(heatmap: HeatMap) -> DrawnTarget:
    """The cells of a heat map that are monitored: a column is a snapshot, a row a region."""
    edges = np.rint(heatmap.row_edges).astype(np.int64)
    monitored = ~np.isnan(heatmap.rates) | heatmap.unseen
    monitored &= (edges[1:] > edges[:-1])[:, None]
    column, row = np.nonzero(monitored.T)
    rates = np.nan_to_num(heatmap.rates.T[column, row])
    names = list(dict.fromkeys(heatmap.row_names))
    code = np.array([names.index(name) for name in heatmap.row_names], np.int32)
    columns = len(heatmap.time_edges) - 1
    spans = AxisSpans(
        edges[row],
        edges[row + 1],
        rates,
        code[row],
        np.append(0, np.cumsum(np.bincount(column, minlength=columns))),
        heatmap.time_edges[:-1],
        heatmap.time_edges[1:],
        heatmap.unseen.T[column, row].astype(np.float64),
    )
    return DrawnTarget(
        heatmap.target,
        heatmap.axis,
        spans,
        names,
        (0, heatmap.axis.length),
        np.zeros(columns, np.int64),
        np.zeros(len(row), np.int64),
        cells=True,
    )


def facts_of(drawn: DrawnTarget, start_ns: int, columns: Columns) -> dict[str, Any]:
    """One target for the page; its numbers are added to *columns*, times from *start_ns* on."""
    spans, axis = drawn.spans, drawn.axis
    first = np.zeros(len(spans.low) + 1, np.bool_)
    first[spans.offsets[:-1]] = True
    gaps = spans.low - np.where(first[:-1], 0, np.append(0, spans.high)[:-1])
    sizes = spans.high - spans.low
    unit = PAGE_SIZE if not ((gaps % PAGE_SIZE).any() or (sizes % PAGE_SIZE).any()) else 1
    used, code = np.unique(spans.mapping, return_inverse=True)
    labels = _labels(spans, code, axis.begins.tolist())
    return {
        "label": target_label(drawn.target),
        "names": [printable(drawn.names[int(i)]) for i in used],
        "segments": [
            [str(start), end - start, names]
            for (start, end), names in zip(axis.segments.tolist(), labels, strict=True)
        ],
        "home": drawn.home,
        "unit": unit,
        "cells": drawn.cells,
        "steps": _STEPS,
        "columns": {
            "counts": columns.add(np.diff(spans.offsets)),
            "begin": columns.add(spans.start_ns - start_ns, np.float64),
            "end": columns.add(spans.end_ns - start_ns, np.float64),
            "sampling": columns.add(drawn.sampling_ns),
            "gaps": columns.add(gaps // unit),
            "sizes": columns.add(sizes // unit),
            "rate": columns.add(_steps(spans.rate)),
            "age": columns.add(drawn.age_ms),
            "unseen": columns.add(np.ceil(255 * spans.unseen).astype(np.int64)),
            "code": columns.add(code),
        },
    }


def _steps(rates: NDArray[np.float64]) -> NDArray[np.int64]:
    """Access rates in steps; memory that is accessed at all must differ from memory that is not."""
    return np.maximum(np.rint(rates * _STEPS), rates > 0).astype(np.int64)


def _labels(
    spans: AxisSpans, code: NDArray[np.int64], begins: list[int]
) -> list[list[tuple[int, int]]]:
    """For each segment of the axis, where mappings begin in it in the snapshot with most regions.

    A label is a pair of bytes from the beginning of the segment, and the index of a name.
    """
    widest = int(np.diff(spans.offsets).argmax())
    rows = slice(*spans.offsets[widest : widest + 2].tolist())
    low, names = spans.low[rows], code[rows]
    segment = np.searchsorted(begins, low, side="right") - 1
    new = np.ones(len(low), np.bool_)
    new[1:] = (names[1:] != names[:-1]) | (segment[1:] != segment[:-1])
    labels: list[list[tuple[int, int]]] = [[] for _ in begins]
    heads = (low[new].tolist(), segment[new].tolist(), names[new].tolist())
    for at, index, name in zip(*heads, strict=True):
        labels[index].append((at - begins[index], name))
    return labels


class Columns:
    """Columns of numbers one behind the other, each in the smallest type that holds it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def add(
        self, values: NDArray[Any], kind: type[np.float64] | None = None
    ) -> tuple[str, int, int]:
        """Append a column; returns its type, its place in bytes and its length."""
        most = int(values.max(initial=0))
        unsigned = (np.uint8, np.uint16, np.uint32)
        fitting: Any = kind or next(
            (dtype for dtype in unsigned if most <= np.iinfo(dtype).max), np.float64
        )
        data = values.astype(np.dtype(fitting).newbyteorder("<")).tobytes()
        place = (np.dtype(fitting).str[1:], self._at, len(values))
        data += bytes(-len(data) % _ALIGNED)
        self._parts.append(data)
        self._at += len(data)
        return place

    def packed(self) -> str:
        """All columns, compressed, as text."""
        return base64.b64encode(zlib.compress(b"".join(self._parts), _LEVEL)).decode()
