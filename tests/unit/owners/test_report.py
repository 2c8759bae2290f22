"""The report of owners: by maps of pages, by regions, at a time, in every format."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import pydamon
from pydamon import Access, PageMap, Phase, PydamonError, RecordingError, Trace

# Private, because the parts of the report are what is tested here.
from pydamon._data.analysis.last_maps import LastWindows
from pydamon._data.analysis.owner_parts import memory_parts
from pydamon._show.pictures.flame import collapsed, flame_html, speedscope
from pydamon._show.results.owners import OwnerTreeView
from pydamon.analysis import OwnerReport
from pydamon.owners import OwnedInterval, Owners

MIB, S = 1 << 20, 10**9
SIZE = 64 * MIB
TRACE = Trace((Phase(S, (Access(0, 16 * MIB, rate_hz=200),)),))
OWNERS = Owners.of(
    [
        OwnedInterval(("main", "serve"), 0, 16 * MIB),
        OwnedInterval(("main", "load"), 16 * MIB, 40 * MIB),
        OwnedInterval(("main", "old"), 40 * MIB, 48 * MIB, until_ns=1),
    ]
)


def recorded(page_map: str | None = "5s", duration: str = "25s") -> pydamon.Recording:
    monitor = pydamon.simulate(TRACE, [(0, SIZE)], page_map=page_map)
    return pydamon.Recording.from_snapshots(monitor.run(duration))


@pytest.fixture(scope="module")
def recording() -> pydamon.Recording:
    return recorded()


def idle_bytes(report: OwnerReport) -> dict[str, int]:
    return {use.name: use.idle_bytes for use in report.owners}


def test_idle_bytes_are_exact_with_a_map(recording: pydamon.Recording) -> None:
    report = pydamon.analysis.owners(recording, OWNERS)
    assert report.is_by_page
    assert idle_bytes(report) == {"load": 24 * MIB, "serve": 0}
    total = report.total()
    assert total.idle_bytes + total.hot_bytes + total.warm_bytes == total.resident_bytes


def test_a_map_is_of_the_end(recording: pydamon.Recording) -> None:
    report = pydamon.analysis.owners(recording, OWNERS)
    assert report.time_ns == recording.snapshot(-1).end_ns


def test_an_earlier_time_has_less_idle_memory(recording: pydamon.Recording) -> None:
    began_ns = int(recording.per_snapshot("start_ns")[0])
    early = pydamon.analysis.owners(recording, OWNERS, at_ns=began_ns + 8 * S)
    assert idle_bytes(early)["load"] == 0
    assert early.time_ns <= began_ns + 8 * S
    soon = pydamon.analysis.owners(recording, OWNERS, at_ns=began_ns + 8 * S, idle_ns=2 * S)
    assert idle_bytes(soon)["load"] == 24 * MIB


def test_without_a_map_regions_are_spread_evenly() -> None:
    report = pydamon.analysis.owners(recorded(page_map=None), OWNERS)
    assert not report.is_by_page
    assert idle_bytes(report)["load"] == pytest.approx(24 * MIB, rel=0.05)


@pytest.mark.parametrize("suffix", [".damon", ".parquet", ".csv", ".ndjson"])
def test_formats_keep_maps(recording: pydamon.Recording, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    assert pydamon.write_recording(path, recording) == ()
    report = pydamon.analysis.owners(pydamon.open_recording(path), OWNERS)
    assert report == pydamon.analysis.owners(recording, OWNERS)


def test_formats_without_maps_say_so(recording: pydamon.Recording, tmp_path: Path) -> None:
    lost = pydamon.write_recording(tmp_path / "a.data", recording)
    assert "page_map" in lost


def test_slices_and_longer_snapshots_say_what_they_drop(recording: pydamon.Recording) -> None:
    last = recording.slice(start_ns=int(recording.per_snapshot("end_ns")[-1]) - 1)
    assert idle_bytes(pydamon.analysis.owners(last, OWNERS))["load"] == 24 * MIB


def test_damaged_maps_are_refused(recording: pydamon.Recording, tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    pydamon.write_recording(path, recording)
    text = path.read_text()
    start = text.rindex('"page_map":"') + len('"page_map":"')
    end = text.index('"', start)
    for word in ("x", "1 2", "1 1 !!!!", "1 1 AAAA", text[start : end - 8] + "AAAAAAAA"):
        path.write_text(text[:start] + word + text[end:])
        with pytest.raises(RecordingError, match="map of pages"):
            pydamon.analysis.owners(pydamon.open_recording(path), OWNERS)


def test_owners_of_another_process_are_refused(recording: pydamon.Recording) -> None:
    other = Owners.of([OwnedInterval(("a",), 0, 1)], pids=(4711,))
    with pytest.raises(RecordingError, match="4711"):
        pydamon.analysis.owners(recording, other)


def test_a_tree_adds_up(recording: pydamon.Recording) -> None:
    report = pydamon.analysis.owners(recording, OWNERS)
    tree = report.tree()
    assert tree.use.idle_bytes == report.total().idle_bytes
    assert [child.label for child in tree.children] == ["main"]
    assert [child.label for child in tree.children[0].children] == ["load", "serve"]
    assert report.below("load").idle_bytes == 24 * MIB
    with pytest.raises(PydamonError):
        report.by("colour")


def test_stacks_may_be_deeper_than_calls_of_python(recording: pydamon.Recording) -> None:
    path = tuple(f"call {depth}" for depth in range(1200))
    report = pydamon.analysis.owners(recording, Owners.of([OwnedInterval(path, 0, MIB)]))
    out = io.StringIO()
    Console(file=out, width=80).print(OwnerTreeView(report, "resident"))
    assert len(out.getvalue().splitlines()) > 1200
    assert "call 1199" in flame_html(report).decode()


def test_files_for_flame_graphs(recording: pydamon.Recording) -> None:
    report = pydamon.analysis.owners(recording, OWNERS)
    assert collapsed(report).decode() == f"main;load {24 * MIB}\n"
    profile = json.loads(speedscope(report))["profiles"][0]
    assert profile["weights"] == [24 * MIB]
    page = flame_html(report).decode()
    assert "load" in page
    assert "http" not in page.replace("http-equiv", "")


def test_views_show_the_owners(recording: pydamon.Recording) -> None:
    report = pydamon.analysis.owners(recording, OWNERS)
    text = repr(report) + report._repr_mimebundle_()["text/plain"]
    assert "load < main" in text
    assert "24 MiB" in text


def test_pages_of_other_machines_keep_their_size(tmp_path: Path) -> None:
    large = 65536
    codes = np.array([0, 1], np.uint8)
    ages = PageMap(100 * S, 1.0, np.array([0]), np.array([2]), codes, np.array([-1, 20 * S]), large)
    (snapshot,) = (recorded(page_map=None, duration="1s").snapshot(-1),)
    recording = pydamon.Recording.from_snapshots([replace(snapshot, page_maps=(ages,))])
    path = tmp_path / "a.damon"
    pydamon.write_recording(path, recording)
    told = Owners.of([OwnedInterval(("a",), 0, 2 * large)])
    report = pydamon.analysis.owners(pydamon.open_recording(path), told)
    assert report.owners[0].resident_bytes == report.owners[0].idle_bytes == large


def test_a_short_connection_without_a_map_does_not_hide_what_others_used(
    recording: pydamon.Recording,
) -> None:
    short = LastWindows(recorded(page_map=None, duration="1s").snapshot(-1), None)
    last = recording.snapshot(-1)
    shared = replace(OWNERS, is_shared=True, stays_resident=True)
    for windows in ([short, LastWindows(last, last)], [LastWindows(last, last), short]):
        (part,) = memory_parts(windows, shared, 10 * S)
        assert part.is_by_page
        idle_of_serve = part.facts.within(np.array([0]), np.array([16 * MIB]))[4]
        assert idle_of_serve.tolist() == [0]
