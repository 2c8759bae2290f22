"""What is read from /proc about single pages, as different kernels show it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from pydamon._model.regions import PAGE_SIZE
from pydamon._observe.linux import pages as pageflags
from pydamon._observe.linux.pages import PageFlags
from pydamon._observe.linux.process import Process

PRESENT, EXCLUSIVE = 1 << 63, 1 << 56
LRU, HEAD, TAIL = 1 << 5, 1 << 15, 1 << 16
FIRST = 512
"""The frame of the first page of a huge page, which maps addresses from 0 on."""


def read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: int, first: int, others: int
) -> list[bool]:
    """Whether some pages of a huge page can be cleared, by entry of pagemap and kpageflags."""
    frames = [0] * FIRST + [first] + [others] * 511
    (tmp_path / "kpageflags").write_bytes(struct.pack("=1024Q", *frames))
    pagemap = [entry | (FIRST + page) for page in range(512)]
    (tmp_path / "pagemap").write_bytes(struct.pack("=512Q", *pagemap))
    monkeypatch.setattr(pageflags, "_FRAMES", tmp_path / "kpageflags")
    process = Process(os.getpid())
    monkeypatch.setattr(process, "open", lambda name: os.open(tmp_path / name, os.O_RDONLY))
    flags = PageFlags(process)
    try:
        return [flags.can_be_cleared(page * PAGE_SIZE) for page in (0, 1, 511)]
    finally:
        flags.close()
        process.close()


@pytest.mark.parametrize("others", [TAIL | LRU, TAIL], ids=["Linux 6.12", "Linux 6.1"])
def test_every_part_of_a_huge_page_can_be_cleared(
    others: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(tmp_path, monkeypatch, PRESENT | EXCLUSIVE, HEAD | LRU, others) == [True] * 3


@pytest.mark.parametrize(
    ("entry", "first"), [(PRESENT | EXCLUSIVE, HEAD), (PRESENT, HEAD | LRU), (0, HEAD | LRU)]
)
def test_pages_off_the_lists_or_shared_or_absent_cannot(
    entry: int, first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(tmp_path, monkeypatch, entry, first, TAIL) == [False] * 3
