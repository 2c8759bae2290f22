"""Which lines of a real program own its idle memory, against what the program knows of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pydamon
from pydamon._model.page_size import PAGE_SIZE
from pydamon.analysis import OwnerReport
from pydamon.owners import PROVIDERS

SITES = 20
IN_USE = (0, 5, 10, 15, 17)
KINDS = ("lists", "dicts", "bytes", "arrays", "objects")
PROGRAM = """
import gc, json, mmap, sys, time
import numpy as np

def lists(kib): return [None] * (kib << 7)
def dicts(kib): return dict.fromkeys(range(kib * 10))
def bytes_(kib): return bytearray(b"x") * (kib << 10)
def arrays(kib): return np.ones(kib << 10, np.uint8)
def objects(kib): return [(number, None) for number in range(kib * 16)]

# What Python asks its allocator for, for a number of one digit; sys.getsizeof says 28.
NUMBER = 32
MAKERS = (lists, dicts, bytes_, arrays, objects)

{functions}

def own_size(value):
    return value.nbytes if isinstance(value, np.ndarray) else sys.getsizeof(value)

def full_size(value):
    size = own_size(value)
    if isinstance(value, dict):
        size += NUMBER * len(value)
    if isinstance(value, list) and value[0] is not None:
        size += sum(sys.getsizeof(pair) + NUMBER for pair in value)
    return size

def touch(value):
    if isinstance(value, np.ndarray):
        value += 1
    elif isinstance(value, bytearray):
        value[:: mmap.PAGESIZE] = value[:: mmap.PAGESIZE]
    elif isinstance(value, dict):
        sum(1 for _ in value.items())
    else:
        for pair in value:
            if pair is not None:
                pair[0] + 1

values = [site() for site in SITES]
gc.freeze(); gc.disable()
size = full_size if sys.argv[2:] else own_size
print(json.dumps([size(value) for value in values]), flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for number in {in_use}:
        touch(values[number])
    time.sleep(0.05)
"""


def _program(directory: Path) -> Path:
    lines = [
        f"def site_{number}(): return MAKERS[{number % 5}]({1024 * (1 + number // 5)})"
        for number in range(SITES)
    ]
    lines.append("SITES = (" + ", ".join(f"site_{number}" for number in range(SITES)) + ")")
    code = PROGRAM.replace("{functions}", "\n".join(lines)).replace("{in_use}", str(IN_USE))
    path = directory / "sites.py"
    path.write_text(code)
    return path


@pytest.fixture(autouse=True)
def _needs_memray_and_the_probe() -> None:
    pytest.importorskip("memray", reason="memray is not installed: pip install 'pydamon[memray]'")
    works = next(probe for probe in pydamon.PROBES if probe.name == "ebpf").availability()
    if not works.works:
        pytest.skip(f"no ebpf probe: {works.reason}")


def _recorded(directory: Path, *options: str) -> tuple[list[int], OwnerReport]:
    """What the program says of its sites, and what the report does."""
    out = directory / "sites.damon"
    words = [sys.executable, "-m", "pydamon", "record", "--engine", "sampling", "--memray"]
    # With the default budget, looks at pages may be 20 s apart on a busy machine: what was used at
    # the start still counts as used at the end.
    words += ["--cpu-budget", "5", *options, "--out", str(out)]
    words += ["--", sys.executable, str(_program(directory)), "30"]
    words += options  # the program then counts small objects, too
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    sizes = [int(size) for size in done.stdout.splitlines()[0].strip("[]").split(",")]
    memray = next(provider for provider in PROVIDERS if provider.name == "memray")
    told = memray.read(str(out.with_suffix(".memray")))
    return sizes, pydamon.analysis.owners(pydamon.open_recording(str(out)), told)


@pytest.mark.live
@pytest.mark.long
def test_idle_bytes_of_each_line_are_what_the_program_knows(tmp_path: Path) -> None:
    sizes, report = _recorded(tmp_path)
    assert report.is_by_page
    for number, size in enumerate(sizes):
        use = report.below(f"site_{number} ")
        if KINDS[number % 5] == "objects":
            continue  # they are in arenas, which belong to nobody
        known = 0 if number in IN_USE else size
        tolerated = 0.05 * size + 2 * PAGE_SIZE
        assert abs(use.idle_bytes - known) <= tolerated, (number, use, size)
        assert abs(use.allocated_bytes - size) <= tolerated


@pytest.mark.live
@pytest.mark.long
def test_small_objects_are_told_as_far_as_pages_allow(tmp_path: Path) -> None:
    sizes, report = _recorded(tmp_path, "--memray-objects")
    for number, size in enumerate(sizes):
        use = report.below(f"site_{number} ")
        known = 0 if number in IN_USE else size
        tolerated = 0.05 * size + 2 * PAGE_SIZE + use.shared_bytes
        assert abs(use.idle_bytes - known) <= tolerated, (number, use, size)
    total = report.total()
    assert total.shared_bytes < 0.1 * total.resident_bytes
