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
from pydamon._observe.probes.ebpf import loader, survival
from pydamon._workloads.rates import running_rates

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


def shares_of_sets() -> list[float]:
    """What a monitor says of sets of known rates: means over 5 s after 4 s."""
    with (
        running_rates(WORDS) as program,
        pydamon.monitor(program.pid, engine="sampling", probe="ebpf") as mon,
    ):
        began = time.monotonic()
        snapshots = [s for s in mon.run("9s") if time.monotonic() - began > 4]
        shares = []
        for low, high in program.ranges:
            of_set = []
            for snapshot in snapshots:
                overlap = np.minimum(snapshot.end, high) - np.maximum(snapshot.start, low)
                overlap = np.maximum(overlap, 0)
                of_set.append((snapshot.access_share * overlap).sum() / max(1, overlap.sum()))
            shares.append(float(np.mean(of_set)))
    return shares


@pytest.mark.parametrize("tracepoint", [True, False])
def test_rates_are_told_apart(tracepoint: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not tracepoint:
        monkeypatch.setattr(survival, "_attached", lambda _: None)
    idle, rare, medium, often = shares_of_sets()
    assert idle < 0.01
    assert 0.008 < rare < 0.075  # 0.025 in truth
    assert 0.1 < medium < 0.45  # 0.22
    assert often > 0.6  # 0.92
    assert rare < medium < often


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
        if loader._syscall(loader._BPF, _PROG_GET_NEXT_ID, address, 12) < 0:
            return numbers
        last = struct.unpack_from("=2I", attr)[1]
        numbers.add(last)
