"""Tests of the reader of heaptrack's files; private names, because the reader is private."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import PydamonError
from pydamon._owners import heaptrack
from pydamon._owners.heaptrack import events
from pydamon._owners.heaptrack.events import read_heaptrack
from pydamon._owners.heaptrack.names import demangled
from pydamon._owners.heaptrack.stacks import Stacks, _Interpreted, name_by_module
from pydamon.owners import FOREVER_NS

HEAD = (
    "v 10400 3\nx 6 /app/p\nX ./p\nI 1000 5e298f\nm 1 -\nm 1 x 1000 0 a60 1000 50d\n"
    "m 10 /usr/lib/libc.so 7f0000000000 0 2000\n"
    "t 7f0000000010 0\nt 2010 1\nt 2020 1\n"
)


def write(folder: Path, body: str, head: str = HEAD) -> Path:
    path = folder / "app.raw"
    path.write_text(head + body)
    return path


def rows_of(path: Path) -> list[tuple[int, int, int, int, int | None]]:
    columns = read_heaptrack(path).allocations
    rows = zip(*(column.tolist() for column in columns[:4]), strict=True)
    ends = np.where(columns.is_live, -1, columns.until.astype(np.int64)).tolist()
    pairs = zip(rows, ends, strict=True)
    return sorted((*row, None if end < 0 else end) for row, end in pairs)


def test_allocations_end_when_they_are_freed(tmp_path: Path) -> None:
    path = write(tmp_path, "+ 20 2 1000\nc a\n+ 40 3 2000\nc 14\n- 1000\nc 1e\n")
    assert rows_of(path) == [(0x1000, 0x20, 2, 0, 20), (0x2000, 0x40, 3, 10, None)]


def test_a_reused_address_has_one_owner_after_the_other(tmp_path: Path) -> None:
    path = write(tmp_path, "+ 20 2 1000\nc a\n- 1000\n+ 30 3 1000\nc 14\n- 1000\n")
    assert rows_of(path) == [(0x1000, 0x20, 2, 0, 10), (0x1000, 0x30, 3, 10, 20)]


def test_an_allocation_whose_end_was_missed_ends_with_the_next_at_its_address(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "+ 20 2 1000\nc a\n+ 30 3 1000\n")
    assert rows_of(path) == [(0x1000, 0x20, 2, 0, 10), (0x1000, 0x30, 3, 10, None)]


def test_an_address_that_is_used_in_many_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_CHUNK_BYTES", 64)
    others = [f"+ 8 2 {address:x}" for address in range(0x2000, 0x2A00, 0x10)]
    lines = others[:100]
    for turn in range(1, 6):
        lines += [f"c {turn:x}", f"+ {turn:x} 2 1000", *others[100 + 10 * turn : 110 + 10 * turn]]
    rows = [row for row in rows_of(write(tmp_path, "\n".join(lines) + "\n")) if row[0] == 0x1000]
    ends = [2, 3, 4, 5, None]
    assert rows == [(0x1000, turn, 2, turn, ends[turn - 1]) for turn in range(1, 6)]


def test_what_lived_within_a_tick_is_left_out(tmp_path: Path) -> None:
    assert rows_of(write(tmp_path, "+ 20 2 1000\n- 1000\n- 5000\n")) == []


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_compressed_files(tmp_path: Path, codec: str) -> None:
    plain = (HEAD + "+ 20 2 1000\n").encode()
    data = gzip.compress(plain) if codec == "gzip" else pa.compress(plain, codec, asbytes=True)
    path = tmp_path / "app.raw"
    path.write_bytes(data)
    assert rows_of(path) == [(0x1000, 0x20, 2, 0, None)]


def test_a_file_that_is_cut_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heaptrack, "find_interpreter", lambda: None)
    monkeypatch.setattr(events, "_CHUNK_BYTES", 1000)
    lines = "".join(f"+ 20 2 {number * 4096 + 4096:x}\n" for number in range(10_000))
    whole = gzip.compress((HEAD + lines).encode())
    path = tmp_path / "app.raw.gz"
    path.write_bytes(whole[: len(whole) // 2])
    owners = heaptrack.read(str(path))
    assert 0 < len(owners) < 10_000
    assert any("ends early" in note for note in owners.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("hello world\n", "does not begin"),
        ("v 10400 9\n", "version 9"),
        ("v 10400 3\ns 3 abc\n", "holds no addresses"),
        (HEAD + "+ 20 2 10g0\n", "not hexadecimal"),
        (HEAD + "+ 20\n", "damaged"),
        (HEAD + "- \n", "missing or too long"),
        (HEAD + "+ 20 2 ffffffffffffffffffff\n", "missing or too long"),
        (HEAD + "+ 20 2 ffffffffffffffff\n", "missing or too long"),
        (HEAD + "+ 20 99999999999999 1000\n", "a stack that it does not hold"),
        (HEAD + "t 10 99\n+ 20 2 1000\n", "damaged"),
        (HEAD + "m zz\n+ 20 2 1000\n", "damaged"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(
    tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heaptrack, "find_interpreter", lambda: None)
    with pytest.raises(PydamonError, match=message):
        heaptrack.read(str(write(tmp_path, text, head="")))


def test_a_file_without_lines_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_LONGEST_LINE", 100)
    path = write(tmp_path, "x" * 200, head="")
    with pytest.raises(PydamonError, match="it has no lines"):
        read_heaptrack(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PydamonError, match="cannot read"):
        heaptrack.read(str(tmp_path / "none"))


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("+"), st.integers(1, 99), st.integers(1, 3), st.integers(1, 12)),
        st.tuples(st.just("-"), st.just(0), st.just(0), st.integers(1, 12)),
        st.tuples(st.just("c"), st.just(0), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(events_=EVENTS, chunk_bytes=st.integers(64, 400))
def test_chunks_make_no_difference(
    tmp_path_factory: pytest.TempPathFactory,
    events_: list[tuple[str, int, int, int]],
    chunk_bytes: int,
) -> None:
    clock, lines = 0, []
    live: dict[int, tuple[int, int, int, int]] = {}
    expected: list[tuple[int, int, int, int, int | None]] = []
    for kind, size, trace, address in events_:
        if kind == "c":
            clock += 10
            lines.append(f"c {clock:x}")
            continue
        if (ended := live.pop(address, None)) is not None and ended[3] < clock:
            expected.append((*ended, clock))
        if kind == "+":
            live[address] = (address, size, trace, clock)
            lines.append(f"+ {size:x} {trace:x} {address:x}")
        else:
            lines.append(f"- {address:x}")
    expected += [(*row, None) for row in live.values()]
    path = write(tmp_path_factory.mktemp("raw"), "".join(line + "\n" for line in lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "_CHUNK_BYTES", chunk_bytes)
        assert rows_of(path) == sorted(expected, key=lambda row: (row[:4], row[4] or 0))


def paths_of(stacks: Stacks) -> list[tuple[str, ...]]:
    return [stacks.path(number) for number in range(1, len(stacks))]


def test_long_chains_of_stacks_are_cut() -> None:
    lines = [b"t 10 0", *(b"t 10 %x" % number for number in range(1, 200_000))]
    path = name_by_module(lines).path(200_000)
    assert path[0] == "(outer frames left out)"
    assert len(path) == 1001


def test_frames_without_the_interpreter_are_modules_and_offsets() -> None:
    stacks = name_by_module(HEAD.encode().split(b"\n"))
    assert paths_of(stacks) == [
        ("libc.so+0x10",),
        ("libc.so+0x10", "p+0x1010"),
        ("libc.so+0x10", "p+0x1020"),
    ]


def test_frames_of_the_interpreter_have_functions_and_lines() -> None:
    text = (
        "v 10400 3\ns 6 /app/p\ns 4 main\ns 8 /src/a.c\ns 4 load\ns 5 inner\ns 22 operator new\n"
        "i 1000 1 2 3 a\nt 1 0\ni 2000 1 5 3 7 4 3 8\nt 2 1\ni 3000 1 6\nt 3 2\ni 4000 1\nt 4 1\n"
        "s 16 <u8 as alloc::vec::X>::f\ni 5000 1 7\nt 5 2\n"
    )
    assert paths_of(_Interpreted({}).stacks(text.encode().split(b"\n"))) == [
        ("main (a.c:10)",),
        ("main (a.c:10)", "load (a.c:8)", "inner (a.c:7)"),
        ("main (a.c:10)", "load (a.c:8)", "inner (a.c:7)"),  # without operator new
        ("main (a.c:10)", "p at 0x4000"),
        ("main (a.c:10)", "load (a.c:8)", "inner (a.c:7)"),  # without Rust's library
    ]


def test_names_of_rust_are_demangled() -> None:
    names = {
        "_$LT$a..Vec$LT$T$C$A$GT$$u20$as$u20$b..Debug$GT$::fmt::h85c6c167a87b8969": (
            "<a::Vec<T,A> as b::Debug>::fmt"
        ),
        "shop::main::_$u7b$$u7b$closure$u7d$$u7d$::h43b36aa92fd6b159": "shop::main::{{closure}}",
    }
    if shutil.which("c++filt"):
        names["_RNvNtCslNYArtu3iFV_5alloc5alloc5alloc"] = "alloc::alloc::alloc"
    assert demangled([*names, "load_catalogue(int)", "main"]) == names


def test_owners_are_aligned_by_the_last_change_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heaptrack, "find_interpreter", lambda: None)
    path = write(tmp_path, "c a\n+ 20 2 1000\nc 14\n- 1000\n+ 8 3 1000\nc 64\n")
    os.utime(path, ns=(10**18, 10**18))
    owners = heaptrack.read(str(path))
    began_ns = 10**18 - 100 * 10**6
    assert owners.since_ns.tolist() == [began_ns + 10 * 10**6, began_ns + 20 * 10**6]
    assert owners.until_ns.tolist() == [began_ns + 20 * 10**6, FOREVER_NS]
    assert [owners.paths[row][-1] for row in owners.owner] == ["p+0x1010", "p+0x1020"]
    assert any("not installed" in note for note in owners.notes)


def test_attached_files_say_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heaptrack, "find_interpreter", lambda: None)
    path = write(tmp_path, "A\n+ 20 2 1000\n")
    assert any("attached" in note for note in heaptrack.read(str(path)).notes)
