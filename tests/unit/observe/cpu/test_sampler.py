"""Which functions run: names from symbol tables, and samples of a process that runs."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import pydamon
from pydamon import CpuUse, ProbeUnavailable, UsageError
from pydamon._observe.cpu.sampler import CpuSampler, samples_in
from pydamon._observe.cpu.symbols import SymbolTable
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.monitor import Monitor


def place_of(function: str) -> tuple[str, int]:
    """The file that a function of the C library is in, and its place there."""
    address = ctypes.cast(getattr(ctypes.CDLL(None), function), ctypes.c_void_p).value
    assert address is not None
    (mapping,) = (
        each
        for each in parse_maps(read_maps(os.getpid())).mappings
        if each.start <= address < each.end
    )
    return mapping.name, address - mapping.start + mapping.offset


@pytest.mark.parametrize("function", ["qsort", "getenv"])
def test_functions_of_a_library_are_named(function: str) -> None:
    path, offset = place_of(function)
    table = SymbolTable.read(path)
    assert table is not None
    assert table.name_at(offset) == table.name_at(offset + 1) == function
    assert table.name_at(0) == ""
    assert table.name_at(2**40) == ""


def test_no_file_can_do_harm(tmp_path: Path) -> None:
    whole = Path(place_of("qsort")[0]).read_bytes()
    pipe, odd = tmp_path / "pipe", tmp_path / "odd"
    os.mkfifo(pipe)
    assert SymbolTable.read(pipe) is None
    assert SymbolTable.read(tmp_path / "missing") is None
    for data in (
        b"",
        whole[:63],
        whole[:4096],
        whole[:40] + struct.pack("<Q", 2**63 - 8) + whole[48:],  # sections behind the end
        whole[:32] + struct.pack("<Q", 2**64 - 1) + whole[40:],
    ):
        odd.write_bytes(data)
        assert SymbolTable.read(odd) is None


def test_names_without_an_end_take_no_time(tmp_path: Path) -> None:
    count = 1 << 18
    symbols = np.zeros(count, np.dtype("<u4, u1, u1, <u2, <u8, <u8"))
    symbols["f1"], symbols["f3"], symbols["f4"], symbols["f5"] = 2, 1, np.arange(count), 1
    names = bytes([1 << 6]) * (32 << 20)
    header = struct.pack("<4sBB26xQQ8xHHH2x", b"\x7fELF", 2, 1, 64, 128, 1, 0, 2)
    loaded = struct.pack("<IIQQQQ24x", 1, 0, 0, 0, 0, 1 << 40)
    tables = (
        struct.pack("<4xI16xQQI20x", kind, place, size, 1)
        for kind, place, size in ((2, 256, symbols.nbytes), (3, 256 + symbols.nbytes, len(names)))
    )
    file = tmp_path / "odd"
    file.write_bytes(b"".join((header, loaded.ljust(64, b"\0"), *tables, symbols.tobytes(), names)))
    began_s = time.process_time()
    table = SymbolTable.read(file)
    assert table is not None
    assert {table.name_at(offset) for offset in (0, count - 1)} == {"@" * 500}
    # To look for the end of each name took 1 ms and more.
    assert time.process_time() - began_s < count / 2**16


def test_what_the_kernel_lost_is_told() -> None:
    sample = struct.pack("=IHHQiiq", 9, 1, 32, 0x1234, 7, 8, 99)
    lost = struct.pack("=IHHQQ", 2, 0, 24, 1, 5)
    samples, is_lost = samples_in(sample + lost + sample)
    assert (samples["address"].tolist(), samples["pid"].tolist(), is_lost) == (
        [0x1234, 0x1234],
        [7, 7],
        True,
    )
    assert not samples_in(sample)[1]
    assert len(samples_in(sample[:20] + bytes(2))[0]) == 0


def test_a_monitor_without_processes_has_no_functions() -> None:
    with (
        pydamon.simulate(pydamon.Trace((pydamon.Phase(10**9),)), [(0, 1 << 20)]) as mon,
        pytest.raises(UsageError, match="only processes"),
    ):
        CpuSampler(mon)


_BUSY = """
import sys, zlib
data = bytes(range(256)) * 4096
print(flush=True)
while True: zlib.crc32(data)
"""


@pytest.mark.live
def test_a_busy_function_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE) as busy:
        try:
            assert busy.stdout is not None
            busy.stdout.readline()
            with pydamon.monitor(busy.pid, probe="refs", aggr="200ms") as mon:
                ran, used_s = sampled(mon, busy.pid)
        finally:
            busy.kill()
    total = sum(ran.values())
    # 199 a second of CPU time, however little of it the machine gave.
    assert total == pytest.approx(199 * used_s, rel=0.5, abs=10)
    crc = sum(count for (name, file), count in ran.items() if "crc" in name or "libz" in file)
    assert crc > total / 2


def sampled(mon: Monitor, pid: int) -> tuple[Counter[tuple[str, str]], float]:
    """How often each function ran in the snapshots of a second, and the CPU time of the process."""
    ran: Counter[tuple[str, str]] = Counter()
    try:
        sampler = CpuSampler(mon, 199)
    except ProbeUnavailable as error:
        pytest.skip(str(error))
    begin_ns = cpu_ns(pid)
    with sampler:
        for snapshot in map(sampler.added_to, mon.run("1s")):
            for use in filter(None, snapshot.cpu_use):
                assert isinstance(use, CpuUse)
                for name, file, count in use.functions:
                    ran[name, file] += count
    return ran, (cpu_ns(pid) - begin_ns) / 1e9


def cpu_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
