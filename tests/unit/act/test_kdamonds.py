"""Several kdamonds at once, and whole configurations of damo's, on files that look like DAMON's."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pydamon
from pydamon import (
    AccessPattern,
    Attrs,
    Filter,
    Kdamonds,
    KdamondSettings,
    KernelError,
    KernelTarget,
    MonitorOptions,
    ProbeUnavailable,
    Quota,
    Scheme,
    UsageError,
    read_damo_kdamonds,
)
from pydamon._act.policies.kernel_service import KernelService
from pydamon._act.schemes.damo_kdamonds import needs_kernel
from pydamon._act.schemes.toml import load
from pydamon._observe.kernel import Claim, leftover
from pydamon._observe.kernel.claim import Record
from tests.unit.observe.kernel.fake import NEW, OLD, FakeFiles

MIB, GIB = 1 << 20, 1 << 30
OURS = KernelTarget(os.getpid())
RAM = KernelTarget(0, ((4 * GIB, 8 * GIB),))
PROCESS = KdamondSettings("vaddr", (OURS,), schemes=(Scheme("stat"),), refresh_ns=250 * 10**6)
PHYSICAL = KdamondSettings(
    "paddr",
    (RAM,),
    Attrs.of("10ms", "200ms"),
    schemes=(
        Scheme(
            "pageout",
            AccessPattern(min_size=MIB),
            quota=Quota(bytes="64M"),
            filters=(Filter("addr", start=4 * GIB, end=5 * GIB),),
        ),
    ),
    address_unit=4096 if os.sysconf("SC_PAGE_SIZE") == 4096 else 1024,
)


@pytest.fixture
def files(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path / "kdamonds", NEW)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def _on_files(files: FakeFiles, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kdamonds are those of the files, never of this machine."""
    monkeypatch.setattr("pydamon._act.kernel.kdamonds.Claim", partial(Claim, files, state=state))


def test_each_has_its_own_settings_and_all_are_given_back(files: FakeFiles, state: Path) -> None:
    unit = PHYSICAL.address_unit
    with Kdamonds([PROCESS, PHYSICAL]) as kdamonds:
        assert kdamonds.running == (True, True)
        assert [files.read(f"{n}/contexts/0/operations") for n in (0, 1)] == ["vaddr", "paddr"]
        assert [files.number(f"{n}/refresh_ms") for n in (0, 1)] == [250, 0]
        assert [files.number(f"{n}/contexts/0/addr_unit") for n in (0, 1)] == [1, unit]
        assert files.number("1/contexts/0/targets/0/regions/0/start") == 4 * GIB // unit
        scheme = "1/contexts/0/schemes/0"
        assert files.number(f"{scheme}/access_pattern/sz/min") == MIB // unit
        assert files.number(f"{scheme}/quotas/bytes") == 64 * MIB // unit
        assert files.number(f"{scheme}/core_filters/0/addr_end") == 5 * GIB // unit
        files._put(f"{scheme}/stats/sz_tried", "256")
        files._put(f"{scheme}/stats/nr_tried", "2")
        ((first, _),), ((second, _),) = kdamonds.stats()
        assert (first.sz_tried, second.sz_tried, second.nr_tried) == (0, 256 * unit, 2)
        kdamonds.change(0, replace(PROCESS, schemes=()))
        assert files.number("0/contexts/0/schemes/nr_schemes") == 0
        kdamonds.pause(1)
        assert files.read("1/contexts/0/pause") == "Y"
        files.die("0")
        assert kdamonds.running == (False, True)
        assert kdamonds.stats()[0] == []
    assert files.tree() == {"nr_kdamonds": "0\n"}
    assert Record.read(state) is None


def test_if_one_cannot_start_none_does(files: FakeFiles) -> None:
    gone = replace(PROCESS, targets=(KernelTarget(2**22 + 1),))
    with pytest.raises(KernelError):
        Kdamonds([PROCESS, gone])
    assert files.tree() == {"nr_kdamonds": "0\n"}
    with pytest.raises(UsageError, match="no kdamond"):
        Kdamonds([])


def test_all_that_a_killed_pydamon_leaves_is_removed(files: FakeFiles, state: Path) -> None:
    kdamonds = Kdamonds([PROCESS, PHYSICAL, PROCESS])
    guardian = kdamonds._claim._guardian
    assert guardian is not None
    assert guardian.stdin is not None
    assert leftover(files, state) is None  # its owner lives
    guardian.stdin.close()  # as when the process is killed
    guardian.wait()
    assert files.number("nr_kdamonds") == 0
    assert [files.read(f"{number}/state") for number in range(3)] == ["off"] * 3


@pytest.mark.parametrize(
    ("settings", "release"),
    [(PROCESS, "6.17"), (replace(PHYSICAL, schemes=()), "6.18")],
)
def test_what_a_kernel_lacks_is_an_error_that_names_the_release(
    files: FakeFiles, settings: KdamondSettings, release: str
) -> None:
    files.release = OLD
    with pytest.raises(ProbeUnavailable, match=f"Linux {release}"):
        Kdamonds([settings])
    assert files.tree() == {"nr_kdamonds": "0\n"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"address_unit": 3}, "power of two"),
        ({"operations": "vaddr", "address_unit": 2}, "only physical memory"),
        ({"refresh_ns": -1}, "refreshes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        replace(PHYSICAL, **wrong)


@pytest.mark.parametrize("options", [{"addr_unit": "4K"}, {"refresh": "1s"}])
def test_only_the_kernel_has_these_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is for the kernel's DAMON"):
        pydamon.monitor(os.getpid(), engine="sampling", options=MonitorOptions(**options))
    with pytest.raises(UsageError, match="cannot be chosen"):
        MonitorOptions(join=True, **options)


ANON = {"filter_type": "anon", "matching": True, "allow": True}
CONTEXT: dict[str, Any] = {
    "ops": "paddr",
    "addr_unit": "1 B",
    "targets": [{"pid": None, "regions": [{"start": "4 GiB", "end": "8 GiB"}]}],
    "intervals": {"sample_us": "10 ms", "aggr_us": "200 ms", "ops_update_us": "2 s"},
    "nr_regions": {"min": "20", "max": "500"},
    "probes": [
        {"weight": 1, "filters": [{"filter_type": "anon", "matching": True, "allow": True}]}
    ],
    "pause": False,
    "schemes": [{"action": "migrate_hot", "target_nid": 0}],
}
WHOLE: dict[str, Any] = {
    "kdamonds": [
        {"state": "on", "refresh_ms": "1 s", "contexts": [CONTEXT]},
        {"contexts": [{"targets": [{"pid": str(os.getpid())}], "pause": True}]},
    ]
}


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_a_whole_configuration_of_damos_is_read(tmp_path: Path) -> None:
    first, second = read_damo_kdamonds(written(tmp_path / "damo.json", WHOLE))
    assert (first.operations, first.targets, first.refresh_ns) == ("paddr", (RAM,), 10**9)
    assert first.attrs == Attrs.of("10ms", "200ms", "2s", 20, 500)
    assert first.probes == ("anon",)
    assert [scheme.action for scheme in first.schemes] == ["migrate_hot"]
    assert (second.operations, second.targets, second.paused) == ("vaddr", (OURS,), True)
    yaml = pytest.importorskip("yaml")
    path = tmp_path / "damo.yaml"
    path.write_text(yaml.safe_dump(WHOLE))
    assert read_damo_kdamonds(path) == [first, second]
    (alone,) = read_damo_kdamonds(written(tmp_path / "one.json", CONTEXT))
    assert alone == replace(first, refresh_ns=0)


def test_what_only_the_kernel_can_do_is_known(tmp_path: Path) -> None:
    path = tmp_path / "damo.json"
    plain = {"targets": [{"pid": 7}], "schemes": [{"action": "stat"}]}

    def needed(*contexts: dict[str, Any], **more: Any) -> bool:
        document = {"kdamonds": [{"contexts": [context], **more} for context in contexts]}
        return needs_kernel(load(written(path, document)))

    assert not needed(plain)
    assert not needed(plain, plain)
    assert needed(plain, {**plain, "targets": [{"pid": 8}]})
    assert needed({**plain, "ops": "paddr"})
    assert needed({**plain, "pause": True})
    assert needed(plain, refresh_ms=5)
    assert not needs_kernel(load(written(path, plain["schemes"])))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ops": "laddr"}, "there is no 'laddr'"),
        ({"ops": "vaddr", "addr_unit": "4 KiB", "targets": [{"pid": 7}]}, "only physical memory"),
        ({"ops": "fvaddr"}, "names no pid"),
        ({"targets": [{"regions": [{"start": "8 K", "end": "4 K"}]}]}, "ends before it starts"),
        ({"probes": [{"filters": []}]}, "one filter"),
        ({"ops_attrs": {"write_only": True}}, "cannot be done by pydamon"),
    ],
)
def test_mistakes_are_refused_by_their_place(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    document = {"kdamonds": [{"contexts": [{**CONTEXT, **changes}]}]}
    with pytest.raises(UsageError, match=says) as caught:
        read_damo_kdamonds(written(tmp_path / "damo.json", document))
    assert "kdamonds[0].contexts[0]" in str(caught.value)


def test_two_contexts_of_a_kdamond_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "damo.json", {"contexts": [CONTEXT, CONTEXT]})
    with pytest.raises(UsageError, match="one context for each kdamond"):
        read_damo_kdamonds(path)


def test_a_service_reports_on_each_and_takes_a_new_configuration(files: FakeFiles) -> None:
    settings = [PROCESS, PHYSICAL]
    reports: list[dict[str, dict[str, Any]]] = []
    complaints: list[str] = []
    service = KernelService(
        "tiers", lambda: list(settings), report=reports.append, complain=complaints.append
    )
    thread = threading.Thread(target=service.run)
    thread.start()
    deadline_s = time.monotonic() + 10
    while not reports and time.monotonic() < deadline_s:
        time.sleep(0.02)
    settings[0] = replace(PROCESS, schemes=(Scheme("cold", name="mine"),))
    service.reload()
    while not complaints and time.monotonic() < deadline_s:
        time.sleep(0.02)
    service.stop()
    thread.join(10)
    assert complaints == ["the configuration was read again"]
    assert list(reports[-1]) == ["tiers.kdamond0", "tiers.kdamond1"]
    first, second = reports[-1].values()
    assert [scheme["name"] for scheme in first["schemes"]] == ["mine"]
    assert second["targets"] == [{"pid": 0, "name": "physical memory"}]
    assert files.tree() == {"nr_kdamonds": "0\n"}
