"""From what a Java Virtual Machine tells to owners of its memory: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pydamon._model.mappings import Mapping
from pydamon._model.owners import MemoryView, OwnedInterval
from pydamon._model.ranges import Ranges, intersect, subtract, union
from pydamon._owners.jvm.text import UNUSED, JvmText, NamedRange
from pydamon._owners.stacks import ThreadStack

__all__ = ["heap_views", "jvm_owners"]

_ROOT = "JVM"
_HEAP, _CODE, _STACK = "Java Heap", "Code", "Thread Stack"
_ZGC_FILE = "java_heap"
_ZGC_VIEW = 1 << 42
"""ZGC maps its heap at addresses with one of the bits 42 to 44 set, its colours."""


def jvm_owners(
    told: JvmText, mappings: Sequence[Mapping], stacks: Sequence[ThreadStack]
) -> list[OwnedInterval]:
    """The owners of one moment, without overlap.

    *mappings* are those of the process: memory that is reserved only belongs to nobody.
    """
    memory = _ranges((m.start, m.end) for m in mappings if m.is_memory)
    named: list[tuple[int, int, tuple[str, ...]]] = [
        *((start, end, (_HEAP, *labels)) for start, end, labels in _heap(told, mappings)),
        *((start, end, (_CODE, *labels)) for start, end, labels in told.code),
        *_thread_stacks(told, stacks),
    ]
    owners: list[OwnedInterval] = []
    taken = _ranges([])
    for rows in (named, _by_kind(told)):
        for start, end, labels in rows:
            left = subtract(intersect(_ranges([(start, end)]), memory), taken)
            owners += [OwnedInterval((_ROOT, *labels), low, high) for low, high in left.tolist()]
        taken = union(np.concatenate([taken, _ranges((start, end) for start, end, _ in rows)]))
    return owners


def _by_kind(told: JvmText) -> list[tuple[int, int, tuple[str, ...]]]:
    """The memory of each kind: all of it with native memory tracking, and else some of it."""
    if not told.native:
        return [(start, end, labels) for start, end, labels in told.others]
    knows_regions = bool(told.heap or told.zgc_pages)
    return [
        (start, end, (_HEAP, UNUSED) if native.kind == _HEAP and knows_regions else (native.kind,))
        for native in told.native
        for start, end in native.committed
    ]


def heap_views(mappings: Sequence[Mapping]) -> tuple[MemoryView, ...]:
    """Where ZGC maps its heap again, and where it counts: it maps the same memory three times."""
    bases = _view_bases(mappings)
    return tuple(MemoryView(base, base + _ZGC_VIEW, bases[0]) for base in bases[1:])


def _view_bases(mappings: Sequence[Mapping]) -> list[int]:
    """The first address of each view of a heap of ZGC: a power of two."""
    bases = {
        1 << (mapping.start.bit_length() - 1)
        for mapping in mappings
        if _ZGC_FILE in mapping.name and mapping.start >= _ZGC_VIEW
    }
    return sorted(bases)


def _heap(told: JvmText, mappings: Sequence[Mapping]) -> list[NamedRange]:
    """The regions of G1, or the pages of ZGC in the view that counts."""
    bases = _view_bases(mappings)[:1]
    return told.heap + [
        NamedRange(base + start, base + end, labels)
        for base in bases
        for start, end, labels in told.zgc_pages
        if end <= _ZGC_VIEW
    ]


def _thread_stacks(
    told: JvmText, stacks: Sequence[ThreadStack]
) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """The stacks of threads, with the names that Java knows, which are not cut short.

    Native memory tracking tells which part of a stack was used.
    """
    reserved = [native for native in told.native if native.kind == _STACK]
    for stack in stacks:
        labels = (_STACK, told.threads.get(stack.tid, stack.name))
        around = [n for n in reserved if n.start <= stack.pointer < n.end]
        used = around[0].committed if around else [(stack.start, stack.end)]
        yield from ((start, end, labels) for start, end in used)


def _ranges(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted ranges."""
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)
