"""damo's JSON: schemes that were written for the kernel's user tool, or by it.

Read are all the shapes that damo has: kdamonds, one kdamond (`contexts`), one context (`schemes`),
a list of schemes, and a single scheme. Keys are damo's, and what damo means by them is done, or
refused by name. What it only reports (statistics, states) is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from pydamon._act.schemes.damo_scheme import SCHEME_KEYS, read_scheme
from pydamon._act.schemes.damo_units import Value, basis_points, bytes_of, flag, us, whole, words
from pydamon._act.schemes.toml import load
from pydamon._model.attrs import IntervalGoal
from pydamon._model.errors import UsageError
from pydamon._model.plain import Node, shown
from pydamon._model.schemes.scheme import Scheme

__all__ = ["DamoConfig", "read_damo", "read_damo_schemes"]

_COMMENTS = ("comment", "comments")
_INTERVALS = {"sample_us": "sample", "aggr_us": "aggr", "ops_update_us": "update"}
_CONTEXT = (
    *("ops", "ops_attrs", "addr_unit", "targets", "intervals", "nr_regions"),
    *("probes", "sample_control", "pause", "schemes"),
)


@frozen(kw_only=True)
class DamoConfig:
    """What a file of damo's says: schemes, and how and whom to watch, as far as it says that."""

    schemes: tuple[Scheme, ...]
    pids: tuple[int, ...] = ()
    intervals_ns: dict[str, int] = field(factory=dict)
    """By `sample`, `aggr` and `update`."""
    min_regions: int | None = None
    max_regions: int | None = None
    goal: IntervalGoal | None = None


def read_damo_schemes(path: str | Path) -> list[Scheme]:
    """The schemes in a file of damo's, in any of the shapes that it has.

    Raises `UsageError` for what is wrong, or cannot be done here, and says where it is.
    """
    return list(read_damo(load(path)).schemes)


def read_damo(root: Node) -> DamoConfig:
    """All of a file of damo's."""
    if isinstance(root.value, list):
        return DamoConfig(schemes=_schemes(root, root.items()))
    if not isinstance(root.value, dict):
        raise root.error("neither schemes of damo's nor kdamonds")
    keys = root.value.keys()
    if "kdamonds" in keys:
        kdamonds = root.table(("kdamonds",), passed=_COMMENTS)["kdamonds"].items()
        return _of_contexts(root, [c for one in kdamonds for c in _contexts(one)])
    if "contexts" in keys:
        return _of_contexts(root, _contexts(root))
    if "schemes" in keys or "ops" in keys:
        return _of_contexts(root, [root])
    if not keys & set(SCHEME_KEYS):
        raise root.error(
            "neither schemes of damo's nor kdamonds",
            hint=f"a scheme has {', '.join(SCHEME_KEYS)}",
        )
    return DamoConfig(schemes=_schemes(root, [root]))


def _schemes(root: Node, nodes: Sequence[Node]) -> tuple[Scheme, ...]:
    if not nodes:
        raise root.error("there are no schemes in it")
    return tuple(map(read_scheme, nodes))


def _contexts(kdamond: Node) -> list[Node]:
    known = ("contexts", "state", "pid", "refresh_ms")
    tables = kdamond.table(known, needed=("contexts",), passed=_COMMENTS)
    return tables["contexts"].items()


def _of_contexts(root: Node, contexts: Sequence[Node]) -> DamoConfig:
    """What contexts say that are about the same processes, watched in the same way."""
    found = [(node, _context(node)) for node in contexts]
    found = [(node, one) for node, one in found if one.schemes]
    if not found:
        raise root.error("there are no schemes in it")
    first_node, first = found[0]
    for node, one in found[1:]:
        if _setting(one) != _setting(first):
            raise node.error(
                f"has other targets or settings than {first_node.place}, and pydamon would apply "
                "the schemes of both to all targets",
                hint="put it into a file of its own",
            )
    schemes = tuple(scheme for _, one in found for scheme in one.schemes)
    return DamoConfig(
        schemes=schemes,
        pids=first.pids,
        intervals_ns=first.intervals_ns,
        min_regions=first.min_regions,
        max_regions=first.max_regions,
        goal=first.goal,
    )


def _setting(one: DamoConfig) -> tuple[object, ...]:
    return one.pids, one.intervals_ns, one.min_regions, one.max_regions, one.goal


def _context(node: Node) -> DamoConfig:
    tables = node.table(_CONTEXT, passed=_COMMENTS)
    ops = tables["ops"].read(words) if "ops" in tables else "vaddr"
    if ops not in ("vaddr", "fvaddr", "paddr"):
        raise tables["ops"].error(f"there is no {shown(ops)}", hint="ops are vaddr, fvaddr, paddr")
    _refuse_others(tables)
    pids: list[int] = []
    for target in tables["targets"].items() if "targets" in tables else ():
        pids += _pids(target, ops)
    nodes = tables["schemes"].items() if "schemes" in tables else []
    schemes = tuple(map(read_scheme, nodes))
    for scheme, place in zip(schemes, nodes, strict=True):
        if ops == "paddr" and any(rule.kind == "addr" for rule in scheme.filters):
            raise place.error(
                "filters: addresses are physical, and pydamon acts on memory of processes"
            )
    intervals_ns, goal = {}, None
    if "intervals" in tables:
        intervals = tables["intervals"].table((*_INTERVALS, "intervals_goal"), passed=_COMMENTS)
        intervals_ns = {
            name: int(intervals[key].read(us))
            for key, name in _INTERVALS.items()
            if key in intervals
        }
        goal = _goal(intervals["intervals_goal"]) if "intervals_goal" in intervals else None
    regions: dict[str, Node] = {}
    if "nr_regions" in tables:
        regions = tables["nr_regions"].table(("min", "max"), passed=_COMMENTS)
    bounds = {f"{name}_regions": bound.read(whole) for name, bound in regions.items()}
    return DamoConfig(
        schemes=schemes, pids=tuple(pids), intervals_ns=intervals_ns, goal=goal, **bounds
    )


def _refuse_others(tables: dict[str, Node]) -> None:
    """Refuse settings of a context that pydamon does not have, unless they are as by default."""
    defaults: dict[str, Callable[[Node], bool]] = {
        "addr_unit": lambda node: node.read(bytes_of) == 1,
        "probes": lambda node: not node.items(),
        "pause": lambda node: not node.read(flag),
        "sample_control": _is_default_sampling,
        "ops_attrs": _is_default_ops,
    }
    for name, is_default in defaults.items():
        node = tables.get(name)
        if node is not None and node.value is not None and not is_default(node):
            raise node.error("cannot be done by pydamon", hint="leave it out")


def _is_default_sampling(node: Node) -> bool:
    tables = node.table(("primitives_enabled", "sample_filters"), passed=_COMMENTS)
    filters = tables.get("sample_filters")
    enabled = tables.get("primitives_enabled")
    if filters is not None and filters.items():
        return False
    if enabled is None:
        return True
    given = {
        name: one.read(flag) for name, one in enabled.table(("page_table", "page_fault")).items()
    }
    return given.get("page_table", True) and not given.get("page_fault", False)


def _is_default_ops(node: Node) -> bool:
    tables = node.table(("use_reports", "write_only", "cpus", "tids"), passed=_COMMENTS)
    flags = [tables[name].read(flag) for name in ("use_reports", "write_only") if name in tables]
    return not any(flags)


def _pids(target: Node, ops: str) -> list[int]:
    """The process of a target, if it is one; its ranges must not limit it."""
    tables = target.table(("pid", "obsolete", "regions"), passed=_COMMENTS)
    regions = tables.get("regions")
    if ops == "fvaddr" and regions is not None and regions.items():
        raise regions.error(
            "pydamon applies schemes to all memory of a process",
            hint="write the ranges as filters of the type addr",
        )
    pid = tables.get("pid")
    obsolete = tables.get("obsolete")
    if ops == "paddr" or pid is None or pid.value is None:
        return []
    if obsolete is not None and obsolete.read(flag):
        return []
    return [pid.read(_pid)]


def _pid(value: Value) -> int:
    found = whole(value)
    if not 0 < found < 1 << 31:
        raise UsageError(f"not a pid: {shown(value)}")
    return found


def _goal(node: Node) -> IntervalGoal | None:
    """The goal that intervals are tuned to; `None` where that is off."""
    read: dict[str, Callable[[Any], int]] = {
        "access_bp": basis_points,
        "aggrs": whole,
        "min_sample_us": us,
        "max_sample_us": us,
    }
    tables = node.table(tuple(read), passed=_COMMENTS)
    given = {name: int(one.read(read[name])) for name, one in tables.items()}
    if not given.get("aggrs"):
        return None
    try:
        return IntervalGoal(
            given.get("access_bp", 0),
            given["aggrs"],
            given.get("min_sample_us", 0),
            given.get("max_sample_us", 0),
        )
    except UsageError as error:
        raise node.error(str(error), hint=error.hint) from None
