"""Every file of the kernel's DAMON is known: written, read, or left alone for a reason."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pydamon
from pydamon import (
    AccessPattern,
    Destination,
    Filter,
    Goal,
    Kdamonds,
    KernelError,
    MonitorOptions,
    ProbeUnavailable,
    Quota,
    Scheme,
)
from pydamon._model.schemes.limits import METRICS
from pydamon._observe.kernel import Kdamond, KdamondSettings, KernelTarget
from pydamon._observe.kernel.files import Files, missing_file
from pydamon._observe.kernel.kdamond import ADMIN
from tests.unit.observe.kernel.conftest import needs_damon
from tests.vm.sysfs_files import FILES, generic, row_of

pytestmark = [pytest.mark.live, needs_damon]

RELEASE = ".".join(re.findall(r"\d+", platform.release())[:2])
SECOND = 10**9
COUNTERS = ("contexts", "targets", "regions", "schemes", "goals", "filters", "dests", "probes")


class SpiedFiles(Files):
    """Notes which files are written and read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.written: set[str] = set()
        self.looked_at: set[str] = set()

    def _write(self, path: str, text: str) -> None:
        super()._write(path, text)
        self.written.add(path)

    def _read(self, path: str) -> str:
        self.looked_at.add(path)
        return super()._read(path)


@contextmanager
def kdamond_with(*schemes: Scheme, **more: Any) -> Iterator[SpiedFiles]:
    """The files of a kdamond of this process's memory, which runs."""
    files = SpiedFiles(ADMIN)
    files.write("nr_kdamonds", 1)
    kdamond = Kdamond(files)
    try:
        target = KernelTarget(os.getpid())
        kdamond.configure(KdamondSettings("vaddr", (target,), schemes=schemes, **more))
        kdamond.start()
        yield files
    finally:
        kdamond.stop()
        files.write("nr_kdamonds", 0)


def tree(files: Files) -> list[str]:
    """The generic paths of all files of a kdamond."""
    root = files.root / "0"
    paths = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return sorted({generic(path) for path in paths})


def fill(files: Files) -> None:
    """Make a directory of every kind."""
    known: set[str] = set()
    while True:
        new = [
            str(path.relative_to(files.root))
            for path in sorted((files.root / "0").rglob("nr_*"))
            if path.name.removeprefix("nr_") in COUNTERS
            and path.is_file()
            and path.stat().st_mode & 0o200
            and path.read_text().strip() == "0"
        ]
        new = [path for path in new if path not in known]
        if not new:
            return
        for path in new:
            files.write(path, 1)
            known.add(path)


def test_every_file_is_known() -> None:
    files = SpiedFiles(ADMIN)
    files.write("nr_kdamonds", 1)
    try:
        fill(files)
        paths = tree(files)
    finally:
        files.write("nr_kdamonds", 0)
    with kdamond_with(scheme_of_stat()) as running:
        running.write("0/state", "update_schemes_tried_regions")
        paths = sorted({*paths, *tree(running)})
    Path("/tmp/results").mkdir(exist_ok=True)
    Path(f"/tmp/results/sysfs-{RELEASE}.json").write_text(json.dumps(paths))
    assert [path for path in paths if row_of(path) is None] == []
    newer = {
        path: row.release
        for path in paths
        if (row := row_of(path)) and numbers(row.release) > numbers(RELEASE)
    }
    assert newer == {}
    # What a release brought is there.
    there = {row_of(path) for path in paths}
    lacking = [
        file.feature
        for file in FILES
        if numbers(file.release) <= numbers(RELEASE)
        and file not in there
        and "probes/N/hits" not in file.pattern
    ]
    assert lacking == []


def numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def scheme_of_stat() -> Scheme:
    return Scheme("stat", name="everything")


def rich_schemes() -> list[Scheme]:
    """Schemes with as many parameters as this kernel has."""
    goals = (Goal(metric="user_input", target=10, value=5),)
    has_ops = numbers(RELEASE) >= (6, 15)
    filters = (Filter("addr", start=0x1000, end=0x2000), *([Filter("anon")] if has_ops else []))
    quota = Quota(time="10ms", bytes="1M", goals=goals)
    schemes = [scheme_of_stat(), Scheme("stat", quota=quota, filters=filters)]
    if numbers(RELEASE) >= (6, 17):
        destination = Destination(node=0, weight=1)
        schemes.append(Scheme("migrate_cold", target_node=0, destinations=(destination,)))
    return schemes


def use_everything(kdamond: Kdamond) -> None:
    """Call whatever this kernel can do."""
    assert kdamond.running
    assert kdamond.pid > 0
    kdamond.stats()
    kdamond.tried_regions()
    if numbers(RELEASE) >= (6, 14):
        kdamond.passed_regions([0])
    if numbers(RELEASE) >= (6, 19):
        assert kdamond.drop_targets([])
    if numbers(RELEASE) >= (7, 2):
        kdamond.pause(True)
        kdamond.pause(False)


def test_what_pydamon_says_it_writes_and_reads_is_so() -> None:
    probes = ("anon", "memcg:/") if numbers(RELEASE) >= (7, 2) else ()
    refresh_ns = SECOND if numbers(RELEASE) >= (6, 17) else 0
    with kdamond_with(*rich_schemes(), probes=probes, refresh_ns=refresh_ns) as files:
        use_everything(Kdamond(files))
        written = {generic(path.removeprefix("0/")) for path in files.written}
        looked_at = {generic(path.removeprefix("0/")) for path in files.looked_at}
    rows_written = {row_of(path) for path in written if path != "nr_kdamonds"}
    rows_read = {row_of(path) for path in looked_at}
    assert None not in rows_written
    for file in FILES:
        if numbers(file.release) > numbers(RELEASE) or file.feature in CHECKED_ELSEWHERE:
            continue
        if file.use == "writes":
            assert file in rows_written, file.feature
        elif file.use == "reads":
            assert file in rows_read, file.feature
        elif file.use.startswith("left alone"):
            assert file not in rows_written | rows_read, file.feature


CHECKED_ELSEWHERE = (
    "given addresses",
    "targets that are dropped",
    "filters, in one directory",
    "switching on and off, commands",
)
"""Written in other settings: see test_real.py."""


@pytest.mark.parametrize("metric", METRICS)
def test_goals_work_or_their_release_is_named(metric: str) -> None:
    needed = METRICS[metric]
    goal = Goal(
        metric=metric,
        target=100,
        node=0 if "node" in needed else None,
        memcg_path="/" if "memcg_path" in needed else None,
    )
    scheme = Scheme("stat", quota=Quota(bytes="1M", goals=(goal,)))
    try:
        with kdamond_with(scheme):
            pass
    except ProbeUnavailable as error:
        named = re.search(r"Linux (\d+\.\d+)", str(error))
        physical_only = "physical memory only" in str(error)
        assert physical_only or (named and numbers(named[1]) > numbers(RELEASE))


def test_the_kernel_refreshes_its_figures_by_itself() -> None:
    stat = Scheme("stat", AccessPattern(), name="everything")
    if numbers(RELEASE) < (6, 17):
        with pytest.raises(ProbeUnavailable, match=r"Linux 6\.17"), kdamond_with(refresh_ns=SECOND):
            pass
        return
    with kdamond_with(stat, refresh_ns=SECOND // 4) as files:
        assert files.number("0/refresh_ms") == 250
        # Nothing is written to `state`.
        deadline_s = time.monotonic() + 60
        while not files.number("0/contexts/0/schemes/0/stats/nr_tried"):
            assert time.monotonic() < deadline_s
            time.sleep(0.2)


def test_several_kdamonds_run_at_once() -> None:
    process = KdamondSettings("vaddr", (KernelTarget(os.getpid()),), schemes=(scheme_of_stat(),))
    physical = KdamondSettings("paddr", (), schemes=(scheme_of_stat(),))
    with Kdamonds([process, physical, process]) as kdamonds:
        assert kdamonds.running == (True, True, True)
        assert len(set(kdamonds.pids)) == 3
        tried = wait_for_stats(kdamonds)
        assert tried[1] > tried[0] > 0
    assert Files(ADMIN).number("nr_kdamonds") == 0


def wait_for_stats(kdamonds: Kdamonds) -> list[int]:
    """The bytes that the first scheme of each kdamond has tried, once all have."""
    deadline_s = time.monotonic() + 60
    while True:
        tried = [stats[0][0].sz_tried for stats in kdamonds.stats()]
        if all(tried):
            return tried
        assert time.monotonic() < deadline_s
        time.sleep(0.5)


def test_a_unit_of_addresses_changes_no_address() -> None:
    if numbers(RELEASE) < (6, 18):
        with pytest.raises(ProbeUnavailable, match=r"Linux 6\.18"):
            Kdamonds([KdamondSettings("paddr", (), address_unit=1024)])
        return
    bounds = []
    for unit in (None, 1024, "4KiB"):
        options = MonitorOptions(sample="20ms", aggr="400ms", addr_unit=unit)
        with pydamon.monitor_physical(options=options) as mon:
            snapshot = next(iter(mon))
            bounds.append((int(snapshot.start.min()), int(snapshot.end.max())))
            assert snapshot.size.sum() == pytest.approx(sum(m.end - m.start for m in ram(mon)))
            assert Files(ADMIN).number("0/contexts/0/addr_unit") == mon_unit(unit)
            everything = Scheme("stat", AccessPattern(min_size="64KiB"), name="everything")
            with pydamon.apply(mon, everything) as applied:
                for _ in applied.run("4s"):
                    pass
                applied.refresh()
                tried = applied[0].stats
            # In bytes, whatever the unit: whole passes over memory.
            assert tried.sz_tried / tried.nr_tried > 64 << 10
    assert len(set(bounds)) == 1


def ram(mon: pydamon.Monitor) -> tuple[pydamon.Mapping, ...]:
    return mon.layout.targets[0].mappings.mappings


def mon_unit(unit: int | str | None) -> int:
    return MonitorOptions(addr_unit=unit).address_unit


def test_the_kernel_takes_one_context_for_each_kdamond() -> None:
    files = Files(ADMIN)
    files.write("nr_kdamonds", 1)
    try:
        with pytest.raises(KernelError, match="nr_contexts"):
            files.write("0/contexts/nr_contexts", 2)
    finally:
        files.write("nr_kdamonds", 0)


def test_a_missing_file_names_the_release_that_brought_it() -> None:
    with kdamond_with(scheme_of_stat()) as files:
        for name, release in (("pause", "7.2"), ("monitoring_attrs/probes/nr_probes", "7.2")):
            path = f"0/contexts/0/{name}"
            if files.has(path):
                assert numbers(RELEASE) >= numbers(release)
            else:
                assert numbers(RELEASE) < numbers(release)
                assert f"Linux {release}" in missing_file(path)
