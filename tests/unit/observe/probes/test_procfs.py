"""The reader of /proc: text in which strangers have a say."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._observe.linux.process import hint_for, refusal
from pydamon._observe.linux.procfs import (
    Stat,
    cgroup_paths,
    lines_of,
    meminfo_of,
    mount_points,
    parse_maps,
    read,
    status_of,
    text_of,
)

BREAKS = "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""Where `str.splitlines` ends a line, beside the newline."""
LINE = b"7f0000000000-7f0000001000 rw-p 00000000 08:02 173521                     "


def names_in(*names: bytes) -> list[str]:
    text = b"".join(LINE + name + b"\n" for name in names)
    return [mapping.name for mapping in parse_maps(text).mappings]


@pytest.mark.parametrize("char", BREAKS)
def test_only_a_newline_ends_a_line(char: str) -> None:
    name = f"/tmp/a{char}b"
    assert names_in(name.encode(), b"/bin/x") == [name, "/bin/x"]
    assert lines_of(f"a{char}b\nc\n".encode()) == [f"a{char}b", "c"]
    assert cgroup_paths(f"0::/a{char}b\n".encode()) == {"": f"/a{char}b"}


@pytest.mark.parametrize(
    "name",
    [
        b"/tmp/with  two",
        b"/tmp/ends ",
        b"/tmp/tab\t",
        b"/tmp/x (deleted)",
        b"/tmp/x (deleted) (deleted)",
        b"/tmp/a\\012b",
        b"/tmp/\"'",
        b"//anon",
        b"/tmp/[heap]",
        b"/tmp/[red]x[/nothing]",
        b"/" + b"long/" * 800,
        b"/tmp/7f00-7f01 rw-p 0 00:00 0 x",
    ],
)
def test_names_of_mappings_are_kept_as_they_are(name: bytes) -> None:
    assert names_in(name) == [name.decode()]


def test_bytes_that_are_not_utf8_can_be_had_again() -> None:
    (name,) = names_in(b"/tmp/a\xff\xfeb")
    assert os.fsencode(name) == b"/tmp/a\xff\xfeb"


def test_memory_without_a_name() -> None:
    assert names_in(b"") == ["[anon]"]
    text = LINE.rstrip() + b"\n" + LINE.rstrip() + b" \n"
    assert [mapping.name for mapping in parse_maps(text).mappings] == ["[anon]", "[anon]"]


@given(st.binary(max_size=300))
def test_no_text_is_an_error(data: bytes) -> None:
    parse_maps(data)
    Stat.of(data)
    status_of(data)
    cgroup_paths(data)
    mount_points(data)
    assert text_of(data).encode("utf-8", "surrogateescape") == data


@pytest.mark.parametrize("comm", [b"a) (b", b") R 1 (", b"x\ny", b"\x1b[2J", b"\xff)", b"", b"\r"])
def test_a_process_may_be_called_anything(comm: bytes) -> None:
    numbers = [b"S", *(b"%d" % number for number in range(4, 60))]
    stat = Stat.of(b"1234 (" + comm + b") " + b" ".join(numbers) + b"\n")
    assert stat is not None
    assert (stat.comm, stat.state, stat.flags) == (text_of(comm), "S", 9)
    assert (stat.started_ticks, stat.major_faults) == (22, 12)


def test_the_kernels_own_text_is_understood() -> None:
    libc, before = ctypes.CDLL(None), Path("/proc/self/comm").read_bytes()
    try:
        libc.prctl(15, b"a) (\nb\xff\t\\", 0, 0, 0)
        stat = Stat.of(read("/proc/self/stat"))
        status = status_of(read("/proc/self/status"))
    finally:
        libc.prctl(15, before.strip(), 0, 0, 0)
    assert stat is not None
    assert os.fsencode(stat.comm) == b"a) (\nb\xff\t\\"
    assert status["Pid"] == str(os.getpid())


def test_mount_points_are_written_as_maps_has_them() -> None:
    text = b"tmpfs /a\\040b\\011\\012c\\134 tmpfs rw 0 0\nbroken\n"
    assert mount_points(text) == [("/a b\t\\012c\\", "tmpfs")]


def test_what_to_do_depends_on_the_errno() -> None:
    numbers = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM)
    hints = [hint_for(number) for number in numbers]
    assert all(hints)
    assert len(set(hints)) == 4, "the last two share a hint"
    assert str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]) in hints[0]
    assert str(refusal("cannot watch pid 1", errno.ESRCH)) == "cannot watch pid 1: it has exited"
    assert hint_for(errno.ESRCH) == ""


def test_meminfo_of_the_machine_and_of_a_node() -> None:
    assert meminfo_of(b"MemTotal:  8 kB\nActive(anon):   2 kB\n") == {
        "MemTotal": 8192,
        "Active(anon)": 2048,
    }
    assert meminfo_of(b"Node 0 MemFree:   3 kB\n") == {"MemFree": 3072}
