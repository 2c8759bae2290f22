"""Tests of the names that /proc alone can tell; private names, because the provider is private."""

from __future__ import annotations

import os
import threading

import pytest

from pydamon import PydamonError
from pydamon._observe.linux.procfs import parse_maps
from pydamon._owners import proc
from pydamon._owners.proc import proc_owners
from pydamon._owners.stacks import ThreadStack, stacks_of

MAPS = b"""\
55e137a9f000-55e137ae6000 rw-p 00000000 00:00 0                          [heap]
7fc53c000000-7fc53c021000 rw-p 00000000 00:00 0
7fc53c021000-7fc540000000 ---p 00000000 00:00 0
7fc544000000-7fc544001000 ---p 00000000 00:00 0
7fc544001000-7fc544100000 rw-p 00000000 00:00 0
7fc560000000-7fc560001000 rw-p 00000000 00:00 0                          [anon:my cache]
7fc560010000-7fc560011000 rw-s 00000000 00:01 5                          [anon_shmem:queue]
7fc570000000-7fc570001000 r-xp 00000000 fe:00 3                          /usr/lib/libc.so.6
7fc580000000-7fc580001000 rw-s 00000000 00:01 4                          /dev/shm/x
7fc590000000-7fc590001000 rw-p 00000000 00:00 0
7ffdf3d57000-7ffdf3d78000 rw-p 00000000 00:00 0                          [stack]
"""
MAPPINGS = parse_maps(MAPS).mappings
STACK = ThreadStack(0x7FC544001000, 0x7FC544100000, 7, "worker", 0x7FC5440FF000)


def test_each_mapping_has_the_best_name() -> None:
    rows = proc_owners("app (1)", MAPPINGS, [STACK])
    assert [row.path for row in rows] == [
        ("app (1)", "malloc", "main heap"),
        ("app (1)", "malloc", "arena at 0x7fc53c000000"),
        ("app (1)", "thread stacks", "worker"),
        ("app (1)", "named memory", "my cache"),
        ("app (1)", "named memory", "queue"),
        ("app (1)", "files", "/usr/lib/libc.so.6"),
        ("app (1)", "shared memory", "/dev/shm/x"),
        ("app (1)", "anonymous memory"),
        ("app (1)", "thread stacks", "main"),
    ]


def test_a_mapping_with_two_stack_pointers_is_nobodys_stack() -> None:
    pointers = {7: ("a", 0x7FC544002000), 8: ("b", 0x7FC544003000), 9: ("c", 0x7FC590000800)}
    assert [stack.name for stack in stacks_of(pointers, MAPPINGS)] == ["c"]


def test_the_threads_of_this_process_are_named() -> None:
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait, name="x")
    thread.start()
    try:
        watch = proc.watch([os.getpid()], "")
        watch.observe([os.getpid(), 2**22 + 1])
        (owners,) = watch.owners()
    finally:
        ends.set()
        thread.join()
    assert owners.pids == (os.getpid(),)
    assert any(path[1:2] == ("files",) for path in owners.paths)
    stacks = [path for path in owners.paths if path[1:2] == ("thread stacks",)]
    assert len(stacks) >= 1


def test_an_argument_is_refused() -> None:
    with pytest.raises(PydamonError, match="no argument"):
        proc.watch([os.getpid()], "x")
