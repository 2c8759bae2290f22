"""damo's JSON: schemes that were written for the kernel's user tool.

Numbers there are numbers or text with units and commas ("1,000", "4.000 KiB", "0 %", "1 m 30 s",
"max"); a bare number has the unit that the name of its key ends in.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydamon.core.errors import UsageError
from pydamon.schemes.fields import Ns
from pydamon.schemes.pattern import Age, Rate
from pydamon.schemes.reading import from_plain
from pydamon.schemes.scheme import Scheme

__all__ = ["read_damo_schemes"]

_UNIT_NS = {"us": 10**3, "ms": 10**6}
_TIME = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_TIME["d"] = 24 * _TIME["h"]
_SIZE = {unit: 1024**power for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))}
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
        plain["apply_interval"] = _time(given["apply_interval_us"], "us")
    if given.get("target_nid") is not None and plain["action"].startswith("migrate"):
        plain["target_node"] = int(_number(given["target_nid"]))
    if given.get("dests"):
        plain["destinations"] = [
            {"node": int(_number(d["id"])), "weight": int(_number(d["weight"]))}
            for d in given["dests"]
        ]
    if "quotas" in given:
        plain["quota"] = _quota(given["quotas"])
    if "watermarks" in given:
        marks = given["watermarks"]
        plain["watermarks"] = {
            "metric": marks["metric"],
            "interval": _time(marks["interval_us"], "us"),
            **{name: _permil(marks[f"{name}_permil"]) for name in ("high", "mid", "low")},
        }
    return plain


def _pattern(given: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for low_or_high in ("min", "max"):
        size = given.get("sz_bytes", {}).get(low_or_high)
        if size not in _UNBOUNDED:
            plain[f"{low_or_high}_size"] = _size(size)
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
        "time": _time(given.get("time_ms", 0), "ms"),
        "bytes": _size(given.get("sz_bytes", 0)),
        # An interval of 0 is what damo writes where there is no quota.
        "reset": _time(given.get("reset_interval_ms", 0), "ms") or Ns(10**9),
        "weights": {
            ours: _permil(weights.get(f"{theirs}_permil", 0))
            for ours, theirs in (("size", "sz"), ("rate", "nr_accesses"), ("age", "age"))
        },
        "goals": [_goal(one) for one in given.get("goals", [])],
        "tuner": given.get("goal_tuner", "consist"),
    }
    parts = _number(given.get("fail_charge_denom", 0))
    if parts:
        plain["fail_charge"] = _number(given["fail_charge_num"]) / parts
    return plain


def _goal(given: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "metric": given["metric"],
        "target": int(_number(given["target_value"])),
        "value": _number(given.get("current_value", 0)),
    }
    if given.get("nid") is not None:
        plain["node"] = int(_number(given["nid"]))
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
            plain[name] = int(_number(given["address_range"][name]))
    if plain["kind"] == "target":
        plain["target"] = int(_number(given["damon_target_idx"]))
    if plain["kind"] == "hugepage_size":
        low, high = given["hugepage_size"]
        plain |= {"min_size": _size(low), "max_size": _size(high)}
    return plain


def _number(value: str | float) -> float:
    if value == "min":
        return 0
    return float(value.replace(",", "")) if isinstance(value, str) else value


def _with_unit(text: str) -> tuple[float, str]:
    match = re.fullmatch(r"([\d.,]+)\s*(\S*)", text.strip())
    if match is None:
        raise ValueError(f"not a number with a unit: {text!r}")
    return _number(match[1]), match[2]


def _size(value: str | float) -> int:
    if not isinstance(value, str) or value == "min":
        return int(_number(value))
    number, unit = _with_unit(value)
    # "1.5 GiB" as well as "1.5G".
    unit = f"{unit}iB" if f"{unit}iB" in _SIZE else unit or "B"
    return int(number * _SIZE[unit] + 0.5)


def _time(value: str | float, bare_unit: str) -> Ns:
    if value == "max":
        return _ENDLESS
    if not isinstance(value, str) or re.fullmatch(r"[\d.,]+|min", value):
        return Ns(round(_number(value) * _UNIT_NS[bare_unit]))
    parts = re.findall(r"[\d.,]+\s*[a-z]+", value)
    return Ns(round(sum(n * _TIME[unit] for n, unit in map(_with_unit, parts))))


def _rate(value: str | float, unit: str | None) -> Rate:
    number, given = (0, "") if value == "min" else _with_unit(str(value))
    if given == "%" or (not given and unit == "percent"):
        return Rate(number, "%")
    return Rate(int(number))


def _age(value: str | float, unit: str | None) -> Age:
    if value == "min":
        return Age(0)
    if isinstance(value, str) and value.endswith("aggr_intervals"):
        return Age(int(_with_unit(value)[0]))
    if unit == "aggr_intervals":
        return Age(int(_number(value)))
    return Age(_time(value, "us"), "ns")


def _permil(value: str | float) -> int:
    if isinstance(value, str) and value.strip().endswith("%"):
        return round(10 * _with_unit(value)[0])
    return round(_number(value))
