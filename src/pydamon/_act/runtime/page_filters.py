"""Filters that go by pages: which parts of a range pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from pydamon._act.actions.huge import HUGE_BYTES
from pydamon._act.memory import TargetMemory
from pydamon._act.runtime.candidates import FilterDecision
from pydamon._model.errors import SchemeError
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.schemes.filters import Filter
from pydamon._observe.linux.pages import FILE, HUGE, PRESENT, SWAPPED, PageRuns
from pydamon._observe.targets.members import cgroup_of

__all__ = ["Young", "check", "passing"]

Young = Callable[[TargetMemory, int, int], NDArray[np.bool_]]
"""For each page of a range of a process whether it was accessed since that was last cleared."""
Bits = NDArray[np.bool_]


def check(filters: Sequence[Filter], *, scans: bool) -> None:
    """Raise `SchemeError` for a filter that cannot be had here."""
    for rule in filters:
        if rule.kind == "young" and not scans:
            raise SchemeError(
                "filters: young needs a probe that can look at single pages",
                hint="the ebpf probe can; `pydamon doctor` says why it does not work here",
            )
        if rule.kind == "active" and not os.access("/proc/kpageflags", os.R_OK):
            raise SchemeError("filters: active needs /proc/kpageflags", hint="run as root")


def passing(
    filters: Sequence[Filter], memory: TargetMemory, start: int, end: int, young: Young
) -> Ranges:
    """The parts of a range that the filters let pass."""
    rules = [rule for rule in filters if not rule.is_core]
    pages = (end - start) // PAGE_SIZE
    runs = memory.pages.runs(np.array([[start, end]], np.int64))
    verdict = FilterDecision(pages)
    for rule in rules:
        verdict.ask(rule, _is_of_kind(rule, memory, start, pages, runs, young))
        if verdict.decided.all():
            break
    passes = verdict.passes(not rules[-1].allow)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], passes, [False]])))
    return start + edges.reshape(-1, 2).astype(np.int64) * PAGE_SIZE


def _is_of_kind(
    rule: Filter, memory: TargetMemory, start: int, pages: int, runs: PageRuns, young: Young
) -> Bits:
    if rule.kind == "memcg":
        return np.full(pages, _is_in(cgroup_of(memory.process.pid), rule.memcg_path or "/"))
    if rule.kind == "young":
        return young(memory, start, start + pages * PAGE_SIZE)
    if rule.kind == "active":
        return memory.pages.active(start, pages)
    flags = _page_flags(runs, start, pages)
    if rule.kind == "unmapped":
        absent: Bits = (flags & PRESENT) == 0
        return absent
    if rule.kind == "hugepage_size":
        most = HUGE_BYTES if rule.max_size_bytes is None else rule.max_size_bytes
        fits = rule.min_size_bytes <= HUGE_BYTES <= most
        huge: Bits = ((flags & HUGE) != 0) & fits
        return huge
    known = (flags & (PRESENT | SWAPPED)) != 0
    # Of what is not there, the mapping tells what it would be.
    at = memory.mapping_at(start + np.arange(pages, dtype=np.int64) * PAGE_SIZE)
    names = np.array([m.name.startswith("/") for m in memory.mappings.mappings] + [False])
    return np.where(known, (flags & FILE) == 0, ~names[at])


def _page_flags(runs: PageRuns, start: int, pages: int) -> NDArray[np.int64]:
    """The flags of each page; 0 for one that is not there."""
    flags = np.zeros(pages, np.int64)
    first = (runs.start - start) // PAGE_SIZE
    counts = (runs.end - runs.start) // PAGE_SIZE
    offset = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    flags[np.repeat(first, counts) + offset] = np.repeat(runs.flags, counts)
    return flags


def _is_in(cgroup: str, path: str) -> bool:
    """Whether a cgroup is the one at a path."""
    return PurePath(cgroup) == PurePath("/" + path.strip("/"))
