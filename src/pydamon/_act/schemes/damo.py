"""damo's JSON and YAML: schemes that were written for the kernel's user tool, or by it.

All shapes of damo are read: kdamonds, one kdamond (`contexts`), one context (`schemes`), a list of
schemes, and a single scheme. Each key has damo's meaning, or is refused by name. Keys under which
damo only reports (statistics, states) are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydamon._act.schemes.damo_scheme import SCHEME_KEYS, read_scheme
from pydamon._act.schemes.damo_units import (
    Value,
    basis_points,
    bytes_of,
    flag,
    ms,
    us,
    whole,
    words,
)
from pydamon._act.schemes.toml import load
from pydamon._model.attrs import IntervalGoal
from pydamon._model.errors import UsageError
from pydamon._model.plain import Node, shown
from pydamon._model.schemes.scheme import Scheme

__all__ = [
    "COMMENTS",
    "CONTEXT_KEYS",
    "KDAMOND_KEYS",
    "DamoConfig",
    "read_bounds",
    "read_damo",
    "read_damo_schemes",
    "read_intervals",
    "read_pid",
    "refuse_other_samples",
]

COMMENTS = ("comment", "comments")
_KERNEL_CAN = "leave it out, or name --engine kernel"
_INTERVALS = {"sample_us": "sample", "aggr_us": "aggr", "ops_update_us": "update"}
KDAMOND_KEYS = ("contexts", "state", "pid", "refresh_ms")
CONTEXT_KEYS = (
    *("ops", "ops_attrs", "addr_unit", "targets", "intervals", "nr_regions"),
    *("probes", "sample_control", "pause", "schemes"),
)


@dataclass(frozen=True, kw_only=True)
class DamoConfig:
    """A file of damo's: schemes, and which processes to watch and how, as far as it says that."""

    schemes: tuple[Scheme, ...]
    pids: tuple[int, ...] = ()
    intervals_ns: dict[str, int] = field(default_factory=dict)
    """By `sample`, `aggr` and `update`."""
    min_regions: int | None = None
    max_regions: int | None = None
    goal: IntervalGoal | None = None


def read_damo_schemes(path: str | Path) -> list[Scheme]:
    """Read the schemes of a file of damo's (JSON or YAML), in any of its shapes.

    Parameters
    ----------
    path
        The file. A bare rate in it is a percentage, and a bare age is microseconds, as in damo.

    Returns
    -------
    list of Scheme
        Every scheme of the file, in its order.

    Raises
    ------
    UsageError
        For a file that cannot be read, and for keys and values that are unknown or that pydamon
        cannot carry out; the message says where they are.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> import pydamon
    >>> idle = {"action": "pageout", "access_pattern": {"age": {"min": "2 m", "max": "max"}}}
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "damo.json")
    ...     _ = path.write_text(json.dumps([idle]))
    ...     schemes = pydamon.read_damo_schemes(path)
    >>> schemes[0].action, str(schemes[0].pattern.min_age)
    ('pageout', '2 min')
    """
    return list(read_damo(load(path)).schemes)


def read_damo(root: Node) -> DamoConfig:
    """Read all of a file of damo's."""
    if isinstance(root.value, list):
        return DamoConfig(schemes=_schemes(root, root.items()))
    if not isinstance(root.value, dict):
        raise root.error("neither schemes of damo's nor kdamonds")
    keys = root.value.keys()
    if "kdamonds" in keys:
        kdamonds = root.table(("kdamonds",), passed=COMMENTS)["kdamonds"].items()
        return _of_contexts(
            root, [context for kdamond in kdamonds for context in _contexts(kdamond)]
        )
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
    tables = kdamond.table(KDAMOND_KEYS, needed=("contexts",), passed=COMMENTS)
    refresh = tables.get("refresh_ms")
    if refresh is not None and refresh.value is not None and refresh.read(ms):
        raise refresh.error("cannot be done by pydamon", hint=_KERNEL_CAN)
    return tables["contexts"].items()


def _of_contexts(root: Node, contexts: Sequence[Node]) -> DamoConfig:
    """Contexts as one configuration: they must watch the same processes in the same way."""
    configs = [(node, config) for node in contexts if (config := _context(node)).schemes]
    if not configs:
        raise root.error("there are no schemes in it")
    first_node, first = configs[0]
    for node, config in configs[1:]:
        if replace(config, schemes=()) != replace(first, schemes=()):
            raise node.error(
                f"has other targets or settings than {first_node.place}, and pydamon would apply "
                "the schemes of both to all targets",
                hint="put it into a file of its own, or name --engine kernel",
            )
    return replace(first, schemes=tuple(s for _, config in configs for s in config.schemes))


def _context(node: Node) -> DamoConfig:
    tables = node.table(CONTEXT_KEYS, passed=COMMENTS)
    ops = tables["ops"].read(words) if "ops" in tables else "vaddr"
    if ops not in ("vaddr", "fvaddr", "paddr"):
        raise tables["ops"].error(f"there is no {shown(ops)}", hint="ops are vaddr, fvaddr, paddr")
    _refuse_others(tables)
    pids: list[int] = []
    for target in tables["targets"].items() if "targets" in tables else ():
        pids += _pids(target, ops)
    schemes = _context_schemes(tables["schemes"].items() if "schemes" in tables else [], ops)
    intervals_ns, goal = (
        read_intervals(tables["intervals"]) if "intervals" in tables else ({}, None)
    )
    least, most = read_bounds(tables)
    return DamoConfig(
        schemes=schemes,
        pids=tuple(pids),
        intervals_ns=intervals_ns,
        goal=goal,
        min_regions=least,
        max_regions=most,
    )


def read_bounds(tables: dict[str, Node]) -> tuple[int | None, int | None]:
    """The least and the largest number of regions of a context, as far as it says them."""
    if "nr_regions" not in tables:
        return None, None
    bounds = tables["nr_regions"].table(("min", "max"), passed=COMMENTS)
    least, most = (bounds[name].read(whole) if name in bounds else None for name in ("min", "max"))
    return least, most


def _context_schemes(nodes: Sequence[Node], ops: str) -> tuple[Scheme, ...]:
    schemes = tuple(map(read_scheme, nodes))
    for scheme, node in zip(schemes, nodes, strict=True):
        if ops == "paddr" and any(rule.kind == "addr" for rule in scheme.filters):
            raise node.error(
                "filters: addresses are physical, and pydamon acts on memory of processes",
                hint=_KERNEL_CAN,
            )
    return schemes


def read_intervals(node: Node) -> tuple[dict[str, int], IntervalGoal | None]:
    """The intervals by name, and the goal that they are tuned to."""
    tables = node.table((*_INTERVALS, "intervals_goal"), passed=COMMENTS)
    intervals_ns = {
        name: int(tables[key].read(us)) for key, name in _INTERVALS.items() if key in tables
    }
    goal = _goal(tables["intervals_goal"]) if "intervals_goal" in tables else None
    return intervals_ns, goal


def _refuse_others(tables: dict[str, Node]) -> None:
    """Refuse settings that pydamon's own engine has not, unless they are damo's defaults."""
    defaults: dict[str, Callable[[Node], bool]] = {
        "addr_unit": lambda node: node.read(bytes_of) == 1,
        "probes": lambda node: not node.items(),
        "pause": lambda node: not node.read(flag),
    }
    _refuse(tables, defaults, _KERNEL_CAN)
    refuse_other_samples(tables)


def refuse_other_samples(tables: dict[str, Node]) -> None:
    """Refuse other ways to sample, of which no release of the kernel has any."""
    _refuse(
        tables,
        {"sample_control": _is_default_sampling, "ops_attrs": _is_default_ops},
        "leave it out",
    )


def _refuse(
    tables: dict[str, Node], defaults: dict[str, Callable[[Node], bool]], hint: str
) -> None:
    for name, is_default in defaults.items():
        node = tables.get(name)
        if node is not None and node.value is not None and not is_default(node):
            raise node.error("cannot be done by pydamon", hint=hint)


def _is_default_sampling(node: Node) -> bool:
    tables = node.table(("primitives_enabled", "sample_filters"), passed=COMMENTS)
    filters = tables.get("sample_filters")
    enabled = tables.get("primitives_enabled")
    if filters is not None and filters.items():
        return False
    if enabled is None:
        return True
    primitives = enabled.table(("page_table", "page_fault"))
    uses = {name: item.read(flag) for name, item in primitives.items()}
    return uses.get("page_table", True) and not uses.get("page_fault", False)


def _is_default_ops(node: Node) -> bool:
    tables = node.table(("use_reports", "write_only", "cpus", "tids"), passed=COMMENTS)
    flags = [tables[name].read(flag) for name in ("use_reports", "write_only") if name in tables]
    return not any(flags)


def _pids(target: Node, ops: str) -> list[int]:
    """The pid of a target, if it is a process; its ranges must not limit the schemes."""
    tables = target.table(("pid", "obsolete", "regions"), passed=COMMENTS)
    regions = tables.get("regions")
    if ops == "fvaddr" and regions is not None and regions.items():
        raise regions.error(
            "pydamon applies schemes to all memory of a process",
            hint="write the ranges as filters of the type addr, or name --engine kernel",
        )
    pid = tables.get("pid")
    obsolete = tables.get("obsolete")
    if ops == "paddr" or pid is None or pid.value is None:
        return []
    if obsolete is not None and obsolete.read(flag):
        return []
    return [pid.read(read_pid)]


def read_pid(value: Value) -> int:
    """The pid of a process."""
    pid = whole(value)
    if not 0 < pid < 1 << 31:
        raise UsageError(f"not a pid: {shown(value)}")
    return pid


def _goal(node: Node) -> IntervalGoal | None:
    """The goal that intervals are tuned to; `None` where that is off."""
    readers: dict[str, Callable[[Any], int]] = {
        "access_bp": basis_points,
        "aggrs": whole,
        "min_sample_us": us,
        "max_sample_us": us,
    }
    tables = node.table(tuple(readers), passed=COMMENTS)
    values = {name: int(item.read(readers[name])) for name, item in tables.items()}
    if not values.get("aggrs"):
        return None
    try:
        return IntervalGoal(
            values.get("access_bp", 0),
            values["aggrs"],
            values.get("min_sample_us", 0),
            values.get("max_sample_us", 0),
        )
    except UsageError as error:
        raise node.error(str(error), hint=error.hint) from None
