"""Capture files of memray: lifetimes and times of allocations, and how programs start under it.

What reads captures is private, and is what is tested here. Only the last test needs memray itself.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pydamon import UsageError
from pydamon._owners.allocations import ENDLESS
from pydamon._owners.memray import changes, mapped_lifetimes
from pydamon._owners.memray.clock import RecordClock, anchors
from pydamon._owners.memray.records import Capture, Kinds, MapRecord, path_of, read_records
from pydamon._owners.memray_run import memray_command
from pydamon.owners import PROVIDERS
from tests.command_line import main

KINDS = Kinds(frees=(2,), maps=10, unmaps=11)
MALLOC, FREE, MAP, UNMAP = 1, 2, 10, 11


def captured(*rows: tuple[int, int, int]) -> Capture:
    """What is read of records with these addresses, sizes and kinds, each of a stack of its own."""
    records = [
        SimpleNamespace(
            address=address,
            size=size,
            allocator=kind,
            stack_id=number,
            native_stack_id=0,
            native_segment_generation=0,
            stack_trace=list,
        )
        for number, (address, size, kind) in enumerate(rows)
    ]
    metadata = SimpleNamespace(has_native_traces=False)
    reader = SimpleNamespace(get_allocation_records=lambda: records, metadata=metadata)
    return read_records(reader, KINDS)


def test_an_address_that_is_used_again_has_two_lifetimes() -> None:
    told = captured((16, 8, MALLOC), (64, 8, MALLOC), (16, 0, FREE), (16, 4, MALLOC), (99, 0, FREE))
    lifetimes = told.allocations
    rows = sorted(zip(lifetimes.since.tolist(), lifetimes.until.tolist(), strict=True))
    assert rows == [(0, 2), (1, ENDLESS), (3, ENDLESS)]
    assert changes(told).tolist() == [8, 8, -8, 4, 0]


def test_a_free_that_was_missed_ends_with_the_next_allocation() -> None:
    told = captured((16, 8, MALLOC), (16, 8, MALLOC))
    assert sorted(told.allocations.until.tolist()) == [1, ENDLESS]
    assert changes(told).tolist() == [8, 8]


def test_munmap_takes_a_part() -> None:
    told = captured((0, 4096, MAP), (1024, 1024, UNMAP), (0, 1024, UNMAP))
    assert told.maps[1] == MapRecord(1, 1024, 2048, -1)
    change = np.zeros(3, np.int64)
    rows = [(m.start, m.end, m.until) for m in mapped_lifetimes(told.maps, change)]
    assert sorted(rows) == [(0, 1024, 2), (1024, 2048, 1), (2048, 4096, ENDLESS)]
    assert change.tolist() == [4096, -1024, -1024]


def test_a_mapping_may_take_the_place_of_several() -> None:
    told = captured((20, 10, MAP), (0, 10, MAP), (10, 10, MAP), (40, 5, MAP), (5, 20, MAP))
    change = np.zeros(5, np.int64)
    rows = [(m.start, m.end, m.since, m.until) for m in mapped_lifetimes(told.maps, change)]
    ended = [
        (0, 5, 1, ENDLESS),
        (5, 10, 1, 4),
        (10, 20, 2, 4),
        (20, 25, 0, 4),
        (25, 30, 0, ENDLESS),
    ]
    assert sorted(rows) == sorted([*ended, (5, 25, 4, ENDLESS), (40, 45, 3, ENDLESS)])
    assert change.tolist() == [10, 10, 10, 5, 0]


@pytest.mark.parametrize("row", [(2**63, 8, MALLOC), (16, 2**64 - 8, MALLOC), (2**62, 8, MAP)])
def test_impossible_addresses_are_damage(row: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="damaged"):
        captured((16, 8, MALLOC), row)


def test_times_come_from_the_size_of_the_heap() -> None:
    heap = np.array([10, 30, 30, 50, 20])
    moments = np.array([(1000, 0), (1010, 30), (1020, 30), (1030, 20)])
    counts, times_ns = anchors(heap, moments)
    assert counts.tolist() == [0, 2, 2, 5]
    assert (times_ns // 10**6).tolist() == [1000, 1010, 1020, 1030]
    clock = RecordClock(heap, moments, 0)
    milliseconds = clock.at(np.arange(5, dtype=np.uint32)) / 10**6
    assert milliseconds[:2].tolist() == [1005, 1010]
    assert (milliseconds[2:] > 1020).all()
    assert (np.diff(milliseconds) >= 0).all()
    assert "10 ms" in clock.note


def test_without_moments_allocations_count_from_the_start() -> None:
    clock = RecordClock(np.array([10, 20]), np.zeros((0, 2), np.int64), 7)
    assert clock.at(np.arange(2, dtype=np.uint32)).tolist() == [7, 7]
    assert "does not say" in clock.note


def test_paths_are_root_first_without_the_frames_of_memray() -> None:
    frames = [
        ("ones", "/x/lib/python3.11/site-packages/numpy/numeric.py", 5),
        ("load", "/home/me/app.py", 88),
        ("run_path", "<frozen runpy>", 1),
        ("_run_tracker", "/x/site-packages/memray/commands/run.py", 83),
    ]
    assert path_of(frames) == ("load (app.py:88)", "ones (numpy/numeric.py:5)")
    native = ("_PyObject_Malloc", "obmalloc.c", 1), ("PyMem_RawCalloc", "obmalloc.c", 2)
    assert path_of([*native, *frames]) == path_of(frames)
    assert path_of([]) == ("(no Python frame)",)


def test_only_python_programs_run_under_memray(tmp_path: Path) -> None:
    capture = tmp_path / "a.memray"
    with pytest.raises(UsageError, match="no Python program"):
        memray_command(["true"], capture, objects=False, force=False)
    with pytest.raises(UsageError, match="no program is named"):
        memray_command(["python3", "-X", "dev"], capture, objects=False, force=False)
    capture.touch()
    with pytest.raises(UsageError, match="exists already"):
        memray_command([sys.executable, "a.py"], capture, objects=False, force=False)


def test_sources_that_cannot_be_read_are_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["report", "owners", "missing.damon"],
        ["report", "owners", "missing.damon", "--memray", str(tmp_path / "missing")],
        ["report", "owners", "missing.damon", "--where", "age > 1s"],
        ["record", "--memray"],
        ["record", "--memray-objects", "--", "true"],
    ):
        assert main(words) != 0
        told = capsys.readouterr().err
        assert len(told.strip().splitlines()) <= 3
        assert "Traceback" not in told


def test_a_capture_file_tells_who_allocated(tmp_path: Path) -> None:
    pytest.importorskip("memray", reason="memray is not installed: pip install 'pydamon[memray]'")
    program, capture = tmp_path / "app.py", tmp_path / "app.memray"
    program.write_text(
        "def keep(): return bytearray(3 << 20)\n"
        "def drop(): return bytearray(5 << 20)\n"
        "kept = keep()\n"
        "drop()\n"
    )
    words = memray_command([sys.executable, str(program)], capture, objects=False, force=False)
    subprocess.run(words, check=True, timeout=120)
    memray = next(provider for provider in PROVIDERS if provider.name == "memray")
    owners = memray.read(str(capture))
    sizes = {
        path[-1]: int(size)
        for path, size in zip(
            (owners.paths[number] for number in owners.owner),
            owners.end - owners.start,
            strict=True,
        )
        if size > 1 << 20
    }
    assert sizes["keep (app.py:1)"] == pytest.approx(3 << 20, abs=64)
    dropped = [n for n, path in enumerate(owners.paths) if path[-1].startswith("drop")]
    assert (owners.until_ns[np.isin(owners.owner, dropped)] < 2**62).all()
    with pytest.raises(UsageError, match="no capture file"):
        memray.read(str(program))
