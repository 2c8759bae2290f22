"""Events of the kernel's DAMON, in the virtual machine: what a scheme did is what events say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import pydamon
from pydamon import analysis
from pydamon._model.page_size import PAGE_SIZE
from pydamon._observe.kernel import KernelTarget
from pydamon._observe.linux.ring import tracepoints
from tests.unit.observe.kernel.conftest import kdamonds, needs_damon
from tests.vm.conftest import foreign

pytestmark = [pytest.mark.live, needs_damon]

PYDAMON = (sys.executable, "-m", "pydamon")


def test_events_of_a_foreign_kdamond_are_listened_to(program: int, tmp_path: Path) -> None:
    out = tmp_path / "kdamond.events"
    with foreign(KernelTarget(program)) as pid:
        command = [*PYDAMON, "trace", "--duration", "3s"]
        subprocess.run([*command, "--out", out], check=True, timeout=120)
        lines = subprocess.run(
            [*command, "--json", "--event", "damos_before_apply"],
            check=True,
            timeout=120,
            stdout=subprocess.PIPE,
        ).stdout.splitlines()
        assert kdamonds() == 1
    trace = analysis.trace(out)
    applied = next(sums for sums in trace.sums if sums.event == "damos_before_apply")
    assert (applied.kdamond, applied.scheme) == (pid, 0)
    # Every aggregation of 0.1 s applies the scheme to all regions: 20 to 100.
    assert applied.count > 20 * 5
    assert applied.fields["sz_region"].least >= PAGE_SIZE
    if "damos_stat_after_apply_interval" in tracepoints():
        stats = next(s for s in trace.sums if s.event == "damos_stat_after_apply_interval")
        tried, regions = stats.fields["nr_tried"], applied.count
        assert 0 < tried.last - tried.first <= regions
    assert {json.loads(line)["event"] for line in lines} == {"damos_before_apply"}


def test_a_recording_has_the_events_beside_it(program: int, tmp_path: Path) -> None:
    path = tmp_path / "app.damon"
    with foreign(KernelTarget(program)):
        pydamon.record(program, path, duration="3s", engine="kernel", join=True, trace=True)
    assert len(pydamon.read_recording(path).table)
    assert any(sums.event == "damos_before_apply" for sums in analysis.trace(path).sums)


def test_an_unknown_tracepoint_is_refused() -> None:
    with pytest.raises(pydamon.UsageError, match="has no tracepoint damos_nothing"):
        pydamon.KernelTracer(["damos_nothing"])
