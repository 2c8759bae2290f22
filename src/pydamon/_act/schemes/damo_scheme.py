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
    us,
    whole,
    words,
)
from pydamon._model.errors import UsageError
from pydamon._model.plain import Node, shown
from pydamon._model.schemes.fields import Ns, one_of
from pydamon._model.schemes.filters import FILTERS, Filter
from pydamon._model.schemes.pattern import AccessPattern
from pydamon._model.schemes.quota import (
    METRICS,
    TUNERS,
    WATERMARK_METRICS,
    Goal,
    Quota,
    Watermarks,
    Weights,
)
from pydamon._model.schemes.scheme import ACTIONS, Destination, Scheme

__all__ = ["SCHEME_KEYS", "read_scheme"]

T = TypeVar("T")

SCHEME_KEYS = (
    *("action", "access_pattern", "apply_interval_us", "quotas", "watermarks", "filters"),
    *("target_nid", "dests", "name"),
)
_PASSED = ("comment", "comments")
_REPORTED = ("stats", "tried_regions", "tried_bytes", *_PASSED)
"""What damo reports of a scheme."""
_SECOND = Ns(10**9)
_MIGRATES = ("migrate_hot", "migrate_cold")
_UNITS = {"nr_accesses": ("percent", "samples"), "age": ("usec", "aggr_intervals")}
_OF_A_KIND = {
    "memcg_path": "memcg",
    "address_range": "addr",
    "damon_target_idx": "target",
    "hugepage_size": "hugepage_size",
    "probe_hits_wsum_range": "probe_hits_wsum",
}
"""What filters say besides, and of which type they are then."""


def read_scheme(node: Node) -> Scheme:
    """A scheme; what damo leaves out has damo's defaults: `stat`, all memory, no quota."""
    tables = node.table(SCHEME_KEYS, passed=_REPORTED)
    given: dict[str, Any] = {"action": "stat"}
    if "action" in tables:
        given["action"] = tables["action"].read(lambda value: one_of(value, ACTIONS))
    readers: dict[str, tuple[str, Callable[[Node], Any]]] = {
        "access_pattern": ("pattern", _pattern),
        "quotas": ("quota", _quota),
        "watermarks": ("watermarks", _watermarks),
        "filters": ("filters", lambda one: [_filter(item) for item in one.items()]),
        "apply_interval_us": ("apply_interval", lambda one: one.read(us)),
        "dests": ("destinations", lambda one: [_destination(item) for item in one.items()]),
        "name": ("name", lambda one: one.read(words)),
    }
    for key, (name, read) in readers.items():
        # damo writes null for an interval that is not set.
        if key in tables and not (key == "apply_interval_us" and tables[key].value is None):
            given[name] = read(tables[key])
    nid = tables.get("target_nid")
    if nid is not None and nid.value not in (None, -1, "-1"):
        if given["action"] not in _MIGRATES:
            raise nid.error(f"is for migration only, not for {given['action']}")
        given["target_node"] = nid.read(whole)
    given["max_snapshots"] = _max_snapshots(node)
    return _made(node, Scheme, **given)


def _made(node: Node, kind: Callable[..., T], /, **arguments: Any) -> T:
    """An object, whose complaints are told with the place."""
    try:
        return kind(**arguments)
    except UsageError as error:
        raise node.error(str(error), hint=error.hint) from None


def _max_snapshots(node: Node) -> int:
    """The only statistic that is a setting, too."""
    stats = node.value.get("stats")
    if not isinstance(stats, dict) or "max_nr_snapshots" not in stats:
        return 0
    return node.of(stats, "stats").of(stats["max_nr_snapshots"], "max_nr_snapshots").read(whole)


def _pattern(node: Node) -> AccessPattern:
    known = ("sz_bytes", "nr_accesses", "nr_accesses_unit", "age", "age_unit")
    tables = node.table(known, passed=_PASSED)
    units = {"nr_accesses": "percent", "age": "usec"}
    # Files of older damos name the unit apart.
    for name, choice in _UNITS.items():
        if f"{name}_unit" in tables:
            units[name] = tables[f"{name}_unit"].read(partial(one_of, names=choice))
    given: dict[str, Any] = {}
    bounds: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "sz_bytes": ("size", size_or_max),
        "nr_accesses": ("rate", lambda value: rate(value, units["nr_accesses"])),
        "age": ("age", lambda value: age(value, units["age"])),
    }
    for key, (name, read) in bounds.items():
        if key not in tables:
            continue
        low_high = tables[key].table(("min", "max"), passed=_PASSED)
        for end, one in low_high.items():
            found = one.read(read)
            if found is None and end == "min":
                raise one.error(f"nothing is as much: {shown(one.value)}")
            given[f"{end}_{name}"] = found
        _check_order(tables[key], given.get(f"min_{name}"), given.get(f"max_{name}"))
    return AccessPattern(**given)


def _check_order(node: Node, low: Any, high: Any) -> None:
    if low is None or high is None:
        return
    unit, others = getattr(low, "unit", ""), getattr(high, "unit", "")
    low, high = getattr(low, "value", low), getattr(high, "value", high)
    if unit != others and low and high:
        raise node.error("min and max have different units")
    if unit == others and low > high:
        raise node.error("min is above max")


def _quota(node: Node) -> Quota:
    known = (
        *("time_ms", "sz_bytes", "reset_interval_ms", "fail_charge_num", "fail_charge_denom"),
        *("goals", "goal_tuner", "weights"),
    )
    tables = node.table(known, passed=("effective_sz_bytes", *_PASSED))
    given: dict[str, Any] = {}
    if "time_ms" in tables:
        given["time"] = tables["time_ms"].read(ms)
    if "sz_bytes" in tables:
        # Without a bound there is none, which damo writes as 0.
        given["bytes"] = tables["sz_bytes"].read(size_or_max) or 0
    if "goals" in tables:
        given["goals"] = [_goal(item) for item in tables["goals"].items()]
    if "goal_tuner" in tables:
        given["tuner"] = tables["goal_tuner"].read(lambda value: one_of(value, TUNERS))
    if "weights" in tables:
        names = {"sz_permil": "size", "nr_accesses_permil": "rate", "age_permil": "age"}
        weights = tables["weights"].table(tuple(names), passed=_PASSED)
        given["weights"] = Weights(**{names[key]: one.read(permil) for key, one in weights.items()})
    given["fail_charge"] = _fail_charge(tables)
    quota = _made(node, Quota, **given)
    if "reset_interval_ms" in tables:
        reset_ns = tables["reset_interval_ms"].read(ms)
        if reset_ns == 0 and quota.limits:
            raise tables["reset_interval_ms"].error("must be longer than 0 where there is a quota")
        quota = evolve(quota, reset=reset_ns or _SECOND)
    return quota


def _fail_charge(tables: dict[str, Node]) -> float:
    parts = {
        name: tables[name].read(whole) if name in tables else 0
        for name in ("fail_charge_num", "fail_charge_denom")
    }
    if not parts["fail_charge_denom"]:
        return 1.0
    if parts["fail_charge_num"] > parts["fail_charge_denom"]:
        raise tables["fail_charge_num"].error("is above fail_charge_denom")
    return parts["fail_charge_num"] / parts["fail_charge_denom"]


def _goal(node: Node) -> Goal:
    known = ("metric", "target_value", "current_value", "nid", "memcg_path", "complement")
    if isinstance(node.value, dict) and "target_value_bp" in node.value:
        # Older damos: the value is the user's, whatever it is of.
        older = ("target_value_bp", "current_value_bp")
        tables = node.table(older, passed=_PASSED)
        values = {key.removesuffix("_bp"): one for key, one in tables.items()}
        metric = "user_input"
    else:
        values = node.table(known, needed=("metric", "target_value"), passed=_PASSED)
        metric = values["metric"].read(lambda value: one_of(value, METRICS))
    complement = values.get("complement")
    if complement is not None and complement.read(flag):
        raise complement.error(
            "the complement of a metric cannot be a goal of pydamon's",
            hint="name the metric that is its complement, as node_mem_free_bp is of "
            "node_mem_used_bp",
        )
    given: dict[str, Any] = {"metric": metric, "target": _target(values["target_value"], metric)}
    if "current_value" in values:
        given["value"] = values["current_value"].read(whole)
    others: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
        ("nid", "node", whole),
        ("memcg_path", "memcg_path", words),
    )
    for key, name, read in others:
        one = values.get(key)
        if one is not None and one.value not in (None, ""):
            given[name] = one.read(read)
    return _made(node, Goal, **given)


def _target(node: Node, metric: str) -> int:
    if metric == "some_mem_psi_us":
        return int(node.read(us)) // 1000
    return node.read(basis_points if metric.endswith("_bp") else whole)


def _watermarks(node: Node) -> Watermarks:
    known = ("metric", "interval_us", "high_permil", "mid_permil", "low_permil")
    tables = node.table(known, needed=("metric",), passed=_PASSED)
    metric = tables["metric"].read(lambda value: one_of(value, WATERMARK_METRICS))
    marks = {
        name: tables[f"{name}_permil"].read(permil)
        for name in ("high", "mid", "low")
        if f"{name}_permil" in tables
    }
    interval_ns = tables["interval_us"].read(us) if "interval_us" in tables else None
    if metric == "none":
        return Watermarks()
    for name in known:
        if name not in tables:
            raise node.of(None, name).error("is missing")
    return _made(node, Watermarks, metric=metric, interval=interval_ns, **marks)


def _destination(node: Node) -> Destination:
    tables = node.table(("id", "weight"), needed=("id", "weight"), passed=_PASSED)
    return Destination(node=tables["id"].read(whole), weight=tables["weight"].read(whole))


def _filter(node: Node) -> Filter:
    known = ("filter_type", "matching", "allow", "filter_pass", *_OF_A_KIND)
    tables = node.table(known, needed=("filter_type", "matching"), passed=_PASSED)
    kind = tables["filter_type"].read(lambda value: one_of(value, FILTERS))
    for key, owner in _OF_A_KIND.items():
        if key in tables and owner != kind and tables[key].value not in (None, "", []):
            raise tables[key].error(f"is for filters of the type {owner}, not {kind}")
        if owner == kind and (key not in tables or tables[key].value in (None, "")):
            raise node.of(None, key).error(f"is needed for filters of the type {kind}")
    allow = tables.get("allow", tables.get("filter_pass"))
    given: dict[str, Any] = {
        "kind": kind,
        "matching": tables["matching"].read(flag),
        "allow": allow is not None and allow.read(flag),
    }
    if kind == "memcg":
        given["memcg_path"] = tables["memcg_path"].read(words)
    elif kind == "target":
        given["target"] = tables["damon_target_idx"].read(whole)
    elif kind == "addr":
        # damo may write what it knows of such a region besides.
        others = ("nr_accesses", "age", "probe_hits", "sz_filter_passed", *_PASSED)
        ends = tables["address_range"].table(
            ("start", "end"), needed=("start", "end"), passed=others
        )
        given |= {name: one.read(bytes_of) for name, one in ends.items()}
    elif kind == "hugepage_size":
        sizes = tables["hugepage_size"].items()
        if len(sizes) != 2:
            raise tables["hugepage_size"].error("not a list of two sizes")
        given |= {"min_size": sizes[0].read(bytes_of), "max_size": sizes[1].read(size_or_max)}
    return _made(node, Filter, **given)
