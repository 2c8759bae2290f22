"""What DAMON's sysfs files came with: for the message where a kernel lacks one.

Whether a feature is there is never looked up here; it is tried. The releases are those of Linux,
Documentation/ABI/testing/sysfs-kernel-mm-damon and its history.
"""

from __future__ import annotations

__all__ = ["lacks", "missing_file", "missing_word"]

_FILES = {
    "operations": ("sets of operations", "5.18"),
    "tried_regions": ("a look at the regions that a scheme tried", "6.2"),
    "filters": ("filters", "6.3"),
    "apply_interval_us": ("apply intervals of schemes", "6.7"),
    "goals": ("quota goals", "6.8"),
    "effective_bytes": ("the effective size of a quota", "6.9"),
    "target_nid": ("migration between memory nodes", "6.11"),
    "allow": ("filters that allow", "6.14"),
    "sz_ops_filter_passed": ("the size that filters let pass", "6.14"),
    "sz_filter_passed": ("the size that filters let pass", "6.14"),
    "intervals_goal": ("auto-tuned intervals", "6.15"),
    "core_filters": ("filter directories by layer", "6.15"),
    "ops_filters": ("filter directories by layer", "6.15"),
    "nid": ("quota goals of a memory node", "6.16"),
    "dests": ("several destinations of a migration", "6.17"),
    "path": ("quota goals of a cgroup", "6.19"),
    "max_nr_snapshots": ("a limit on a scheme's snapshots", "7.0"),
    "goal_tuner": ("the choice of a quota tuner", "7.1"),
    "fail_charge_num": ("another charge for what an action failed on", "7.2"),
}
_WORDS = {
    "paddr": ("monitoring of physical memory (CONFIG_DAMON_PADDR)", "5.16"),
    "vaddr": ("monitoring of virtual memory (CONFIG_DAMON_VADDR)", "5.15"),
    "fvaddr": ("monitoring of given addresses", "5.19"),
    "lru_prio": ("the action lru_prio", "6.0"),
    "lru_deprio": ("the action lru_deprio", "6.0"),
    "anon": ("filters by kind of memory", "6.3"),
    "memcg": ("filters by cgroup", "6.3"),
    "addr": ("filters by address", "6.6"),
    "target": ("filters by target", "6.6"),
    "user_input": ("quota goals", "6.8"),
    "some_mem_psi_us": ("quota goals by memory pressure", "6.10"),
    "young": ("filters by accessed bit", "6.10"),
    "migrate_hot": ("the action migrate_hot", "6.11"),
    "migrate_cold": ("the action migrate_cold", "6.11"),
    "active": ("filters by list of active pages", "6.15"),
    "hugepage_size": ("filters by size of huge pages", "6.15"),
    "unmapped": ("filters by being mapped", "6.15"),
    "update_tuned_intervals": ("auto-tuned intervals", "6.15"),
    "node_mem_used_bp": ("quota goals of a memory node", "6.16"),
    "node_mem_free_bp": ("quota goals of a memory node", "6.16"),
    "node_memcg_used_bp": ("quota goals of a cgroup", "6.19"),
    "node_memcg_free_bp": ("quota goals of a cgroup", "6.19"),
    "active_mem_bp": ("quota goals of active memory", "7.0"),
    "inactive_mem_bp": ("quota goals of inactive memory", "7.0"),
    "temporal": ("the quota tuner temporal", "7.1"),
    "collapse": ("the action collapse", "7.2"),
    "node_eligible_mem_bp": ("quota goals of eligible memory", "7.2"),
}


def missing_file(path: str) -> str:
    """What a kernel lacks that does not have this file."""
    for part in reversed(path.split("/")):
        if part in _FILES:
            return lacks(*_FILES[part])
    return f"this kernel's DAMON has no {path}"


def missing_word(word: str) -> str:
    """What a kernel lacks that does not take this word; empty where it should take it."""
    return lacks(*_WORDS[word]) if word in _WORDS else ""


def lacks(what: str, release: str) -> str:
    """The message that a kernel lacks what a release brought."""
    return f"this kernel's DAMON lacks {what}, which came with Linux {release}"
