"""Whole configurations of damo's: kdamonds with their operations, targets, intervals and schemes.

What pydamon's own engine cannot do (physical memory, given addresses, probes, pauses, contexts that
differ) the kernel can: `Kdamonds` runs such a configuration.
"""

from __future__ import annotations

from pathlib import Path

from pydamon._act.schemes.damo import (
    COMMENTS,
    CONTEXT_KEYS,
    KDAMOND_KEYS,
    read_bounds,
    read_intervals,
    read_pid,
    refuse_other_samples,
)
from pydamon._act.schemes.damo_scheme import read_filter, read_scheme
from pydamon._act.schemes.damo_units import bytes_of, flag, ms, words
from pydamon._act.schemes.toml import load
from pydamon._model.attrs import Attrs
from pydamon._model.errors import UsageError
from pydamon._model.passed import MEMCG
from pydamon._model.plain import Node, shown
from pydamon._observe.kernel import KdamondSettings, KernelTarget

__all__ = ["kdamonds_of", "needs_kernel", "read_damo_kdamonds"]

_OPERATIONS = ("vaddr", "fvaddr", "paddr")


def read_damo_kdamonds(path: str | Path) -> list[KdamondSettings]:
    """Read a whole configuration of damo's (JSON or YAML): each kdamond, for `Kdamonds`.

    Parameters
    ----------
    path
        The file: `kdamonds`, one kdamond (`contexts`), or one context.

    Returns
    -------
    list of KdamondSettings
        The settings of each kdamond, in the order of the file.

    Raises
    ------
    UsageError
        For a file that cannot be read, and for keys and values that are unknown or that the kernel
        cannot carry out; the message says where they are.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> import pydamon
    >>> context = {"ops": "paddr", "schemes": [{"action": "lru_prio"}]}
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "damo.json")
    ...     _ = path.write_text(json.dumps({"kdamonds": [{"contexts": [context]}]}))
    ...     settings = pydamon.read_damo_kdamonds(path)
    >>> settings[0].operations, settings[0].schemes[0].action
    ('paddr', 'lru_prio')
    """
    return kdamonds_of(load(path))


def kdamonds_of(root: Node) -> list[KdamondSettings]:
    """The kdamonds of a file."""
    if not isinstance(root.value, dict) or not root.value.keys() & {"kdamonds", "contexts", "ops"}:
        raise root.error(
            "neither kdamonds nor a context of damo's",
            hint="schemes alone are for the memory of processes: name these",
        )
    if "kdamonds" in root.value:
        kdamonds = root.table(("kdamonds",), passed=COMMENTS)["kdamonds"].items()
        if not kdamonds:
            raise root.error("there are no kdamonds in it")
        return list(map(_kdamond, kdamonds))
    return [_kdamond(root) if "contexts" in root.value else _context(root, 0)]


def needs_kernel(root: Node) -> bool:
    """Whether only the kernel can do what a file says; raises `UsageError` for a wrong file."""
    is_whole = isinstance(root.value, dict) and root.value.keys() & {"kdamonds", "contexts", "ops"}
    if not is_whole:
        return False
    kdamonds = kdamonds_of(root)
    return any(each.operations != "vaddr" or _is_special(each) for each in kdamonds) or any(
        (each.targets, each.attrs, each.goal)
        != (kdamonds[0].targets, kdamonds[0].attrs, kdamonds[0].goal)
        for each in kdamonds
    )


def _is_special(settings: KdamondSettings) -> bool:
    return bool(settings.probes or settings.paused or settings.refresh_ns)


def _kdamond(node: Node) -> KdamondSettings:
    tables = node.table(KDAMOND_KEYS, needed=("contexts",), passed=COMMENTS)
    contexts = tables["contexts"].items()
    if len(contexts) != 1:
        raise tables["contexts"].error(
            f"the kernel takes one context for each kdamond, and these are {len(contexts)}",
            hint="put each into a kdamond of its own",
        )
    refresh = tables.get("refresh_ms")
    has_refresh = refresh is not None and refresh.value is not None
    return _context(contexts[0], int(refresh.read(ms)) if refresh and has_refresh else 0)


def _context(node: Node, refresh_ns: int) -> KdamondSettings:
    tables = node.table(CONTEXT_KEYS, passed=COMMENTS)
    operations = tables["ops"].read(words) if "ops" in tables else "vaddr"
    if operations not in _OPERATIONS:
        hint = f"ops are {', '.join(_OPERATIONS)}"
        raise tables["ops"].error(f"there is no {shown(operations)}", hint=hint)
    refuse_other_samples(tables)
    intervals_ns, goal = (
        read_intervals(tables["intervals"]) if "intervals" in tables else ({}, None)
    )
    least, most = read_bounds(tables)
    sample, aggr, update = (intervals_ns.get(name) for name in ("sample", "aggr", "update"))
    targets = tables["targets"].items() if "targets" in tables else []
    try:
        return KdamondSettings(
            operations,
            tuple(target for item in targets if (target := _target(item, operations)) is not None),
            Attrs.of(_text(sample), _text(aggr), _text(update), least, most),
            goal,
            tuple(map(read_scheme, tables["schemes"].items())) if "schemes" in tables else (),
            tuple(map(_probe, tables["probes"].items())) if _is_given(tables, "probes") else (),
            tables["addr_unit"].read(bytes_of) if _is_given(tables, "addr_unit") else 1,
            refresh_ns,
            _is_given(tables, "pause") and tables["pause"].read(flag),
        )
    except UsageError as error:
        if str(error).startswith(node.file):
            raise
        raise node.error(str(error), hint=error.hint) from None


def _is_given(tables: dict[str, Node], name: str) -> bool:
    return name in tables and tables[name].value is not None


def _text(interval_ns: int | None) -> str | None:
    return None if interval_ns is None else f"{interval_ns}ns"


def _target(node: Node, operations: str) -> KernelTarget | None:
    """A target; `None` for one that is to be dropped."""
    tables = node.table(("pid", "obsolete", "regions"), passed=COMMENTS)
    if "obsolete" in tables and tables["obsolete"].read(flag):
        return None
    has_pid = operations != "paddr" and _is_given(tables, "pid")
    if operations != "paddr" and not has_pid:
        raise node.error("names no pid", hint=f"targets of {operations} are processes")
    regions = tables["regions"].items() if _is_given(tables, "regions") else []
    # The kernel finds the addresses of vaddr targets itself.
    ranges = tuple(map(_range, regions)) if operations != "vaddr" else ()
    return KernelTarget(tables["pid"].read(read_pid) if has_pid else 0, ranges)


def _range(node: Node) -> tuple[int, int]:
    known = ("start", "end", "nr_accesses", "age", "probe_hits", "sz_filter_passed")
    tables = node.table(known, needed=("start", "end"), passed=COMMENTS)
    start, end = (tables[name].read(bytes_of) for name in ("start", "end"))
    if start >= end:
        raise node.error("ends before it starts")
    return start, end


def _probe(node: Node) -> str:
    """The kind of pages that a probe is for."""
    tables = node.table(("weight", "filters"), needed=("filters",), passed=COMMENTS)
    filters = list(map(read_filter, tables["filters"].items()))
    if len(filters) != 1 or not (filters[0].matching and filters[0].allow):
        raise node.error("pydamon takes probes with one filter, which allows what matches")
    (rule,) = filters
    if rule.kind not in ("anon", "memcg"):
        raise node.error(f"pydamon has no probe for {rule.kind}", hint="for anon and memcg it has")
    return "anon" if rule.kind == "anon" else f"{MEMCG}{rule.memcg_path}"
