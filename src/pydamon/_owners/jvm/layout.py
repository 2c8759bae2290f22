"""From what a Java Virtual Machine tells to owners of its memory: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pydamon._model.mappings import Mapping
from pydamon._model.owners import OwnedInterval
from pydamon._model.ranges import Ranges, intersect, subtract, union
from pydamon._owners.jvm.text import JvmText, NamedRange
from pydamon._owners.stacks import ThreadStack

__all__ = ["jvm_owners"]

_ROOT = "JVM"
_HEAP, _CODE, _STACK = "Java Heap", "Code", "Thread Stack"
_ZGC_FILE = "java_heap"
_ZGC_FIRST_VIEW = 1 << 42
"""ZGC maps its heap at addresses with one of the bits 42 to 44 set, its colours."""


def jvm_owners(
    told: JvmText, mappings: Sequence[Mapping], stacks: Sequence[ThreadStack]
) -> list[OwnedInterval]:
    """The owners of one moment, without overlap.

    *mappings* are those of the process: memory that is reserved only belongs to nobody.
    """
    memory = _ranges((m.start, m.end) for m in mappings if m.is_memory)
    named = [
        *((start, end, (_HEAP, *labels)) for start, end, labels in _heap(told, mappings)),
        *((start, end, (_CODE, *labels)) for start, end, labels in told.code),
        *((row.start, row.end, (_STACK, row.name)) for row in _thread_stacks(told, stacks)),
    ]
    generic = [
        (start, end, (native.kind,)) for native in told.native for start, end in native.committed
    ] or [(start, end, labels) for start, end, labels in told.others]
    owners: list[OwnedInterval] = []
    taken = _ranges([])
    for rows in (named, generic):
        for start, end, labels in rows:
            left = subtract(intersect(_ranges([(start, end)]), memory), taken)
            owners += [OwnedInterval((_ROOT, *labels), low, high) for low, high in left.tolist()]
        taken = union(np.concatenate([taken, _ranges((start, end) for start, end, _ in rows)]))
    return owners


def _heap(told: JvmText, mappings: Sequence[Mapping]) -> list[NamedRange]:
    """The regions of G1, or the pages of ZGC at each address where it maps them."""
    views = {
        1 << (mapping.start.bit_length() - 1)
        for mapping in mappings
        if _ZGC_FILE in mapping.name and mapping.start >= _ZGC_FIRST_VIEW
    }
    pages = [
        NamedRange(view + start, view + end, labels)
        for view in sorted(views)
        for start, end, labels in told.zgc_pages
        if end <= _ZGC_FIRST_VIEW
    ]
    return told.heap + pages


def _thread_stacks(told: JvmText, stacks: Sequence[ThreadStack]) -> list[ThreadStack]:
    """The stacks of threads, with the names that Java knows, which are not cut short."""
    reserved = _ranges((n.start, n.end) for n in told.native if n.kind == _STACK)
    rows = []
    for stack in stacks:
        name = told.threads.get(stack.tid, stack.name)
        row = np.flatnonzero((reserved[:, 0] <= stack.pointer) & (stack.pointer < reserved[:, 1]))
        start, end = reserved[row[0]].tolist() if len(row) else (stack.start, stack.end)
        rows.append(ThreadStack(start, end, stack.tid, name, stack.pointer))
    return rows


def _ranges(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted ranges."""
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)
