"""What tracing reads costs a program that reads: calls, their time, and its speed.

python -m tests.effects.reads [MB/s]
python -m tests.vm.run --python -m tests.effects.reads

A program reads a file in steps of 128 KiB, as fast as it can, or so many MB a second. Turns of a
second with and without tracing alternate; with a budget, it is the budget that says when tracing
rests. The kernel counts the calls of the BPF program, and the
time that they take (BPF_ENABLE_STATS, which adds some of its own).

Where functions may not be traced, the program runs for folios that come into the page cache
instead, and what is read is a file with a hole, which is dropped each time.
"""

from __future__ import annotations

import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from pydamon import ProbeUnavailable
from pydamon._observe.cache import layout, tracer
from pydamon._observe.cache.monitor import CacheMonitor
from pydamon._observe.probes.ebpf import loader
from pydamon._observe.probes.ebpf.btf import Btf
from pydamon._observe.probes.ebpf.call import bpf
from tests.integration.conftest import MIB, running

_SECTION = "fentry/folio_mark_accessed"
_TRACEPOINT = "btf_trace_mm_filemap_add_to_page_cache"
_TYPEDEF, _RAW_TRACEPOINT, _ENABLE_STATS = 8, 23, 32
_FILE_MIB, _TURNS = 64, 15
_READER = """
import os, sys, time
path, size, fresh, rate = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "fresh", float(sys.argv[4])
fd, buffer, step = os.open(path, os.O_RDONLY), bytearray(1 << 17), 1 << 17
if fresh:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
print("ready", flush=True)
for line in sys.stdin:
    begin, cpu, done = time.monotonic(), time.process_time(), 0
    while time.monotonic() < begin + float(line):
        if fresh:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for at in range(0, size, step):
            os.preadv(fd, [buffer], at)
        done += size
        if rate:
            time.sleep(max(0, begin + done / rate - time.monotonic()))
    print(done / (time.monotonic() - begin), done / (time.process_time() - cpu), flush=True)
"""


class Turn(NamedTuple):
    """A second of reading."""

    rate: float
    """Bytes a second."""
    speed: float
    """Bytes a second of the program's CPU time."""
    calls_per_s: float
    ns_a_call: float

    @property
    def cpu_percent(self) -> float:
        """What the BPF program takes of a CPU."""
        return self.calls_per_s * self.ns_a_call / 1e7


class Calls:
    """What the kernel counts of a BPF program."""

    def __init__(self, fd: int) -> None:
        self._path = Path(f"/proc/self/fdinfo/{fd}")

    def read(self) -> tuple[int, int]:
        """Calls, and their nanoseconds, since it was loaded."""
        fields = dict(line.split(":", 1) for line in self._path.read_text().splitlines())
        return int(fields["run_cnt"]), int(fields["run_time_ns"])


@contextmanager
def _at_tracepoint(directory: str) -> Iterator[None]:
    """Let the program run for folios that come into the page cache."""

    def read_new_file() -> None:
        path = Path(directory, "own")
        path.unlink(missing_ok=True)
        with path.open("w+b") as file:
            file.truncate(MIB)
            file.read(1)

    number = Btf().type_id(_TRACEPOINT, _TYPEDEF)
    facts = layout.kernel()._replace(function=number)
    kind = replace(loader.PROGRAM_TYPES[_SECTION], attach_type=_RAW_TRACEPOINT)
    with (
        patch.dict(loader.PROGRAM_TYPES, {_SECTION: kind}),
        patch.object(tracer, "kernel", lambda: facts),
        patch.object(tracer, "_read_own_file", read_new_file),
    ):
        yield


def _measured(
    path: Path, how: str, rate: float, budget: float | None, *, follows: bool
) -> list[Turn]:
    """Turns without and with tracing in turn; with a budget, turns that it decides about alone."""
    turns = list[Turn]()
    argv = (sys.executable, "-c", _READER, str(path), str(_FILE_MIB * MIB), how, str(rate))
    with running(*argv) as process, CacheMonitor("reads", budget) as monitor:
        own = monitor._tracer
        assert own is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        calls = Calls(own._object.programs["on_access"].fd)
        if not follows:
            own.lower(1)
        for number in range(2 * _TURNS):
            if budget is None:
                [own.rest, own.start][number % 2]()
            before = calls.read()
            begin = time.monotonic()
            process.stdin.write("1\n")
            process.stdin.flush()
            while budget is not None and time.monotonic() < begin + 0.8:
                time.sleep(0.25)
                monitor.check()
            reached, speed = map(float, process.stdout.readline().split())
            count, spent_ns = (now - then for now, then in zip(calls.read(), before, strict=True))
            elapsed_s = time.monotonic() - begin
            turns.append(Turn(reached, speed, count / elapsed_s, spent_ns / max(1, count)))
    return turns


def main() -> None:
    """Measure, and print a line for each way."""
    rate = 1e6 * float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    with ExitStack() as stack:
        os.environ.setdefault("PYTHONUNBUFFERED", "1")
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        path = Path(directory, "file")
        how = "cached"
        try:
            CacheMonitor("reads", None).close()
            path.write_bytes(os.urandom(MIB) * _FILE_MIB)
        except ProbeUnavailable as error:
            print(f"reads anew, at a tracepoint: {error}")
            stack.enter_context(_at_tracepoint(directory))
            how = "fresh"
            with path.open("wb") as file:
                file.truncate(_FILE_MIB * MIB)
        stats = bpf(_ENABLE_STATS, struct.pack("=I", 0), "count what BPF programs take")
        stack.callback(os.close, stats)
        print(f"load {os.getloadavg()[0]:.1f}; medians of {_TURNS} turns of 1 s")
        for name, budget, follows in (
            ("follows no folio", None, False),
            ("follows all folios", None, True),
            ("budget of 1 %", 1.0, True),
        ):
            turns = _measured(path, how, rate, budget, follows=follows)
            _show(name, turns, alternates=budget is None)


def _show(name: str, turns: list[Turn], *, alternates: bool) -> None:
    traced = turns[1::2] if alternates else turns[_TURNS:]
    rate, calls, ns, percent = (
        statistics.median(values)
        for values in (
            [t.rate for t in traced],
            [t.calls_per_s for t in traced],
            [t.ns_a_call for t in traced],
            [t.cpu_percent for t in traced],
        )
    )
    print(
        f"{name}: {rate / 1e6:,.0f} MB/s, {calls:,.0f} calls/s of {ns:.0f} ns, "
        f"{percent:.2f} % of a CPU (mean {statistics.fmean(t.cpu_percent for t in traced):.2f} %)",
        flush=True,
    )
    if alternates:
        slower = [a.speed / b.speed - 1 for a, b in zip(turns[::2], traced, strict=True)]
        print(f"  the reader takes {100 * statistics.median(slower):.1f} % more CPU time")


if __name__ == "__main__":
    main()
