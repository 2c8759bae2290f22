"""Results of benchmarks as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from pydamon._bench.accuracy import Accuracy
from pydamon._bench.core import CoreCost
from pydamon._bench.engines import EngineResult
from pydamon._bench.idle import IdleAccuracy
from pydamon._bench.overhead import Latency, Overhead
from pydamon._bench.rates import RateAccuracy
from pydamon._bench.real import ProgramAccuracy
from pydamon._bench.scale import ScaleResult
from pydamon._bench.scores import Comparison
from pydamon._bench.spinning import AllIn, Loss
from pydamon._model.units import format_size

__all__ = [
    "accuracy_table",
    "all_in_table",
    "comparison_table",
    "core_table",
    "engines_table",
    "idle_table",
    "overhead_table",
    "rates_table",
    "real_table",
    "scale_table",
]

Column = tuple[str, Callable[[Any], str]]


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def _fine_percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f} %"


def _signed_percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.1f} %"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _count(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "never" if math.isinf(value) else f"{value:,.0f}"


def _rate(value_hz: float) -> str:
    if math.isnan(value_hz):
        return "-"
    return f"{value_hz / 1e6:.1f} M/s" if value_hz >= 1e6 else f"{value_hz / 1e3:.1f} k/s"


def _range(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{_percent(low)} to {_percent(high)}"


def _size(value: float) -> str:
    return "-" if math.isnan(value) else format_size(round(value))


def _seconds(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.1f} s"


def accuracy_table(rows: Sequence[Accuracy]) -> RenderableType:
    """Return a line for each tool on each workload."""
    return _table(
        rows,
        ("workload", lambda r: r.name),
        ("tool", lambda r: r.tool),
        ("F1", lambda r: _share(r.f1)),
        ("prec.", lambda r: _share(r.precision)),
        ("recall", lambda r: _share(r.recall)),
        ("F1 64 KiB", lambda r: _share(r.block_f1)),
        ("WSS error", lambda r: _percent(r.wss_error)),
        ("corr.", lambda r: _share(r.correlation)),
        ("noticed", lambda r: _count(r.noticed_aggregations)),
        ("ms", lambda r: _count(r.noticed_ms)),
        ("CPU", lambda r: _percent(r.cpu)),
        ("aggr. ms", lambda r: _count(r.aggregation_ms)),
        ("unobs.", lambda r: _percent(r.unobservable)),
    )


def real_table(rows: Sequence[ProgramAccuracy]) -> RenderableType:
    """Return a line for each tool on each program; the last column says what is not installed."""
    return _table(
        rows,
        ("program", lambda r: r.name),
        ("tool", lambda r: r.tool),
        ("resident", lambda r: _size(r.resident_bytes)),
        ("hot", lambda r: _size(r.hot_bytes)),
        ("F1", lambda r: _share(r.f1)),
        ("worst", lambda r: _share(r.worst_f1)),
        ("prec.", lambda r: _share(r.precision)),
        ("recall", lambda r: _share(r.recall)),
        ("F1 64 KiB", lambda r: _share(r.block_f1)),
        ("reported", lambda r: _size(r.wss_bytes)),
        ("true WSS", lambda r: _size(r.true_wss_bytes)),
        ("WSS error", lambda r: _percent(r.wss_error)),
        ("worst", lambda r: _percent(r.worst_wss_error)),
        ("drift", lambda r: _percent(r.drift)),
        ("CPU", lambda r: _percent(r.cpu)),
        ("window ms", lambda r: _count(r.window_ms)),
        ("unobs.", lambda r: _percent(r.unobservable)),
        ("", lambda r: r.missing),
    )


def idle_table(rows: Sequence[IdleAccuracy]) -> RenderableType:
    """Return a line for each program; the last column says what is not installed."""
    return _table(
        rows,
        ("program", lambda r: r.name),
        ("resident", lambda r: _size(r.resident_bytes)),
        ("idle", lambda r: _size(r.idle_bytes)),
        ("true idle", lambda r: _size(r.true_idle_bytes)),
        ("error", lambda r: _percent(r.error)),
        ("F1", lambda r: _share(r.f1)),
        ("exact", lambda r: _share(r.exact_f1)),
        ("regions", lambda r: _share(r.regions_f1)),
        ("idle by regions", lambda r: _size(r.regions_idle_bytes)),
        ("hot F1", lambda r: _share(r.hot_f1)),
        ("exact", lambda r: _share(r.exact_hot_f1)),
        ("look ms", lambda r: _count(r.look_ms)),
        ("followed", lambda r: _percent(r.followed)),
        ("CPU", lambda r: _percent(r.cpu)),
        ("", lambda r: r.missing),
    )


def rates_table(rows: Sequence[RateAccuracy]) -> RenderableType:
    """Return a line for each set of pages and tool, then a line for each pattern and tool."""
    sets = _table(
        [(row, score) for row in rows for score in row.sets],
        ("pattern", lambda r: r[0].name),
        ("tool", lambda r: r[0].tool),
        ("pages", lambda r: r[1].name),
        ("wanted", lambda r: _fine_percent(r[1].wanted)),
        ("truth", lambda r: _fine_percent(r[1].truth)),
        ("reported", lambda r: _fine_percent(r[1].reported)),
        ("error", lambda r: _signed_percent(r[1].mean_error)),
        ("snapshot error", lambda r: _percent(r[1].median_error)),
        ("within 1 sd", lambda r: _percent(r[1].within_1)),
        ("2 sd", lambda r: _percent(r[1].within_2)),
        ("called accessed", lambda r: _percent(r[1].called_accessed)),
        ("", lambda r: "" if r[1].kept else "rate not kept"),
    )
    patterns = _table(
        rows,
        ("pattern", lambda r: r.name),
        ("tool", lambda r: r.tool),
        ("snapshots", lambda r: _count(r.snapshots)),
        ("rank, sets", lambda r: _share(r.rank_of_sets)),
        ("regions", lambda r: _share(r.rank_of_regions)),
        ("cold", lambda r: _percent(r.cold)),
        ("WSS error 1 s", lambda r: _percent(r.wss_error_1s)),
        ("10 s", lambda r: _percent(r.wss_error_10s)),
        ("CPU", lambda r: _fine_percent(r.cpu)),
        ("all in", lambda r: _fine_percent(r.all_in)),
        ("aggr. ms", lambda r: _count(r.aggregation_ms)),
        ("regions", lambda r: _count(r.regions)),
        ("load", lambda r: f"{r.load:.1f}"),
    )
    busy = [f"{row.name} with {row.tool} ({', '.join(row.not_kept)})" for row in rows]
    busy = [text for text, row in zip(busy, rows, strict=True) if row.not_kept]
    if not busy:
        return Group(sets, "", patterns)
    note = f"The machine was too busy to keep the rates of {'; '.join(busy)}."
    return Group(sets, "", patterns, "", note)


def comparison_table(rows: Sequence[Comparison]) -> RenderableType:
    """Return a line for each target that both tools have monitored, with both errors."""
    return _table(
        rows,
        ("", lambda r: r.name),
        ("CPU", lambda r: _percent(r.cpu)),
        ("plain", lambda r: _percent(r.plain_cpu)),
        ("1 - F1", lambda r: _share(r.error)),
        ("plain", lambda r: _share(r.plain_error)),
        ("1 - F1 64 KiB", lambda r: _share(r.block_error)),
        ("plain", lambda r: _share(r.plain_block_error)),
        ("WSS error", lambda r: _percent(r.wss_error)),
        ("plain", lambda r: _percent(r.plain_wss_error)),
        ("as accurate", lambda r: "yes" if r.as_accurate else "no"),
        ("half the error", lambda r: "yes" if r.half_the_error else "no"),
    )


def all_in_table(rows: Sequence[AllIn]) -> RenderableType:
    """Return a line for each tool: what spinning loops lost to it."""
    return _table(
        rows,
        ("tool", lambda r: r.tool),
        ("pairs", lambda r: _count(r.pairs)),
        ("CPU", lambda r: _fine_percent(r.cpu)),
        ("flushes", lambda r: _fine_percent(r.flushes)),
        *_loss("target", "target"),
        *_loss("other CPUs", "others"),
        *_loss("all in", "all_in"),
        (
            "to empty loop",
            lambda r: "-" if math.isnan(r.to_empty_loop) else f"{r.to_empty_loop:.1f}",
        ),
        *_loss("interrupts", "interrupts"),
        *_loss("target's work", "work"),
    )


def _loss(heading: str, name: str) -> Sequence[Column]:
    def of(row: AllIn) -> Loss:
        loss: Loss = getattr(row, name)
        return loss

    return (
        (heading, lambda r: _fine_percent(of(r).median)),
        ("95 %", lambda r: f"{100 * of(r).low:.1f} to {100 * of(r).high:.1f}"),
    )


def overhead_table(rows: Sequence[Overhead]) -> RenderableType:
    """Return a line for each tool on each target, and the latencies of targets with requests."""
    throughput = _table(
        rows,
        ("target", lambda r: r.target),
        ("tool", lambda r: r.tool),
        ("pairs", lambda r: _count(r.pairs)),
        ("CPU", lambda r: _percent(r.cpu)),
        ("empty loop", lambda r: _percent(r.empty_loop_cpu)),
        ("rate", lambda r: _rate(r.rate_hz)),
        ("slowdown", lambda r: _percent(r.slowdown)),
        ("quartiles", lambda r: _range(r.least_slowdown, r.most_slowdown)),
        ("by CPU time", lambda r: _percent(r.cpu_slowdown)),
        ("quartiles", lambda r: _range(r.least_cpu_slowdown, r.most_cpu_slowdown)),
        ("flushes", lambda r: _percent(r.interruption)),
        ("", lambda r: r.missing),
    )
    served = [row for row in rows if not math.isnan(row.p50.usual_us)]
    latency = _table(
        served,
        ("target", lambda r: r.target),
        ("tool", lambda r: r.tool),
        *(column for name in ("p50", "p99", "p999") for column in _latency(name)),
    )
    return Group(throughput, "", latency) if served else throughput


def _latency(name: str) -> Sequence[Column]:
    def of(row: Overhead) -> Latency:
        latency: Latency = getattr(row, name)
        return latency

    return (
        (name, lambda r: f"{of(r).usual_us:,.0f} us"),
        ("grows", lambda r: _percent(of(r).growth)),
        ("quartiles", lambda r: _range(of(r).least_growth, of(r).most_growth)),
    )


def scale_table(rows: Sequence[ScaleResult]) -> RenderableType:
    """Return a line for each tool on each size."""
    return _table(
        rows,
        ("size", lambda r: format_size(r.size_bytes)),
        ("hot", lambda r: format_size(r.hot_bytes)),
        ("pieces", lambda r: _count(r.pieces)),
        ("how", lambda r: r.how),
        ("tool", lambda r: r.tool),
        ("90 % found in", lambda r: _seconds(r.found_s)),
        ("found", lambda r: _percent(r.found)),
        ("precision", lambda r: _percent(r.precision)),
        ("watched", lambda r: _seconds(r.watched_s)),
        ("CPU", lambda r: _percent(r.cpu)),
        ("to smallest", lambda r: f"{r.cpu_growth:.2f}"),
        ("aggr. ms", lambda r: _count(r.aggregation_ms)),
        ("regions", lambda r: _count(r.regions)),
    )


def engines_table(rows: Sequence[EngineResult]) -> RenderableType:
    """Return a line for each engine."""
    return _table(
        rows,
        ("engine", lambda r: r.name),
        ("hot bytes found", lambda r: _percent(r.hot_found)),
        ("cold bytes right", lambda r: _percent(r.cold_right)),
        ("CPU of kdamond", lambda r: _percent(r.kdamond_cpu) if r.kdamond_cpu else "-"),
        ("CPU of pydamon", lambda r: _percent(r.own_cpu)),
        ("snapshots", lambda r: _count(r.snapshots)),
        ("aggr. ms", lambda r: _count(r.aggregation_ms)),
        ("regions", lambda r: _count(r.regions)),
    )


def core_table(rows: Sequence[CoreCost]) -> RenderableType:
    """Return a line for each number of regions."""
    return _table(
        rows,
        ("regions", lambda r: _count(r.regions)),
        ("merged to", lambda r: _count(r.merged_to)),
        ("age", lambda r: f"{r.age_us:,.0f} us"),
        ("merge", lambda r: f"{r.merge_us:,.0f} us"),
        ("split", lambda r: f"{r.split_us:,.0f} us"),
        ("in all", lambda r: f"{r.total_us:,.0f} us"),
        ("a region", lambda r: f"{1000 * r.total_us / r.regions:,.0f} ns"),
    )


def _table(rows: Sequence[Any], *columns: Column) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for number, (heading, _) in enumerate(columns):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(cell(row) for _, cell in columns))
    return table
