"""Tests of what is made of jcmd's output; private names, because the provider is private.

The texts are lines of what OpenJDK 17 printed, shortened.
"""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from pydamon import PydamonError
from pydamon._model.owners import MemoryView
from pydamon._observe.linux.procfs import parse_maps
from pydamon._owners import jvm
from pydamon._owners.jvm.layout import heap_views, jvm_owners
from pydamon._owners.jvm.text import parse_jcmd
from pydamon._owners.stacks import ThreadStack

G1 = """\
14990:

Native Memory Tracking:

Virtual memory map:

[0x00000000e0000000 - 0x0000000100000000] reserved 524288KB for Java Heap from
    [0x00007fc5e2d1a27c] ReservedSpace::reserve(unsigned long, unsigned long)+0xac

\t[0x00000000e0000000 - 0x00000000e0400000] committed 4096KB from
            [0x00007fc5e2532e26] G1PageBasedVirtualSpace::commit(unsigned long)+0x66

[0x00007fc563000000 - 0x00007fc567000000] reserved 65536KB for Metaspace from
\t[0x00007fc563000000 - 0x00007fc563010000] committed 64KB from
[0x00007fc5c4028000 - 0x00007fc5c4128000] reserved 1024KB for Thread Stack from
\t[0x00007fc5c4028000 - 0x00007fc5c402c000] committed 16KB from
\t[0x00007fc5c4125000 - 0x00007fc5c4128000] committed 12KB
[0x00007fc5c5400000 - 0x00007fc5d4400000] reserved 245760KB for Code from
\t[0x00007fc5c5400000 - 0x00007fc5c5670000] committed 2496KB from
[0x00007fc5e31c5000 - 0x00007fc5e31c7000] reserved and committed 8KB for Safepoint from
\t[0x00007fc5e31c5000 - 0x00007fc5e31c7000] committed 8KB from
#
Heap:
 garbage-first heap   total 4096K, used 2679K [0x00000000e0000000, 0x0000000100000000)
|   0|0x00000000e0000000, 0x00000000e0100000, 0x00000000e0100000|100%|HS|  |TAMS 0x0| Complete
|   1|0x00000000e0100000, 0x00000000e0180000, 0x00000000e0200000| 50%| O|  |TAMS 0x0| Untracked
|   2|0x00000000e0200000, 0x00000000e0300000, 0x00000000e0300000|100%| E|CS|TAMS 0x0| Complete
|   3|0x00000000e0300000, 0x00000000e0300000, 0x00000000e0400000|  0%| F|  |TAMS 0x0| Untracked
CodeHeap 'profiled nmethods': size=120032Kb used=124Kb max_used=124Kb free=119907Kb
 bounds [0x00007fc5c5400000, 0x00007fc5c5670000, 0x00007fc5cc938000]
"hot-reader" #12 daemon prio=5 os_prio=0 cpu=302.75ms tid=0x00007fd9e41a7580 nid=0x6159 waiting
"GC Thread#0" os_prio=0 cpu=1.02ms elapsed=4.45s tid=0x00007fd9e40462d0 nid=24867 runnable
"""
G1_MAPS = b"""\
e0000000-e0400000 rw-p 00000000 00:00 0
e0400000-100000000 ---p 00000000 00:00 0
7fc563000000-7fc563010000 rw-p 00000000 00:00 0
7fc563010000-7fc567000000 ---p 00000000 00:00 0
7fc5c4028000-7fc5c402c000 ---p 00000000 00:00 0
7fc5c402c000-7fc5c4128000 rw-p 00000000 00:00 0
7fc5c5400000-7fc5c5670000 rwxp 00000000 00:00 0
7fc5e31c5000-7fc5e31c7000 r--p 00000000 00:00 0
"""
STACK = ThreadStack(0x7FC5C402C000, 0x7FC5C4128000, 0x6159, "hot-reade", 0x7FC5C4127000)
KIB, MIB = 1 << 10, 1 << 20

ZGC = """\
[0x0000040000000000 - 0x0000040200000000] reserved 8388608KB for Java Heap from
\t[0x0000040000000000 - 0x0000040001000000] committed 16384KB from
[0x0000080000000000 - 0x0000080200000000] reserved 8388608KB for Java Heap from
[0x0000100000000000 - 0x0000100200000000] reserved 8388608KB for Java Heap from
ZGC Page Table:
 Small   0x0000000000000000 0x0000000000200000 0x0000000000200000  Relocatable
 Medium  0x0000000000400000 0x000000000078f000 0x0000000000800000  Allocating
"""
ZGC_MAPS = b"""\
40000000000-40001000000 rw-s 00000000 00:01 107757                       /memfd:java_heap (deleted)
80000000000-80001000000 rw-s 00000000 00:01 107757                       /memfd:java_heap (deleted)
100000000000-100001000000 rw-s 00000000 00:01 107757                     /memfd:java_heap (deleted)
"""


def sizes(text: str, maps: bytes, stacks: list[ThreadStack]) -> dict[tuple[str, ...], int]:
    sums: dict[tuple[str, ...], int] = {}
    for row in jvm_owners(parse_jcmd(text), parse_maps(maps).mappings, stacks):
        sums[row.path[1:]] = sums.get(row.path[1:], 0) + row.end - row.start
    return sums


def test_g1_with_native_memory_tracking() -> None:
    assert sizes(G1, G1_MAPS, [STACK]) == {
        ("Java Heap", "humongous"): MIB,
        ("Java Heap", "old"): 512 * KIB,
        ("Java Heap", "eden"): MIB,
        ("Java Heap", "unused"): MIB + 512 * KIB,
        ("Code", "profiled nmethods"): 2496 * KIB,
        ("Thread Stack", "hot-reader"): 12 * KIB,
        ("Metaspace",): 64 * KIB,
        ("Safepoint",): 8 * KIB,
    }


def test_the_sums_are_the_committed_bytes_without_guard_pages() -> None:
    committed = sum(
        end - start for native in parse_jcmd(G1).native for start, end in native.committed
    )
    assert sum(sizes(G1, G1_MAPS, [STACK]).values()) == committed - 16 * KIB


def test_g1_without_native_memory_tracking() -> None:
    lines = G1.split("\n")
    text = "\n".join(line for line in lines if "reserved" not in line and "committed" not in line)
    told = sizes(text, G1_MAPS, [STACK])
    assert told[("Java Heap", "old")] == 512 * KIB
    assert told[("Thread Stack", "hot-reader")] == STACK.end - STACK.start
    assert ("Metaspace",) not in told


def test_no_byte_has_two_owners() -> None:
    rows = sorted(
        (row.start, row.end)
        for row in jvm_owners(parse_jcmd(G1), parse_maps(G1_MAPS).mappings, [STACK])
    )
    assert all(end <= start for (_, end), (start, _) in pairwise(rows))


def test_zgc_counts_in_its_first_view() -> None:
    assert sizes(ZGC, ZGC_MAPS, []) == {
        ("Java Heap", "small pages"): 2 * MIB,
        ("Java Heap", "medium pages"): 0x38F000,
        ("Java Heap", "unused"): 16 * MIB - 2 * MIB - 0x38F000,
    }
    assert heap_views(parse_maps(ZGC_MAPS).mappings) == (
        MemoryView(1 << 43, (1 << 43) + (1 << 42), 1 << 42),
        MemoryView(1 << 44, (1 << 44) + (1 << 42), 1 << 42),
    )
    assert heap_views(parse_maps(G1_MAPS).mappings) == ()


def test_names_of_threads_are_those_of_java() -> None:
    assert parse_jcmd(G1).threads == {0x6159: "hot-reader", 24867: "GC Thread#0"}


def test_other_text_says_nothing() -> None:
    told = parse_jcmd("Native memory tracking is not enabled\n\n[0x] x\n| 1|\n")
    assert [told.native, told.heap, told.code, told.threads] == [[], [], [], {}]


def test_a_program_that_is_no_jvm_is_never_asked() -> None:
    with pytest.raises(PydamonError, match="Java Virtual Machine"):
        jvm.watch([os.getpid()], "/bin/false")
