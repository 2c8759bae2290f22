"""Replays of recordings: they look like the original, and they end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from pydamon import MonitorOptions, Recording, monitor
from pydamon.analysis import heatmap, working_set
from pydamon.analysis import needs as memory_needs
from pydamon.workloads import Running, Workload, from_recording, parse, pattern
from tests.integration.conftest import MIB, needs, slowness
from tests.integration.test_record import PYDAMON
from tests.recordings import record, snapshot, target

pytestmark = pytest.mark.live

_PHASE_MS = 3000
_LENGTH_S = 12
_RATES = """
comb, 8388608
random, 8388608

both
60000
comb, 0, 65536, 1, wo
random, 1, 0, 1, wo
"""


def test_places_are_accessed_at_their_rates() -> None:
    config = parse(_RATES)
    comb, random = config.phases[0].patterns
    patterns = (replace(comb, rate_hz=40.0), replace(random, rate_hz=5.0, stride=8192))
    config = replace(config, phases=(replace(config.phases[0], patterns=patterns),))
    with Workload("rates", "", config).start() as running:
        begin_ns = time.monotonic_ns()
        time.sleep(2)
        end_ns = time.monotonic_ns()
        pages = {page.region: page for page in running.truth.pages(begin_ns, end_ns)}
    in_comb, at_random = (pages[name].rate_hz for name in ("comb", "random"))
    assert np.count_nonzero(in_comb) == 8 * MIB // 65536
    assert in_comb[in_comb > 0].mean() == pytest.approx(40, rel=0.15)
    assert np.count_nonzero(at_random) == MIB // 1024
    assert at_random[at_random > 0].mean() == pytest.approx(5, rel=0.15)
    assert pages["random"].accessed_bytes == pytest.approx(4 * MIB, rel=0.01)


def test_scattered_places_are_accessed_at_their_rates() -> None:
    config = parse(_RATES)
    comb, random = config.phases[0].patterns
    patterns = (
        replace(comb, rate_hz=40.0, places=100),
        replace(random, rate_hz=20.0, places=300),
    )
    config = replace(config, phases=(replace(config.phases[0], patterns=patterns),))
    with Workload("rates", "", config).start() as running:
        begin_ns = time.monotonic_ns()
        time.sleep(1)
        end_ns = time.monotonic_ns()
        pages = {page.region: page for page in running.truth.pages(begin_ns, end_ns)}
    for name, places, rate_hz in (("comb", 100, 40), ("random", 300, 20)):
        rates = pages[name].rate_hz
        assert np.count_nonzero(rates) == places
        assert rates[rates > 0].mean() == pytest.approx(rate_hz, rel=0.2)


def test_accesses_are_spread_over_time() -> None:
    """Not made all at once: samples would see every page of a region, or none."""
    config = parse(_RATES)
    comb, random = config.phases[0].patterns
    patterns = (replace(comb, rate_hz=20.0), replace(random, rate_hz=2.0))
    config = replace(config, phases=(replace(config.phases[0], patterns=patterns),))
    workload = Workload("rates", "", config, period_ms=1, report_ms=10)
    with workload.start() as running:
        time.sleep(2)
        (phase,) = running.truth.phases
    at_ns, touched = np.array(phase.at_ns[1:]), np.array(phase.touched[1:])
    per_s = np.diff(touched, axis=0) / (np.diff(at_ns)[:, None] / 1e9)
    # Of 10 ms each: 26 and 41 accesses.
    for rates, wanted in zip(per_s.T, (20 * 128, 2 * 2048), strict=True):
        assert np.median(abs(rates / wanted - 1)) < 0.2


def recording_of(pid: int) -> Recording:
    options = MonitorOptions(
        probe="ebpf", aggr="200ms", cpu_budget_percent=min(50, 10 * slowness())
    )
    with monitor(pid, engine="sampling", options=options) as mon:
        return Recording.from_snapshots(mon.run(f"{_LENGTH_S}s"))


def recorded(running: Running) -> tuple[Recording, tuple[int, int]]:
    """Record a workload, and return where its regions are."""
    recording = recording_of(running.pid)
    starts, ends = zip(*running.truth.regions.values(), strict=True)
    return recording, (min(starts), max(ends))


@pytest.mark.long
@needs("ebpf")
@pytest.mark.parametrize("name", ["stairs", "phases", "gradient"])
def test_a_replay_looks_like_the_original(name: str) -> None:
    workload = pattern(name)
    phases = tuple(replace(phase, duration_ms=_PHASE_MS) for phase in workload.config.phases)
    workload = replace(workload, config=replace(workload.config, phases=phases))
    with workload.start() as running:
        before, place = recorded(running)
    began_ns = int(before.per_snapshot("start_ns")[0])
    with from_recording(before.slice(addresses=place)).start() as running:
        replay_began_ns = time.time_ns()
        after, replay_place = recorded(running)
    # The first second of a recording tells little.
    span_ns = (10**9, (_LENGTH_S - 1) * 10**9)
    maps = [
        heatmap(
            recording,
            50,
            40,
            addresses=addresses,
            time_ns=(start_ns + span_ns[0], start_ns + span_ns[1]),
        ).rates
        for recording, addresses, start_ns in (
            (before, place, began_ns),
            (after, (replay_place[1] - (place[1] - place[0]), replay_place[1]), replay_began_ns),
        )
    ]
    known = ~np.isnan(maps[0]) & ~np.isnan(maps[1])
    assert np.corrcoef(maps[0][known], maps[1][known])[0, 1] >= 0.9
    medians = [
        working_set(recording.slice(addresses=addresses)).total.median
        for recording, addresses in ((before, place), (after, replay_place))
    ]
    assert medians[1] == pytest.approx(medians[0], rel=0.05)


_CACHE = """
import ctypes, mmap, random, time
memory = mmap.mmap(-1, 128 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
pages = len(memory) // mmap.PAGESIZE
for page in range(pages):
    memory[page * mmap.PAGESIZE] = 1
print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
while True:
    for _ in range(16):
        memory[random.randrange(pages // 8) * mmap.PAGESIZE]
    memory[random.randrange(pages) * mmap.PAGESIZE]
    time.sleep(0.001)
"""
"""In a cache of 128 MiB, 16 of 17 requests are for 16 MiB, at random."""


@pytest.mark.long
@needs("ebpf")
def test_a_replay_of_a_program_with_random_accesses() -> None:
    """Single windows of two recordings of such a program differ by chance: means must not."""
    with subprocess.Popen([sys.executable, "-c", _CACHE], stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout is not None
            start = int(program.stdout.readline())
            before = recording_of(program.pid)
        finally:
            program.kill()
    size = 128 * MIB
    with from_recording(before.slice(addresses=(start, start + size))).start() as running:
        after = recording_of(running.pid)
        end = max(end for _, end in running.truth.regions.values())
    rows, sizes, kept, back = [], [], [], []
    for each, place in ((before, (start, start + size)), (after, (end - size, end))):
        part = each.slice(addresses=place, start_ns=int(each.per_snapshot("start_ns")[0]) + 10**9)
        rows.append(heatmap(part, 40, 1, addresses=place).rates[:, 0])
        sizes.append(working_set(part).total.median)
        point = memory_needs(each.slice(addresses=place)).total.at(4 * 10**9)
        assert point is not None
        kept.append(point.kept_bytes)
        back.append(point.refaults_per_s)
    assert np.corrcoef(rows[0], rows[1])[0, 1] >= 0.95
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)
    assert kept[1] == pytest.approx(kept[0], rel=0.15)
    assert back[1] == pytest.approx(back[0], rel=0.3)


@pytest.fixture
def half_hot(tmp_path: Path) -> Path:
    """A recording of a second: 4 MiB hot, 4 MiB idle."""
    app = target(7, "app")
    regions = [(0, MIB, 5 * MIB, 20, 0), (0, 5 * MIB, 9 * MIB, 0, 0)]
    record(tmp_path / "app.damon", (snapshot((app,), regions, n) for n in range(10)))
    return tmp_path / "app.damon"


@contextmanager
def replaying(*argv: str | Path) -> Iterator[subprocess.Popen[str]]:
    """`pydamon replay --json`, in a session of its own, as a terminal would start it."""
    pipe = subprocess.PIPE
    command = [*PYDAMON, "replay", "--json", *map(str, argv)]
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_replay_ends_by_itself(half_hot: Path) -> None:
    with replaying(half_hot) as process:
        text, messages = process.communicate(timeout=60)
    document = json.loads(text)
    assert process.returncode == 0
    assert document["size_bytes"] == 8 * MIB
    hot, idle = document["regions"]
    assert idle["start"] - hot["start"] == hot["size_bytes"] == 4 * MIB
    assert messages.startswith("app (pid 7): 8 MiB in 2 regions and 1 phase of 1 s;")
    assert f"replaying in process {document['pid']}" in messages
    assert messages.splitlines()[2].endswith("of 1 s replayed")
    assert not psutil.pid_exists(document["pid"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_replay(half_hot: Path, number: signal.Signals) -> None:
    with replaying(half_hot, "--speed", "0.01") as process:
        assert process.stdout is not None
        pid = json.loads(process.stdout.readline())["pid"]
        resident = psutil.Process(pid).memory_info().rss
        # Ctrl-C reaches both processes.
        for each in (pid, process.pid) if number == signal.SIGINT else (process.pid,):
            psutil.Process(each).send_signal(number)
        _, messages = process.communicate(timeout=60)
    assert resident >= 8 * MIB
    assert process.returncode == 0
    assert messages.splitlines()[-1].endswith("of 1 min 40 s replayed")
    assert "Traceback" not in messages
    assert not psutil.pid_exists(pid)


def test_a_replay_whose_process_dies(half_hot: Path) -> None:
    with replaying(half_hot, "--speed", "0.01") as process:
        assert process.stdout is not None
        psutil.Process(json.loads(process.stdout.readline())["pid"]).kill()
        _, messages = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "pydamon: the process ended after" in messages
    assert "--scale" in messages
