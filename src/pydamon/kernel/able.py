"""What the kernel takes without an error and then does not do: said beforehand.

Each set of operations carries out actions and page filters of its own, and passes over all others.
No file says which; they are those of the kernel's documentation (admin-guide/mm/damon/usage), and
where a release widened them, a file that came with it tells.
"""

from __future__ import annotations

from pydamon.core.errors import ProbeUnavailable
from pydamon.kernel.features import lacks
from pydamon.kernel.files import Files
from pydamon.schemes import Scheme

__all__ = ["check_able"]

_ADVICE = ("willneed", "cold", "pageout", "hugepage", "nohugepage", "collapse")
"""What is done to virtual memory, to whole regions, as `madvise` does it."""
_PHYSICAL = ("pageout", "lru_prio", "lru_deprio", "migrate_hot", "migrate_cold", "stat")

_PHYSICAL_GOALS = ("node_eligible_mem_bp",)
"""Refused with an error that does not say so: seen in Linux 7.3."""


def check_able(files: Files, context: str, operations: str, scheme: Scheme) -> None:
    """Raise `ProbeUnavailable` unless the kernel does to such memory what a scheme says.

    *context* is the directory of one that has the scheme already.
    """
    why, action = "", str(scheme.action)
    filters = ", ".join(one.kind for one in scheme.filters if not one.is_core)
    physical = [goal.metric for goal in scheme.quota.goals if goal.metric in _PHYSICAL_GOALS]
    if operations == "paddr":
        if action not in _PHYSICAL:
            why = f"the kernel's DAMON does {action} to the memory of processes only"
    elif physical:
        why = f"the kernel's DAMON has the goal {physical[0]} for physical memory only"
    elif action in ("lru_prio", "lru_deprio"):
        why = f"the kernel's DAMON does {action} to physical memory only"
    elif action in _ADVICE and filters:
        why = f"the kernel's DAMON does {action} to whole regions of processes, not by {filters}"
    elif action.startswith("migrate") and not files.has(f"{context}/schemes/0/dests"):
        why = lacks(f"the action {action} for processes", "6.17")
    elif filters and not files.has(f"{context}/addr_unit"):
        why = lacks(f"filters of processes' pages ({filters})", "6.18")
    if why:
        raise ProbeUnavailable(why, hint='use engine="sampling" for that')
