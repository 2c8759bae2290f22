"""The state of single pages in /proc, as different kernels show it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from pydamon._model.regions import PAGE_SIZE
from pydamon._observe.linux import pagemap as pages_module
from pydamon._observe.linux.pagemap import FILE, SWAPPED, ProcessPages
from pydamon._observe.linux.pagemap import PRESENT as RESIDENT
from pydamon._observe.linux.process import Process

PRESENT, EXCLUSIVE = 1 << 63, 1 << 56
LRU, HEAD, TAIL = 1 << 5, 1 << 15, 1 << 16
FIRST = 512
"""The frame of the first page of a huge page, which maps addresses from 0 on."""


def can_be_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: int, first: int, others: int
) -> list[bool]:
    """Whether pages of a huge page can be cleared, by their entry and their frames' flags."""
    frames = [0] * FIRST + [first] + [others] * 511
    (tmp_path / "kpageflags").write_bytes(struct.pack("=1024Q", *frames))
    pagemap = [entry | (FIRST + page) for page in range(512)]
    (tmp_path / "pagemap").write_bytes(struct.pack("=512Q", *pagemap))
    monkeypatch.setattr(pages_module, "_KPAGEFLAGS", tmp_path / "kpageflags")
    process = Process(os.getpid())
    monkeypatch.setattr(process, "open", lambda name: os.open(tmp_path / name, os.O_RDONLY))
    with ProcessPages(process) as pages:
        try:
            return [pages.can_be_cleared(page * PAGE_SIZE) for page in (0, 1, 511)]
        finally:
            process.close()


@pytest.mark.parametrize("others", [TAIL | LRU, TAIL], ids=["Linux 6.12", "Linux 6.1"])
def test_every_part_of_a_huge_page_can_be_cleared(
    others: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        can_be_cleared(tmp_path, monkeypatch, PRESENT | EXCLUSIVE, HEAD | LRU, others) == [True] * 3
    )


@pytest.mark.parametrize(
    ("entry", "first"), [(PRESENT | EXCLUSIVE, HEAD), (PRESENT, HEAD | LRU), (0, HEAD | LRU)]
)
def test_pages_off_the_lists_or_shared_or_absent_cannot(
    entry: int, first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_be_cleared(tmp_path, monkeypatch, entry, first, TAIL) == [False] * 3


def test_runs_of_pages_where_the_kernel_cannot_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped, file = 1 << 62, 1 << 61
    entries = [PRESENT, PRESENT, swapped, 0, PRESENT | file, PRESENT | file]
    (tmp_path / "pagemap").write_bytes(struct.pack(f"={len(entries)}Q", *entries))
    process = Process(os.getpid())
    monkeypatch.setattr(process, "open", lambda name: os.open(tmp_path / name, os.O_RDONLY))
    with ProcessPages(process) as pages:
        end = len(entries) * PAGE_SIZE
        # A plain file knows no PAGEMAP_SCAN, as an old kernel. What lies behind it is absent.
        runs = pages.runs(np.array([[0, end], [end, 2 * end]]))
        rows = zip(runs.start // PAGE_SIZE, runs.end // PAGE_SIZE, runs.flags, strict=True)
        assert list(rows) == [(0, 2, RESIDENT), (2, 3, SWAPPED), (4, 6, RESIDENT | FILE)]
        assert runs.bytes_with(RESIDENT) == 4 * PAGE_SIZE
        assert runs.ranges(runs.flags != FILE).tolist() == [
            [0, 3 * PAGE_SIZE],
            [4 * PAGE_SIZE, 6 * PAGE_SIZE],
        ]
        frames = pages.frames(0, end)
        assert frames.shared.tolist() == [entry & PRESENT != 0 for entry in entries]
        assert pages.refusal == ""
    process.close()


def test_pages_that_cannot_be_read_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> int:
        raise PermissionError(13, "Permission denied")

    process = Process(os.getpid())
    monkeypatch.setattr(process, "open", refuse)
    with ProcessPages(process) as pages:
        assert pages.refusal == "Permission denied"
        assert not len(pages.runs(np.array([[0, PAGE_SIZE]])).start)
        assert not pages.frames(0, PAGE_SIZE).frame.any()
        assert not pages.can_be_cleared(0)
    process.close()
