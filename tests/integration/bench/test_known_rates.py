"""Programs at known rates, and loops that count what they lose: what they say of themselves.

Private names: the benchmarks have no public interface but the command.
"""

from __future__ import annotations

import time
from contextlib import closing

import numpy as np
import psutil
import pytest

from pydamon._bench import spinning
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.probes.ebpf.probe import EbpfProbe
from pydamon._workloads.rates import running_rates
from tests.integration.conftest import needs

pytestmark = pytest.mark.live

WORDS = ("idle", "random:20", "random:200", "scan:100")


@needs("ebpf")
def test_an_exact_look_sees_the_rates_that_are_counted() -> None:
    seen, lengths_s = [], []
    with running_rates(WORDS, mib=1) as workload:
        start, end = workload.ranges[0][0], workload.ranges[-1][1]
        with closing(Process(workload.pid)) as process, EbpfProbe().open() as session:
            session.set_targets([process], [parse_maps(read_maps(workload.pid))])
            begin_s = time.monotonic()
            while time.monotonic() < begin_s + 2:
                before_s = time.monotonic()
                session.scan(0, start, end, clear=True)
                cleared_s = time.monotonic()
                time.sleep(0.005)
                read_s = time.monotonic()
                bits = session.scan(0, start, end, clear=False)
                seen.append(bits.accessed.reshape(len(WORDS), -1).mean(axis=1))
                lengths_s.append((read_s + time.monotonic() - before_s - cleared_s) / 2)
            end_s = time.monotonic()
        log = workload.truth()
        counted = np.diff([np.interp([begin_s, end_s], log.time_s, row) for row in log.accesses.T])
    idle, slow, fast, scanned = np.mean(seen, axis=0)
    rates_hz = counted[:, 0] / (end_s - begin_s)
    lengths = np.array(lengths_s)
    assert idle == 0
    assert slow == pytest.approx(np.mean(1 - np.exp(-rates_hz[1] * lengths)), rel=0.3)
    assert fast == pytest.approx(np.mean(1 - np.exp(-rates_hz[2] * lengths)), rel=0.15)
    assert scanned == pytest.approx(rates_hz[3] * lengths.mean(), rel=0.3)


def test_spinning_loops() -> None:
    with spinning._spinners() as spinners:
        before = [spinner.now() for spinner in spinners]
        time.sleep(0.5)
        after = [spinner.now() for spinner in spinners]
        pids = [spinner.pid for spinner in spinners]
        affinities = [psutil.Process(pid).cpu_affinity() for pid in pids]
    assert len({tuple(cpus or ()) for cpus in affinities}) == len(spinners)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    passed_ns, rounds, lost_ns, _ = np.subtract(after, before).T
    assert rounds[0] > 1000
    assert passed_ns == pytest.approx(5e8, rel=0.3)
    assert (lost_ns >= 0).all()
    assert (lost_ns <= passed_ns * 1.01).all()
