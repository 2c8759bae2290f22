"""damo's JSON: schemes that were written for the kernel's user tool.

Numbers are as `core/damo_values.py` says; a bare one has the unit that the name of its key ends in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydamon.core.damo_values import Value, amount_of, bytes_of, ns_of, number_of
from pydamon.core.errors import UsageError
from pydamon.schemes.fields import Ns
from pydamon.schemes.pattern import Age, Rate
from pydamon.schemes.reading import from_plain
from pydamon.schemes.scheme import Scheme

__all__ = ["read_damo_schemes"]

_US, _MS = 10**3, 10**6
_UNBOUNDED = ("max", None)
_ENDLESS = Ns(2**62)


def read_damo_schemes(path: str | Path) -> list[Scheme]:
    """The schemes in a file of damo's: a list of them, or kdamonds with contexts that have some.

    Raises `UsageError` for what is wrong, and says where it is.
    """
    try:
        data = json.loads(Path(path).read_text())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    schemes = []
    for number, given in enumerate(_schemes_in(data)):
        where = f"{path}: scheme {number}"
        try:
            plain = _scheme(given)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{where}: not as damo writes it: {error}") from None
        schemes.append(from_plain(Scheme, plain, where))
    if not schemes:
        raise UsageError(f"{path}: there are no schemes in it")
    return schemes


def _schemes_in(data: Any) -> list[Any]:
    if isinstance(data, list):
        return data
    if not isinstance(data, dict) or "kdamonds" not in data:
        raise UsageError("neither a list of schemes nor kdamonds of damo's")
    contexts = [context for kdamond in data["kdamonds"] for context in kdamond["contexts"]]
    return [scheme for context in contexts for scheme in context.get("schemes", [])]


def _scheme(given: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "action": given.get("action", "stat"),
        "pattern": _pattern(given.get("access_pattern", {})),
        "filters": [_filter(one) for one in given.get("filters", [])],
    }
    if given.get("apply_interval_us"):
        plain["apply_interval"] = _time(given["apply_interval_us"], _US)
    if given.get("target_nid") is not None and plain["action"].startswith("migrate"):
        plain["target_node"] = number_of(given["target_nid"])
    if given.get("dests"):
        plain["destinations"] = [
            {"node": number_of(d["id"]), "weight": number_of(d["weight"])} for d in given["dests"]
        ]
    if "quotas" in given:
        plain["quota"] = _quota(given["quotas"])
    if "watermarks" in given:
        marks = given["watermarks"]
        plain["watermarks"] = {
            "metric": marks["metric"],
            "interval": _time(marks["interval_us"], _US),
            **{name: _permil(marks[f"{name}_permil"]) for name in ("high", "mid", "low")},
        }
    return plain


def _pattern(given: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for low_or_high in ("min", "max"):
        size = given.get("sz_bytes", {}).get(low_or_high)
        if size not in _UNBOUNDED:
            plain[f"{low_or_high}_size"] = bytes_of(size)
        rate = given.get("nr_accesses", {}).get(low_or_high)
        if rate not in _UNBOUNDED:
            plain[f"{low_or_high}_rate"] = _rate(rate, given.get("nr_accesses_unit"))
        age = given.get("age", {}).get(low_or_high)
        if age not in _UNBOUNDED:
            plain[f"{low_or_high}_age"] = _age(age, given.get("age_unit"))
    return plain


def _quota(given: dict[str, Any]) -> dict[str, Any]:
    weights = given.get("weights", {})
    plain: dict[str, Any] = {
        "time": _time(given.get("time_ms", 0), _MS),
        "bytes": bytes_of(given.get("sz_bytes", 0)),
        # An interval of 0 is what damo writes where there is no quota.
        "reset": _time(given.get("reset_interval_ms", 0), _MS) or Ns(10**9),
        "weights": {
            ours: _permil(weights.get(f"{theirs}_permil", 0))
            for ours, theirs in (("size", "sz"), ("rate", "nr_accesses"), ("age", "age"))
        },
        "goals": [_goal(one) for one in given.get("goals", [])],
        "tuner": given.get("goal_tuner", "consist"),
    }
    parts = number_of(given.get("fail_charge_denom", 0))
    if parts:
        plain["fail_charge"] = number_of(given["fail_charge_num"]) / parts
    return plain


def _goal(given: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "metric": given["metric"],
        "target": number_of(given["target_value"]),
        "value": number_of(given.get("current_value", 0)),
    }
    if given.get("nid") is not None:
        plain["node"] = number_of(given["nid"])
    if given.get("memcg_path"):
        plain["memcg_path"] = given["memcg_path"]
    return plain


def _filter(given: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "kind": given["filter_type"],
        "matching": bool(given["matching"]),
        "allow": bool(given.get("allow", given.get("filter_pass", False))),
    }
    if plain["kind"] == "memcg":
        plain["memcg_path"] = given["memcg_path"]
    if plain["kind"] == "addr":
        for name in ("start", "end"):
            plain[name] = number_of(given["address_range"][name])
    if plain["kind"] == "target":
        plain["target"] = number_of(given["damon_target_idx"])
    if plain["kind"] == "hugepage_size":
        low, high = given["hugepage_size"]
        plain |= {"min_size": bytes_of(low), "max_size": bytes_of(high)}
    return plain


def _time(value: Value, bare_ns: int) -> Ns:
    return Ns(min(ns_of(value, bare_ns), _ENDLESS))


def _rate(value: Value, unit: str | None) -> Rate:
    if str(value).endswith("%") or unit == "percent":
        return Rate(amount_of(value, {"": 1000, "%": 1000}) / 1000, "%")
    return Rate(number_of(value))


def _age(value: Value, unit: str | None) -> Age:
    if isinstance(value, str) and value.endswith("aggr_intervals"):
        return Age(number_of(value.removesuffix("aggr_intervals")))
    if unit == "aggr_intervals":
        return Age(number_of(value))
    return Age(_time(value, _US), "ns")


def _permil(value: Value) -> int:
    return amount_of(value, {"": 1, "%": 10})
