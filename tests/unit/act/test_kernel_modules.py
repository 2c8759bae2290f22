"""DAMON_RECLAIM, DAMON_LRU_SORT and DAMON_STAT, against files like those of Linux 6.12 and 6.17."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pydamon import KernelError, ProbeUnavailable, UsageError, Watermarks
from pydamon._act.kernel import (
    LruSortModule,
    LruSortParameters,
    ReclaimModule,
    ReclaimParameters,
    StatModule,
)

COMMON = {
    "enabled": "N",
    "commit_inputs": "N",
    "kdamond_pid": "-1",
    "quota_ms": "10",
    "quota_reset_interval_ms": "1000",
    "wmarks_interval": "5000000",
    "sample_interval": "5000",
    "aggr_interval": "100000",
    "min_nr_regions": "10",
    "max_nr_regions": "1000",
    "monitor_region_start": "0",
    "monitor_region_end": "0",
}
FILES = {
    "damon_reclaim": COMMON
    | {
        "min_age": "120000000",
        "quota_sz": "134217728",
        "quota_mem_pressure_us": "0",
        "quota_autotune_feedback": "0",
        "skip_anon": "N",
        "wmarks_high": "500",
        "wmarks_mid": "400",
        "wmarks_low": "200",
        "nr_reclaimed_regions": "3",
        "bytes_reclaimed_regions": "12288",
    },
    "damon_lru_sort": COMMON
    | {
        "hot_thres_access_freq": "500",
        "cold_min_age": "120000000",
        "wmarks_high": "200",
        "wmarks_mid": "150",
        "wmarks_low": "50",
        "nr_lru_sorted_hot_regions": "1",
    },
    "damon_stat": {
        "enabled": "N",
        "estimated_memory_bandwidth": "1048576",
        "memory_idle_ms_percentiles": "-300,0,100,5000",
    },
}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    for module, files in FILES.items():
        place = tmp_path / "modules" / module / "parameters"
        place.mkdir(parents=True)
        for name, text in files.items():
            (place / name).write_text(f"{text}\n")
    (tmp_path / "admin").mkdir()
    (tmp_path / "admin/nr_kdamonds").write_text("0\n")
    return {
        "modules": tmp_path / "modules",
        "admin": tmp_path / "admin",
        "state": tmp_path / "run",
    }


def says(places: dict[str, Path], module: str) -> dict[str, str]:
    root = places["modules"] / module / "parameters"
    return {path.name: path.read_text().strip() for path in root.iterdir()}


def test_defaults_are_the_kernels(places: dict[str, Path]) -> None:
    assert ReclaimModule(**places).parameters() == ReclaimParameters()
    assert LruSortModule(**places).parameters() == LruSortParameters()


def test_parameters_are_written_and_given_back(places: dict[str, Path]) -> None:
    module = ReclaimModule(**places)
    wanted = ReclaimParameters(
        min_age="30s",
        quota_bytes="64M",
        quota_time="20ms",
        quota_reset="2s",
        memory_pressure_us=1000,
        skip_anon=True,
        sample="10ms",
        aggr="200ms",
        min_regions=20,
        max_regions=200,
        region_start=4096,
        region_end=8192,
        watermarks=Watermarks(metric="free_mem_rate", interval="1s", high=999, mid=900, low=100),
    )
    before = says(places, "damon_reclaim")
    module.start(wanted)
    assert module.parameters() == wanted
    now = says(places, "damon_reclaim")
    assert (now["enabled"], now["min_age"], now["skip_anon"]) == ("Y", "30000000", "Y")
    assert (now["quota_sz"], now["sample_interval"]) == (str(64 << 20), "10000")
    status = module.status()
    assert status.enabled
    assert status.ours
    assert status.counters == {"nr_reclaimed_regions": 3, "bytes_reclaimed_regions": 12288}
    module.change(ReclaimParameters(min_age="1min"))
    assert says(places, "damon_reclaim")["commit_inputs"] == "Y"
    # Another process may be the one that switches it off.
    ReclaimModule(**places).stop()
    assert says(places, "damon_reclaim") == before | {"commit_inputs": "Y"}


@pytest.mark.parametrize("how", ["by hand", "again"])
def test_what_somebody_else_switched_on_stays(places: dict[str, Path], how: str) -> None:
    root = places["modules"] / "damon_lru_sort/parameters"
    module = LruSortModule(**places)
    if how == "again":  # it was ours, but this is another kdamond
        module.start()
        (root / "kdamond_pid").write_text("1\n")
    (root / "enabled").write_text("Y\n")
    before = says(places, "damon_lru_sort")
    assert not module.status().ours
    with pytest.raises(KernelError):
        module.start()
    with pytest.raises(KernelError):
        module.change(LruSortParameters())
    with pytest.raises(KernelError):
        module.stop()
    assert says(places, "damon_lru_sort") == before


def test_a_module_waits_for_its_turn(places: dict[str, Path]) -> None:
    (places["modules"] / "damon_stat/parameters/enabled").write_text("Y\n")
    before = says(places, "damon_reclaim")
    with pytest.raises(ProbeUnavailable, match="DAMON_STAT"):
        ReclaimModule(**places).start(ReclaimParameters(min_age="1s"))
    assert says(places, "damon_reclaim") == before


def test_what_a_kernel_lacks_is_named(places: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ProbeUnavailable, match=r"active_mem_bp.*7\.0"):
        LruSortModule(**places).start(LruSortParameters(active_bp=6000))
    with pytest.raises(ProbeUnavailable, match="no DAMON_STAT"):
        StatModule(**places | {"modules": tmp_path / "none"}).status()


def test_stat_tells_how_idle_memory_is(places: dict[str, Path]) -> None:
    module = StatModule(**places)
    assert not module.status().enabled
    module.start()
    status = module.status()
    assert (status.bandwidth_bytes, status.idle_ms) == (1 << 20, (-300, 0, 100, 5000))
    module.stop()
    assert not module.enabled


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"min_age": 3}, "min_age"),
        ({"quota_bytes": "lots"}, "quota_bytes"),
        ({"sample": "1s"}, "sample"),
        ({"min_regions": 2}, "min_regions"),
        ({"region_start": 5}, "region_start"),
        ({"skip_anon": "perhaps"}, "skip_anon"),
    ],
)
def test_what_makes_no_sense(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ReclaimParameters(**values)
