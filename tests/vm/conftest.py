"""A program, and a kdamond of somebody else's that monitors it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pydamon import AccessPattern, Attrs, Scheme
from pydamon._observe.kernel import Kdamond, KdamondSettings, KernelTarget
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN
from tests.integration.conftest import running

ATTRS = Attrs.of("5ms", "100ms", min_regions=20, max_regions=100)
MEMORY = """
import mmap
memory = bytearray(64 << 20)
print("ready", flush=True)
while True:
    sum(memory[: 16 << 20 : mmap.PAGESIZE])
"""


@contextmanager
def foreign(*targets: KernelTarget) -> Iterator[int]:
    """A kdamond as somebody else runs it, with a scheme; its pid."""
    files = Files(ADMIN)
    files.write("nr_kdamonds", 1)
    kdamond = Kdamond(files)
    try:
        everything = Scheme("stat", AccessPattern())
        kdamond.configure(KdamondSettings("vaddr", targets, ATTRS, schemes=(everything,)))
        kdamond.start()
        yield kdamond.pid
    finally:
        kdamond.stop()
        files.write("nr_kdamonds", 0)


@pytest.fixture
def program() -> Iterator[int]:
    with running(sys.executable, "-c", MEMORY) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
