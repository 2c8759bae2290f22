"""Rates of a real program, and a pacemaker in the kernel that never outlives its owner.

Private names: the pacemaker has no public switch, and BPF programs no public list.
"""

from __future__ import annotations

import ctypes
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

import pydamon
from pydamon._observe.probes.ebpf import call, survival
from pydamon._workloads.rates import running_rates
from tests.integration.conftest import slowness

WORDS = ("idle", "random:5", "random:50", "random:500")
_PROG_GET_NEXT_ID = 11
_MONITOR = """
import sys, pydamon
with pydamon.monitor(int(sys.argv[1]), engine="sampling", probe="ebpf") as monitor:
    for snapshot in monitor.run("60s"):
        print("ready", flush=True)
"""


@pytest.fixture(autouse=True)
def _needs_the_probe() -> None:
    works = next(probe for probe in pydamon.PROBES if probe.name == "ebpf").availability()
    if not works.works:
        pytest.skip(f"no ebpf probe: {works.reason}")


def shares_of_sets() -> tuple[list[float], list[float]]:
    """What a monitor says of sets of known rates, and the truth: means over 5 s after 4 s."""
    budget = float(slowness())
    with (
        running_rates(WORDS) as program,
        pydamon.monitor(
            program.pid, engine="sampling", probe="ebpf", cpu_budget_percent=budget
        ) as mon,
    ):
        began = time.monotonic()
        snapshots, before = [], program.counters()
        for snapshot in mon.run("9s"):
            if time.monotonic() - began > 4:
                snapshots.append(snapshot)
            else:
                before = program.counters()
        truth = program.shares(before, program.counters()).tolist()
        shares = []
        for low, high in program.ranges:
            of_set = []
            for snapshot in snapshots:
                overlap = np.minimum(snapshot.end, high) - np.maximum(snapshot.start, low)
                overlap = np.maximum(overlap, 0)
                of_set.append((snapshot.access_share * overlap).sum() / max(1, overlap.sum()))
            shares.append(float(np.mean(of_set)))
    return shares, truth


@pytest.mark.long
@pytest.mark.parametrize("tracepoint", [True, False])
def test_rates_are_told_apart(tracepoint: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if slowness() > 1:
        pytest.skip("an emulated CPU is too slow for the program to keep its rates")
    if not tracepoint:
        monkeypatch.setattr(survival, "_attached", lambda _: None)
    told, truth = shares_of_sets()
    assert told[0] < 0.01
    for share, true_share in zip(told[1:], truth[1:], strict=True):
        assert true_share / 3 < share < min(1.0, 3 * true_share)
    assert told[1] < told[2] < told[3]


def test_the_pacemaker_ends_with_its_owner() -> None:
    before = programs()
    with subprocess.Popen(["sleep", "60"]) as target:
        try:
            with subprocess.Popen(
                [sys.executable, "-c", _MONITOR, str(target.pid)], stdout=subprocess.PIPE
            ) as monitor:
                assert monitor.stdout is not None
                assert monitor.stdout.readline() == b"ready\n"
                loaded = programs() - before
                assert loaded
                monitor.send_signal(signal.SIGKILL)
            deadline = time.monotonic() + 10
            while programs() & loaded and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not programs() & loaded
        finally:
            target.kill()


def programs() -> set[int]:
    """The numbers of all BPF programs in the kernel."""
    numbers: set[int] = set()
    last = 0
    while True:
        attr = ctypes.create_string_buffer(struct.pack("=3I", last, 0, 0), 128)
        address = ctypes.addressof(attr)
        if call.syscall(call.BPF, _PROG_GET_NEXT_ID, address, 12) < 0:
            return numbers
        last = struct.unpack_from("=2I", attr)[1]
        numbers.add(last)
