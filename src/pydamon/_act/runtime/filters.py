"""Filters at work: core filters decide about regions, the others about the pages of a range."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from pydamon._act.actions.huge import HUGE_BYTES
from pydamon._act.memory import TargetMemory
from pydamon._act.runtime.candidates import Candidates
from pydamon._model.errors import SchemeError
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.schemes.filters import Filter
from pydamon._observe.linux.pages import FILE, HUGE, PRESENT, SWAPPED
from pydamon._observe.targets.members import cgroup_of

__all__ = ["FilterDecision", "Pages", "Young", "check", "filtered", "passing"]

Young = Callable[[TargetMemory, int, int], NDArray[np.bool_]]
"""For each page of a range of a process, whether it was accessed since its bit was cleared."""
Bits = NDArray[np.bool_]


def check(filters: Sequence[Filter], *, scans: bool) -> None:
    """Raise `SchemeError` for a filter that cannot work here."""
    for rule in filters:
        if rule.kind == "young" and not scans:
            raise SchemeError(
                "filters: young needs a probe that can look at single pages",
                hint="the ebpf probe can; `pydamon doctor` says why it does not work here",
            )
        if rule.kind == "active" and not os.access("/proc/kpageflags", os.R_OK):
            raise SchemeError("filters: active needs /proc/kpageflags", hint="run as root")


class FilterDecision:
    """The decisions of filters in turn: the first filter that concerns something decides."""

    def __init__(self, count: int) -> None:
        self.allowed = np.zeros(count, np.bool_)
        self.decided = np.zeros(count, np.bool_)

    def ask(self, rule: Filter, is_of_kind: Bits) -> None:
        """Let one filter decide about everything that it concerns."""
        concerned = (is_of_kind == rule.matching) & ~self.decided
        self.allowed |= concerned & rule.allow
        self.decided |= concerned

    def passes(self, default: bool) -> Bits:
        """Whether each is allowed; *default* stands for what no filter concerns."""
        return np.where(self.decided, self.allowed, default)


def filtered(candidates: Candidates, filters: Sequence[Filter]) -> Candidates:
    """The candidates that core filters do not reject, cut at the borders of address filters."""
    core = [rule for rule in filters if rule.is_core]
    if not core:
        return candidates
    borders = [_whole_pages(rule) for rule in core if rule.kind == "addr"]
    if borders:
        every_target = range(len(candidates.snapshot.targets))
        candidates = candidates.cut_at(dict.fromkeys(every_target, np.concatenate(borders)))
    decision = FilterDecision(len(candidates))
    for rule in core:
        if rule.kind == "addr":
            start, end = _whole_pages(rule)
            decision.ask(rule, (candidates.start >= start) & (candidates.end <= end))
        else:
            decision.ask(rule, candidates.target == rule.target)
    # Where filters of pages follow, they decide about the rest.
    passes = decision.passes(len(core) < len(filters) or not core[-1].allow)
    kept = candidates.take(passes)
    return replace(kept, allowed=(decision.allowed & decision.decided)[passes])


def _whole_pages(rule: Filter) -> NDArray[np.int64]:
    """The range of an address filter, with whole pages around it."""
    assert rule.start is not None
    assert rule.end is not None
    return np.array([rule.start // PAGE_SIZE, -(-rule.end // PAGE_SIZE)], np.int64) * PAGE_SIZE


def passing(filters: Sequence[Filter], pages: Pages) -> Ranges:
    """The parts of a range that the filters of pages let pass; there is at least one filter."""
    decision = FilterDecision(pages.count)
    for rule in filters:
        decision.ask(rule, pages.of_kind(rule))
        if decision.decided.all():
            break
    passes = decision.passes(not filters[-1].allow)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], passes, [False]])))
    return pages.start + edges.reshape(-1, 2).astype(np.int64) * PAGE_SIZE


@dataclass(frozen=True, eq=False)
class Pages:
    """The pages of a range of a process, and what filters ask about them."""

    memory: TargetMemory
    start: int
    end: int
    young: Young

    @property
    def count(self) -> int:
        """How many there are."""
        return (self.end - self.start) // PAGE_SIZE

    def of_kind(self, rule: Filter) -> Bits:
        """For each page, whether it is of a filter's kind."""
        match rule.kind:
            case "memcg":
                inside = _is_cgroup(cgroup_of(self.memory.process.pid), rule.memcg_path or "/")
                return np.full(self.count, inside)
            case "young":
                return self.young(self.memory, self.start, self.start + self.count * PAGE_SIZE)
            case "active":
                return self.memory.pages.active(self.start, self.count)
            case "unmapped":
                return ~self._have(PRESENT)
            case "hugepage_size":
                most = HUGE_BYTES if rule.max_size_bytes is None else rule.max_size_bytes
                fits = rule.min_size_bytes <= HUGE_BYTES <= most
                return self._have(HUGE) & fits
        return self._anonymous()

    @cached_property
    def _flags(self) -> NDArray[np.int64]:
        """The flags of each page; 0 for a page that is not there."""
        runs = self.memory.pages.runs(np.array([[self.start, self.end]], np.int64))
        flags = np.zeros(self.count, np.int64)
        first = (runs.start - self.start) // PAGE_SIZE
        counts = (runs.end - runs.start) // PAGE_SIZE
        offset = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        flags[np.repeat(first, counts) + offset] = np.repeat(runs.flags, counts)
        return flags

    def _have(self, flags: int) -> Bits:
        """For each page, whether it has any of some flags."""
        has_flags: Bits = (self._flags & flags) != 0
        return has_flags

    def _anonymous(self) -> Bits:
        """For each page, whether it is not a file's; absent pages go by their mapping."""
        addresses = self.start + np.arange(self.count, dtype=np.int64) * PAGE_SIZE
        mappings = self.memory.mappings.mappings
        # The last entry stands for no mapping.
        is_file = np.array([mapping.name.startswith("/") for mapping in mappings] + [False])
        in_file = is_file[self.memory.mapping_at(addresses)]
        return np.where(self._have(PRESENT | SWAPPED), ~self._have(FILE), ~in_file)


def _is_cgroup(cgroup: str, path: str) -> bool:
    """Whether a cgroup is the one at a path."""
    return PurePath(cgroup) == PurePath("/" + path.strip("/"))
