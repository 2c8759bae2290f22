"""A scheme in the kernel's sysfs files, and whether the kernel can do what it says."""

from __future__ import annotations

from dataclasses import fields

from pydamon._model.attrs import Attrs
from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._model.schemes import Filter, Quota, Scheme, SchemeStats
from pydamon._observe.kernel.files import Files, lacks

__all__ = [
    "KERNEL_ACTIONS",
    "check_able",
    "optional",
    "read_stats",
    "write_goal_values",
    "write_scheme",
]

_ADVICE = ("willneed", "cold", "pageout", "hugepage", "nohugepage", "collapse")
"""Actions on whole regions of virtual memory, as `madvise` has them."""
_PHYSICAL = ("pageout", "lru_prio", "lru_deprio", "migrate_hot", "migrate_cold", "stat")
KERNEL_ACTIONS = frozenset((*_ADVICE, *_PHYSICAL))
"""Every action that some release of the kernel's DAMON has."""

_PHYSICAL_GOALS = ("node_eligible_mem_bp",)
"""Refused with an error that does not say so: seen in Linux 7.3."""


def check_able(files: Files, context: str, operations: str, scheme: Scheme) -> None:
    """Raise `ProbeUnavailable` unless the kernel can apply a scheme with these operations.

    *context* is the directory of a context that has the scheme already.
    """
    if operations == "paddr":
        refusal = _physical_refusal(str(scheme.action))
    else:
        refusal = _virtual_refusal(files, context, scheme)
    if refusal:
        raise ProbeUnavailable(refusal, hint='use engine="sampling" for that')


def _physical_refusal(action: str) -> str:
    """Why the kernel cannot do an action to physical memory; empty where it can."""
    if action in _PHYSICAL:
        return ""
    return f"the kernel's DAMON does {action} to the memory of processes only"


def _virtual_refusal(files: Files, context: str, scheme: Scheme) -> str:
    """Why the kernel cannot apply a scheme to processes; empty where it can."""
    action = str(scheme.action)
    filters = ", ".join(rule.kind for rule in scheme.filters if not rule.is_core)
    goals = [goal.metric for goal in scheme.quota.goals if goal.metric in _PHYSICAL_GOALS]
    if goals:
        return f"the kernel's DAMON has the goal {goals[0]} for physical memory only"
    if action in ("lru_prio", "lru_deprio"):
        return f"the kernel's DAMON does {action} to physical memory only"
    if action in _ADVICE and filters:
        return f"the kernel's DAMON does {action} to whole regions of processes, not by {filters}"
    if action.startswith("migrate") and not files.has(f"{context}/schemes/0/dests"):
        return lacks(f"the action {action} for processes", "6.17")
    if filters and not files.has(f"{context}/addr_unit"):
        return lacks(f"filters of processes' pages ({filters})", "6.18")
    return ""


_NO_NODE = -1
_WHOLE = 1000
"""The denominator of the share that failures cost, which the kernel takes as a fraction."""
_UINT_MAX = 2**32 - 1


def write_scheme(files: Files, path: str, scheme: Scheme, attrs: Attrs, unit: int = 1) -> None:
    """Write all of a scheme to its directory; *attrs* turn its rates and ages into numbers.

    The kernel's sizes and addresses have so many bytes a *unit*. Raises `UsageError` for an action
    that only pydamon can do, and `ProbeUnavailable` for one that this kernel lacks.
    """
    if not isinstance(scheme.action, str):
        raise UsageError(
            f"the kernel cannot call {scheme.label}: its actions are named",
            hint='use engine="sampling" for an action of your own',
        )
    if scheme.action not in KERNEL_ACTIONS:
        raise UsageError(
            f"the kernel's DAMON has no action {scheme.action}", hint='use engine="sampling"'
        )
    files.write(f"{path}/action", scheme.action)
    bounds = scheme.pattern.bounds(
        attrs.samples_per_aggregation, attrs.sampling_ns, attrs.aggregation_ns
    )
    for name, low, high in (
        ("sz", bounds.min_size // unit, bounds.max_size // unit),
        ("nr_accesses", bounds.min_nr_accesses, min(bounds.max_nr_accesses, _UINT_MAX)),
        ("age", bounds.min_age, min(bounds.max_age, _UINT_MAX)),
    ):
        files.write(f"{path}/access_pattern/{name}/min", low)
        files.write(f"{path}/access_pattern/{name}/max", high)
    optional(files, f"{path}/apply_interval_us", scheme.apply_interval_ns // 1000, 0)
    node = _NO_NODE if scheme.target_node is None else scheme.target_node
    optional(files, f"{path}/target_nid", node, _NO_NODE)
    if _count(files, f"{path}/dests/nr_dests", len(scheme.destinations)):
        for number, destination in enumerate(scheme.destinations):
            files.write(f"{path}/dests/{number}/id", destination.node)
            files.write(f"{path}/dests/{number}/weight", destination.weight)
    _write_quota(files, f"{path}/quotas", scheme.quota, unit)
    for name, value in (
        ("metric", scheme.watermarks.metric),
        ("interval_us", scheme.watermarks.interval_ns // 1000),
        ("high", round(1000 * scheme.watermarks.high_share)),
        ("mid", round(1000 * scheme.watermarks.mid_share)),
        ("low", round(1000 * scheme.watermarks.low_share)),
    ):
        files.write(f"{path}/watermarks/{name}", value)
    if files.has(f"{path}/ops_filters"):
        core_filters = [rule for rule in scheme.filters if rule.is_core]
        ops_filters = [rule for rule in scheme.filters if not rule.is_core]
        _write_filters(files, f"{path}/core_filters", core_filters, unit)
        _write_filters(files, f"{path}/ops_filters", ops_filters, unit)
    else:
        _write_filters(files, f"{path}/filters", list(scheme.filters), unit)
    optional(files, f"{path}/stats/max_nr_snapshots", scheme.max_snapshots, 0)


def write_goal_values(files: Files, path: str, quota: Quota) -> bool:
    """Write the current values of goals that the user feeds; return whether there are any."""
    fed = [(number, g) for number, g in enumerate(quota.goals) if g.metric == "user_input"]
    for number, goal in fed:
        value = goal.value() if callable(goal.value) else goal.value
        files.write(f"{path}/quotas/goals/{number}/current_value", max(0, round(value)))
    return bool(fed)


def read_stats(files: Files, path: str, unit: int = 1) -> tuple[SchemeStats, int]:
    """The statistics in a scheme's directory, as of the last update.

    Also how many bytes its quota allows in a reset interval. A number that this kernel does not
    count is 0.
    """

    def number(name: str) -> int:
        return files.number(f"{path}/{name}") if files.has(f"{path}/{name}") else 0

    names = [f.name for f in fields(SchemeStats) if f.name not in ("time_ns", "rests")]
    values = {name: number(f"stats/{name}") for name in names}
    sizes = {name: unit * value for name, value in values.items() if name.startswith("sz_")}
    return SchemeStats(**values | sizes), unit * number("quotas/effective_bytes")


def _write_quota(files: Files, path: str, quota: Quota, unit: int) -> None:
    files.write(f"{path}/ms", quota.time_ns // 10**6)
    files.write(f"{path}/bytes", -(-quota.size_bytes // unit))
    files.write(f"{path}/reset_interval_ms", quota.reset_ns // 10**6)
    files.write(f"{path}/weights/sz_permil", quota.weights.size)
    files.write(f"{path}/weights/nr_accesses_permil", quota.weights.rate)
    files.write(f"{path}/weights/age_permil", quota.weights.age)
    optional(files, f"{path}/goal_tuner", quota.tuner, "consist")
    charge = round(quota.fail_charge * _WHOLE)
    optional(files, f"{path}/fail_charge_num", charge, _WHOLE)
    optional(files, f"{path}/fail_charge_denom", _WHOLE, _WHOLE)
    if not _count(files, f"{path}/goals/nr_goals", len(quota.goals)):
        return
    for number, goal in enumerate(quota.goals):
        place = f"{path}/goals/{number}"
        files.write(f"{place}/target_metric", goal.metric)
        files.write(f"{place}/target_value", goal.target)
        optional(files, f"{place}/nid", _NO_NODE if goal.node is None else goal.node, _NO_NODE)
        optional(files, f"{place}/path", goal.memcg_path or "", "")


def _write_filters(files: Files, path: str, filters: list[Filter], unit: int) -> None:
    if not _count(files, f"{path}/nr_filters", len(filters)):
        return
    for number, rule in enumerate(filters):
        place = f"{path}/{number}"
        files.write(f"{place}/type", rule.kind)
        files.write(f"{place}/matching", "Y" if rule.matching else "N")
        optional(files, f"{place}/allow", "Y" if rule.allow else "N", "N")
        if rule.kind == "memcg":
            files.write(f"{place}/memcg_path", rule.memcg_path or "")
        elif rule.kind == "addr":
            files.write(f"{place}/addr_start", (rule.start or 0) // unit)
            files.write(f"{place}/addr_end", (rule.end or 0) // unit)
        elif rule.kind == "target":
            files.write(f"{place}/damon_target_idx", rule.target or 0)
        elif rule.kind == "hugepage_size":
            files.write(f"{place}/min", rule.min_size_bytes)
            files.write(f"{place}/max", rule.max_size_bytes or 2**63 - 1)


def _count(files: Files, path: str, count: int) -> bool:
    """Make the directories 0 to *count* - 1; return whether there are any."""
    if count or files.has(path):
        files.write(path, count)
    return count > 0


def optional(files: Files, path: str, value: str | int, default: str | int) -> None:
    """Write a file that older kernels lack; without it, only the default will do."""
    if value != default or files.has(path):
        files.write(path, value)
