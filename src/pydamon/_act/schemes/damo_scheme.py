"""One scheme of damo's JSON."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from attrs import evolve

from pydamon._act.schemes.damo_units import (
    age,
    basis_points,
    bytes_of,
    flag,
    ms,
    permil,
    rate,
    size_or_max,
    thousandths,
    us,
    whole,
    words,
)
from pydamon._model.errors import UsageError
from pydamon._model.plain import Node, shown
from pydamon._model.schemes.fields import Ns, one_of
from pydamon._model.schemes.limits import (
    METRICS,
    TUNERS,
    WATERMARK_METRICS,
    Goal,
    Quota,
    Watermarks,
    Weights,
)
from pydamon._model.schemes.matching import FILTERS, AccessPattern, Filter
from pydamon._model.schemes.scheme import ACTIONS, Destination, Scheme

__all__ = ["SCHEME_KEYS", "read_filter", "read_scheme"]

T = TypeVar("T")

SCHEME_KEYS = (
    *("action", "access_pattern", "apply_interval_us", "quotas", "watermarks", "filters"),
    *("target_nid", "dests", "name"),
)
_COMMENTS = ("comment", "comments")
_REPORTED = ("stats", "tried_regions", "tried_bytes", *_COMMENTS)
"""Keys under which damo reports about a scheme."""
_SECOND = Ns(10**9)
_MIGRATIONS = ("migrate_hot", "migrate_cold")
_UNITS = {"nr_accesses": ("percent", "samples"), "age": ("usec", "aggr_intervals")}
_KIND_OF_KEY = {
    "memcg_path": "memcg",
    "address_range": "addr",
    "damon_target_idx": "target",
    "hugepage_size": "hugepage_size",
    "probe_hits_wsum_range": "probe_hits_wsum",
}
"""Keys of filters that belong to one type of filter."""
_REGION_FACTS = ("nr_accesses", "age", "probe_hits", "sz_filter_passed", *_COMMENTS)
"""Keys that damo may write into an address range, about a region that had it."""


def read_scheme(node: Node) -> Scheme:
    """A scheme; keys that are left out have damo's defaults: `stat`, all memory, no quota."""
    tables = node.table(SCHEME_KEYS, passed=_REPORTED)
    arguments: dict[str, Any] = {"action": "stat"}
    if "action" in tables:
        arguments["action"] = tables["action"].read(partial(one_of, names=ACTIONS))
    readers: dict[str, tuple[str, Callable[[Node], Any]]] = {
        "access_pattern": ("pattern", _pattern),
        "quotas": ("quota", _quota),
        "watermarks": ("watermarks", _watermarks),
        "filters": ("filters", lambda item: list(map(read_filter, item.items()))),
        "apply_interval_us": ("apply_interval", lambda item: item.read(us)),
        "dests": ("destinations", lambda item: list(map(_destination, item.items()))),
        "name": ("name", lambda item: item.read(words)),
    }
    for key, (name, read) in readers.items():
        # damo writes null for an interval that is not set.
        if key in tables and not (key == "apply_interval_us" and tables[key].value is None):
            arguments[name] = read(tables[key])
    nid = tables.get("target_nid")
    if nid is not None and nid.value not in (None, -1, "-1"):
        if arguments["action"] not in _MIGRATIONS:
            raise nid.error(f"is for migration only, not for {arguments['action']}")
        arguments["target_node"] = nid.read(whole)
    arguments["max_snapshots"] = _max_snapshots(node)
    return _make(node, Scheme, **arguments)


def _make(node: Node, kind: Callable[..., T], /, **arguments: Any) -> T:
    """An object; its complaints get the place of the node."""
    try:
        return kind(**arguments)
    except UsageError as error:
        raise node.error(str(error), hint=error.hint) from None


def _max_snapshots(node: Node) -> int:
    """The only statistic that is also a setting."""
    stats = node.value.get("stats")
    if not isinstance(stats, dict) or "max_nr_snapshots" not in stats:
        return 0
    return node.of(stats, "stats").of(stats["max_nr_snapshots"], "max_nr_snapshots").read(whole)


def _pattern(node: Node) -> AccessPattern:
    known = ("sz_bytes", "nr_accesses", "nr_accesses_unit", "age", "age_unit")
    tables = node.table(known, passed=_COMMENTS)
    units = {"nr_accesses": "percent", "age": "usec"}
    # Files of older damos have the unit under a key of its own.
    for name, choice in _UNITS.items():
        if f"{name}_unit" in tables:
            units[name] = tables[f"{name}_unit"].read(partial(one_of, names=choice))
    bounds: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "sz_bytes": ("size", size_or_max),
        "nr_accesses": ("rate", partial(rate, unit=units["nr_accesses"])),
        "age": ("age", partial(age, unit=units["age"])),
    }
    arguments: dict[str, Any] = {}
    for key, (name, read) in bounds.items():
        if key in tables:
            arguments |= _min_and_max(tables[key], name, read)
    return AccessPattern(**arguments)


def _min_and_max(node: Node, name: str, read: Callable[[Any], Any]) -> dict[str, Any]:
    """The arguments `min_` and `max_` of an access pattern, as far as they are given."""
    arguments: dict[str, Any] = {}
    for end, bound in node.table(("min", "max"), passed=_COMMENTS).items():
        value = bound.read(read)
        if value is None and end == "min":
            raise bound.error(f"nothing is as much: {shown(bound.value)}")
        arguments[f"{end}_{name}"] = value
    _check_order(node, arguments.get(f"min_{name}"), arguments.get(f"max_{name}"))
    return arguments


def _check_order(node: Node, low: Any, high: Any) -> None:
    if low is None or high is None:
        return
    units = getattr(low, "unit", ""), getattr(high, "unit", "")
    low, high = getattr(low, "value", low), getattr(high, "value", high)
    if units[0] != units[1] and low and high:
        raise node.error("min and max have different units")
    if units[0] == units[1] and low > high:
        raise node.error("min is above max")


def _quota(node: Node) -> Quota:
    known = (
        *("time_ms", "sz_bytes", "reset_interval_ms", "fail_charge_num", "fail_charge_denom"),
        *("goals", "goal_tuner", "weights"),
    )
    tables = node.table(known, passed=("effective_sz_bytes", *_COMMENTS))
    readers: dict[str, tuple[str, Callable[[Node], Any]]] = {
        "time_ms": ("time", lambda item: item.read(ms)),
        # damo writes no bound as 0.
        "sz_bytes": ("bytes", lambda item: item.read(size_or_max) or 0),
        "goals": ("goals", lambda item: list(map(_goal, item.items()))),
        "goal_tuner": ("tuner", lambda item: item.read(partial(one_of, names=TUNERS))),
        "weights": ("weights", _weights),
    }
    arguments = {name: read(tables[key]) for key, (name, read) in readers.items() if key in tables}
    quota = _make(node, Quota, fail_charge=_fail_charge(tables), **arguments)
    if "reset_interval_ms" in tables:
        reset_ns = tables["reset_interval_ms"].read(ms)
        if reset_ns == 0 and quota.limits:
            raise tables["reset_interval_ms"].error("must be longer than 0 where there is a quota")
        quota = evolve(quota, reset=reset_ns or _SECOND)
    return quota


def _weights(node: Node) -> Weights:
    names = {"sz_permil": "size", "nr_accesses_permil": "rate", "age_permil": "age"}
    weights = node.table(tuple(names), passed=_COMMENTS)
    return Weights(**{names[key]: item.read(permil) for key, item in weights.items()})


def _fail_charge(tables: dict[str, Node]) -> float:
    numerator, denominator = (
        tables[name].read(whole) if name in tables else 0
        for name in ("fail_charge_num", "fail_charge_denom")
    )
    if not denominator:
        return 1.0
    if numerator > denominator:
        raise tables["fail_charge_num"].error("is above fail_charge_denom")
    return numerator / denominator


def _goal(node: Node) -> Goal:
    known = ("metric", "target_value", "current_value", "nid", "memcg_path", "complement")
    if isinstance(node.value, dict) and "target_value_bp" in node.value:
        # Older damos: the user gives the value, whatever it measures.
        tables = node.table(("target_value_bp", "current_value_bp"), passed=_COMMENTS)
        values = {key.removesuffix("_bp"): item for key, item in tables.items()}
        metric = "user_input"
    else:
        values = node.table(known, needed=("metric", "target_value"), passed=_COMMENTS)
        metric = values["metric"].read(partial(one_of, names=METRICS))
    complement = values.get("complement")
    if complement is not None and complement.read(flag):
        raise complement.error(
            "the complement of a metric cannot be a goal of pydamon's",
            hint="name the metric that is its complement, as node_mem_free_bp is of "
            "node_mem_used_bp",
        )
    arguments: dict[str, Any] = {
        "metric": metric,
        "target": _target(values["target_value"], metric),
    }
    if "current_value" in values:
        arguments["value"] = values["current_value"].read(whole)
    readers: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
        ("nid", "node", whole),
        ("memcg_path", "memcg_path", words),
    )
    for key, name, read in readers:
        item = values.get(key)
        if item is not None and item.value not in (None, ""):
            arguments[name] = item.read(read)
    return _make(node, Goal, **arguments)


def _target(node: Node, metric: str) -> int:
    """The target of a goal, in the unit of its metric."""
    if metric == "some_mem_psi_us":
        return int(node.read(us)) // 1000
    return node.read(basis_points if metric.endswith("_bp") else whole)


def _watermarks(node: Node) -> Watermarks:
    known = ("metric", "interval_us", "high_permil", "mid_permil", "low_permil")
    tables = node.table(known, needed=("metric",), passed=_COMMENTS)
    metric = tables["metric"].read(partial(one_of, names=WATERMARK_METRICS))
    marks = {
        name: tables[f"{name}_permil"].read(thousandths)
        for name in ("high", "mid", "low")
        if f"{name}_permil" in tables
    }
    interval_ns = tables["interval_us"].read(us) if "interval_us" in tables else None
    if metric == "none":
        return Watermarks()
    for name in known:
        if name not in tables:
            raise node.of(None, name).error("is missing")
    return _make(node, Watermarks, metric=metric, interval=interval_ns, **marks)


def _destination(node: Node) -> Destination:
    tables = node.table(("id", "weight"), needed=("id", "weight"), passed=_COMMENTS)
    return Destination(node=tables["id"].read(whole), weight=tables["weight"].read(whole))


def read_filter(node: Node) -> Filter:
    """Read a filter of pages or of addresses."""
    known = ("filter_type", "matching", "allow", "filter_pass", *_KIND_OF_KEY)
    tables = node.table(known, needed=("filter_type", "matching"), passed=_COMMENTS)
    kind = tables["filter_type"].read(partial(one_of, names=FILTERS))
    _check_keys(node, tables, kind)
    allow = tables.get("allow", tables.get("filter_pass"))
    readers: dict[str, tuple[str, Callable[[Node], dict[str, Any]]]] = {
        "memcg": ("memcg_path", lambda item: {"memcg_path": item.read(words)}),
        "target": ("damon_target_idx", lambda item: {"target": item.read(whole)}),
        "addr": ("address_range", _addresses),
        "hugepage_size": ("hugepage_size", _sizes),
    }
    arguments: dict[str, Any] = {}
    if kind in readers:
        key, read = readers[kind]
        arguments = read(tables[key])
    return _make(
        node,
        Filter,
        kind=kind,
        matching=tables["matching"].read(flag),
        allow=allow is not None and allow.read(flag),
        **arguments,
    )


def _check_keys(node: Node, tables: dict[str, Node], kind: str) -> None:
    """Refuse keys of other types of filters, and the lack of a key that this type needs."""
    for key, owner in _KIND_OF_KEY.items():
        value = tables[key].value if key in tables else None
        if owner != kind and value not in (None, "", []):
            raise tables[key].error(f"is for filters of the type {owner}, not {kind}")
        if owner == kind and value in (None, ""):
            raise node.of(None, key).error(f"is needed for filters of the type {kind}")


def _addresses(node: Node) -> dict[str, int]:
    ends = node.table(("start", "end"), needed=("start", "end"), passed=_REGION_FACTS)
    return {name: item.read(bytes_of) for name, item in ends.items()}


def _sizes(node: Node) -> dict[str, int | None]:
    sizes = node.items()
    if len(sizes) != 2:
        raise node.error("not a list of two sizes")
    return {"min_size": sizes[0].read(bytes_of), "max_size": sizes[1].read(size_or_max)}
