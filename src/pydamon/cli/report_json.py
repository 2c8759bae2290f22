"""The reports as JSON: what each of them is called in there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from pydamon.analysis import HeatMap, Summary, Temperatures, WorkingSet, WorkingSetSeries
from pydamon.core.snapshot import Target
from pydamon.recording import Recording

__all__ = ["access_document", "heatmap_document", "regions_lines", "wss_document"]


def regions_lines(recording: Recording) -> Iterator[str]:
    """One object a line, for each target of each snapshot."""
    names = ("start", "end", "nr_accesses", "age")
    columns = [recording.column(name) for name in names]
    offsets = recording.part_offsets.tolist()
    facts = ("start_ns", "end_ns", "pid", "max_nr_accesses")
    heads = [recording.column(name)[recording.part_offsets[:-1]].tolist() for name in facts]
    for first, beyond, *values in zip(offsets[:-1], offsets[1:], *heads, strict=True):
        rows = np.column_stack([column[first:beyond] for column in columns]).tolist()
        yield json.dumps({**dict(zip(facts, values, strict=True)), "regions": rows})


def access_document(
    recording: Recording, summary: Summary, temperatures: Temperatures
) -> dict[str, Any]:
    """The summary, and the regions of the last snapshot from hot to cold."""
    return {
        "recording": asdict(recording.info),
        "complete": recording.complete,
        "targets": [_target(target) for target in summary.targets],
        "snapshots": summary.snapshots,
        "duration_ns": summary.duration_ns,
        "idle_ns": summary.idle_ns,
        "bytes": asdict(summary.size),
        "working_set": _percentiles(summary.working_set.total),
        "mappings": [
            {
                **_target(one.target),
                "mapping": one.name,
                "access_rate": one.rate,
                "bytes": asdict(one.size),
            }
            for one in summary.mappings
        ],
        "monitoring": asdict(summary.cost),
        "end_ns": temperatures.end_ns,
        "regions": [
            {
                **_target(region.target),
                "start": region.start,
                "end": region.end,
                "mapping": region.mapping,
                "perms": region.perms,
                "access_rate": region.rate,
                "age_ns": region.age_ns,
                "touched_bytes": region.touched_bytes,
                "unobservable_bytes": region.unobservable_bytes,
                "temperature": region.temperature,
            }
            for region in temperatures.regions
        ],
    }


def heatmap_document(heatmap: HeatMap) -> dict[str, Any]:
    """The cells of a heat map: `null` where nothing was monitored."""
    rates = heatmap.rates.round(4).astype(object)
    rates[np.isnan(heatmap.rates)] = None
    return {
        **_target(heatmap.target),
        "segments": heatmap.axis.segments.tolist(),
        "row_addresses": heatmap.row_addresses.tolist(),
        "row_mappings": list(heatmap.row_names),
        "time_edges_ns": heatmap.time_edges.tolist(),
        "left_out_bytes": heatmap.left_out_bytes,
        "access_rates": rates.tolist(),
    }


def wss_document(working_set: WorkingSet) -> dict[str, Any]:
    """The working set of all targets together and of each: percentiles, and its course."""
    return {
        "total": _series(working_set.total),
        "targets": [
            {**_target(series.target), **_series(series)}
            for series in working_set.targets
            if series.target
        ],
    }


def _series(series: WorkingSetSeries) -> dict[str, Any]:
    return {
        "percentiles": _percentiles(series),
        "end_ns": series.end_ns.tolist(),
        "bytes": series.size_bytes.tolist(),
    }


def _percentiles(series: WorkingSetSeries) -> dict[str, int]:
    return {f"{mark:g}": amount for mark, amount in series.percentiles}


def _target(target: Target) -> dict[str, Any]:
    return {"pid": target.pid, "target": target.name}
