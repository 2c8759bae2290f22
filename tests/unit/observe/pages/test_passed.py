"""Looks at kinds of pages, at this process and at made-up page frames."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pydamon import Cost, Snapshot, Target, UsageError
from pydamon._model.ranges import PAGE_SIZE, Ranges, size_of
from pydamon._observe.linux.frames import ACTIVE, ANON, HUGE, LRU, FrameFile, flags_of, owners_of
from pydamon._observe.linux.process import Process
from pydamon._observe.pages import passed as passed_module
from pydamon._observe.pages.passed import KindRanges, Looks, PassedLooks

HEAD, TAIL = 1 << 15, 1 << 16
PAGES = 64


def address_of(memory: mmap.mmap) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)


def test_anonymous_and_shared_pages_of_this_process_are_told_apart() -> None:
    anon = mmap.mmap(-1, PAGES * PAGE_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    shared = mmap.mmap(-1, PAGES * PAGE_SIZE)
    anon.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(PAGES // 2):
        anon[page * PAGE_SIZE] = 1
        shared[page * PAGE_SIZE] = 1
    process = Process(os.getpid())
    looks = Looks(("anon", "file", "huge"), lambda: {process.pid: process})
    size = PAGES * PAGE_SIZE
    with looks:
        at, beside = address_of(anon), address_of(shared)
        own = looks.find(process.pid, np.array([(at, at + size)]))
        other = looks.find(process.pid, np.array([(beside, beside + size)]))
        assert looks.find(1 << 22, np.array([(at, at + size)])) is None
    assert own is not None
    assert other is not None
    assert own["anon"].tolist() == [[at, at + size // 2]]
    assert size_of(own["file"]) == size_of(other["anon"]) == size_of(own["huge"]) == 0
    assert other["file"].tolist() == [[beside, beside + size // 2]]


def test_young_pages_are_those_that_a_probe_tells() -> None:
    memory = mmap.mmap(-1, PAGES * PAGE_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory[: len(memory)] = b"1" * len(memory)
    process = Process(os.getpid())

    def young(asked: Process, start: int, end: int) -> NDArray[np.bool_]:
        assert asked is process
        return np.arange((end - start) // PAGE_SIZE) < 3

    at = address_of(memory)
    with Looks(("young",), lambda: {process.pid: process}, young) as looks:
        by_kind = looks.find(process.pid, np.array([(at, at + len(memory))]))
    assert by_kind is not None
    assert by_kind["young"].tolist() == [[at, at + 3 * PAGE_SIZE]]


@pytest.fixture
def flags(tmp_path: Path) -> Iterator[FrameFile]:
    words = np.zeros(2048, np.uint64)
    words[10], words[30] = LRU | ACTIVE, LRU | ANON
    words[1024] = int(LRU | ACTIVE | ANON | HUGE) | HEAD
    words[1025:1536] = int(ANON | HUGE) | TAIL
    path = tmp_path / "kpageflags"
    path.write_bytes(words.tobytes())
    with FrameFile(path) as file:
        yield file


def test_words_of_frames_are_read_in_any_order(flags: FrameFile) -> None:
    asked = np.array([30, 1024, 10, 30, 5000])
    bits = int(LRU | ACTIVE | ANON | HUGE) | HEAD
    anon = int(LRU | ANON)
    assert flags.words(asked).tolist() == [anon, bits, int(LRU | ACTIVE), anon, 0]
    assert len(flags.words(np.zeros(0, np.int64))) == 0


def test_pages_of_a_huge_page_are_as_active_as_its_first(flags: FrameFile) -> None:
    told = flags_of(flags, np.array([1024, 1100, 1535]))
    assert ((told & ACTIVE) != 0).all()
    assert ((told & LRU) != 0).all()


def test_pages_of_a_huge_page_have_the_owner_of_its_first(flags: FrameFile, tmp_path: Path) -> None:
    owners = np.zeros(2048, np.uint64)
    owners[[10, 1024]] = 7, 9
    path = tmp_path / "kpagecgroup"
    path.write_bytes(owners.tobytes())
    asked = np.array([10, 1024, 1200, 30])
    with FrameFile(path) as file:
        assert owners_of(file, asked, flags.words(asked)).tolist() == [7, 9, 9, 0]


@pytest.mark.usefixtures("flags")
def test_physical_memory_is_told_by_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passed_module, "_FLAGS", tmp_path / "kpageflags")
    nobody: Mapping[int, Process] = {}
    with Looks(("anon", "file", "active", "huge"), lambda: nobody, physical=True) as looks:
        by_kind = looks.find(0, np.array([(0, 2048 * PAGE_SIZE)]))
    assert by_kind is not None
    pages = {kind: (ranges // PAGE_SIZE).tolist() for kind, ranges in by_kind.items()}
    assert pages == {
        "anon": [[30, 31], [1024, 1536]],
        "file": [[10, 11]],
        "active": [[10, 11], [1024, 1536]],
        "huge": [[1024, 1536]],
    }


def test_a_user_who_may_not_know_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passed_module, "_FLAGS", tmp_path / "missing")
    with pytest.raises(UsageError, match="active needs") as error:
        Looks(("active",), dict)
    assert error.value.hint == "run as root"


class OneLook(Looks):
    """The first half of every range is anonymous."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Ranges]] = []

    def find(self, pid: int, ranges: Ranges) -> KindRanges | None:
        self.asked.append((pid, ranges))
        half = (ranges[:, 0] + ranges[:, 1]) // 2
        return None if pid == 9 else {"anon": np.stack([ranges[:, 0], half], axis=1)}

    def close(self) -> None:
        pass


def test_a_look_at_much_memory_goes_on_from_snapshot_to_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passed_module, "_PATIENCE_NS", 0)
    monkeypatch.setattr(passed_module, "_PIECE_BYTES", 1 << 19)
    look = OneLook()
    looks = PassedLooks(("anon",), look, 3600 * 10**9, None)
    told = [looks.added_to(snapshot()).passed for _ in range(8)]
    known = [passed is not None and bool((passed.of("anon") >= 0).any()) for passed in told]
    # Six pieces: four of the first target, two of the second.
    assert known == [False] * 5 + [True] * 3
    assert len(look.asked) == 6
    assert told[-1] is not None
    assert told[-1].of("anon").tolist() == [1 << 19, 1 << 19, -1]


def snapshot() -> Snapshot:
    start = np.array([0, 1 << 20, 0], np.int64)
    zeros = np.zeros(3, np.int64)
    return Snapshot(
        start_ns=1,
        end_ns=2,
        sampling_ns=1,
        max_nr_accesses=20,
        targets=(Target(7), Target(9)),
        target=np.array([0, 0, 1], np.int32),
        start=start,
        end=start + (1 << 20),
        nr_accesses=zeros,
        age=zeros,
        touched_bytes=zeros,
        unobservable_bytes=zeros,
        cost=Cost(5),
    )


def test_snapshots_have_the_bytes_of_the_last_look() -> None:
    look = OneLook()
    looks = PassedLooks(("anon",), look, 3600 * 10**9, None)
    for _ in range(2):
        told = looks.added_to(snapshot())
        assert told.passed is not None
        assert told.passed.of("anon").tolist() == [1 << 20, 0, -1]
        assert told.cost.cpu_ns > 5
    # Neighbours are looked at as one range, and only once in an update interval.
    assert [pid for pid, _ in look.asked] == [7, 9]
    assert look.asked[0][1].tolist() == [[0, 2 << 20]]


def test_memory_that_is_newer_than_the_last_look_is_not_known() -> None:
    """Nor is it taken for memory that has no such pages; a look at much more comes at once."""
    look = OneLook()
    looks = PassedLooks(("anon",), look, 3600 * 10**9, None)
    first = snapshot()
    looks.added_to(first)
    grown = replace(first, end=first.end + np.array([0, 1 << 19, 0]))
    told = looks.added_to(grown).passed
    assert told is not None
    assert told.of("anon").tolist() == [1 << 20, -1, -1]
    assert len(look.asked) == 2
    grown = replace(first, end=first.end + np.array([0, 8 << 20, 0]))
    told = looks.added_to(grown).passed
    assert told is not None
    # One range of 10 MiB now, whose first half is of the kind.
    assert told.of("anon").tolist() == [1 << 20, 4 << 20, -1]
    assert len(look.asked) == 4
