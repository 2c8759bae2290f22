"""Every result has a view: one for `rich.print`, notebooks and the command line."""

from __future__ import annotations

import dataclasses
import inspect
import io
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import rich
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import pydamon
from pydamon import KernelEvents, Recording, RecordingFile, analysis
from pydamon._act.apply import KernelScheme
from pydamon._cli.main import main
from pydamon._data.recording.events import EventRecorder
from pydamon._model.display import Displayable
from pydamon._objects import Buffer, ObjectReport, ObjectUse
from pydamon._show.notebook import CellUse
from pydamon._show.results import VIEWS, html_of, mime_bundle, view_of
from pydamon.analysis import CpuSample
from pydamon.owners import OwnedInterval, Owners
from tests.ages import comb
from tests.recordings import MIB, busy, record, snapshot, target

NO_RESULTS = (Iterator, np.ndarray, str, analysis.Query)
"""Returned by functions of `analysis`, but plain values, or a filter."""

EVIL = "\x1b[2Jevil<b>[red]"
APP = target(7, EVIL, (0, 8 * MIB, "rw-p", f"/tmp/{EVIL}"))


def _mapped() -> Recording:
    trace = pydamon.Trace((pydamon.Phase(10**9),))
    with pydamon.simulate(trace, [(0, 2 * MIB)], page_map="1s") as mon:
        return Recording.from_snapshots(mon.run("3s"))


def _trace(path: Path) -> analysis.KernelTrace:
    column = np.array([5000])
    with EventRecorder(path, (EVIL, "sample_us")) as recorder:
        events = KernelEvents(EVIL, column, column, {EVIL: column, "sample_us": column})
        recorder.write([events])
    return analysis.trace(path)


def results(directory: Path) -> Iterator[Displayable]:
    """A result of every class, with names that try to command whatever shows them."""
    steps = [snapshot((APP,), [(0, 0, MIB, 20, n), (0, MIB, 8 * MIB, 0, n)], n) for n in range(20)]
    recording = record(directory / "r.damon", steps)
    yield recording
    yield pydamon.open_recording(directory / "r.damon")
    yield recording.snapshot(-1)
    yield analysis.summary(recording)
    yield analysis.diff(recording, recording)
    yield analysis.heatmap(recording)
    yield analysis.working_set(recording)
    yield analysis.working_set(recording).total
    yield analysis.working_sets_within(recording, [10**8, 10**9])
    footprints = analysis.footprint(recording)
    yield footprints
    assert isinstance(footprints[0], Displayable)
    yield footprints[0]
    yield analysis.idle(recording)
    yield analysis.needs(Recording.from_snapshots(comb(20, target=APP)))
    yield analysis.huge_use(_mapped())
    owners = Owners.of([OwnedInterval((EVIL, EVIL), 0, MIB)])
    owned = analysis.owners(_mapped(), owners)
    yield owned
    yield analysis.owner_diff(dataclasses.replace(owned, owners=()), owned)
    yield analysis.distribution(recording)
    yield analysis.mappings(recording)
    yield analysis.regions(recording)
    times = analysis.times(analysis.where(recording, "rate > 50%"))
    yield times
    middle_ns = int(times.start_ns[0] + times.end_ns[0]) // 2
    yield analysis.profile(times, [CpuSample(middle_ns, EVIL, EVIL)])
    yield _trace(directory / "r.events")
    yield pydamon.SchemeStats(nr_tried=3, sz_tried=MIB, rests=1)
    scheme = pydamon.Scheme("stat", name=EVIL, quota=pydamon.Quota(bytes="4MiB"))
    yield KernelScheme(scheme)
    with (
        pydamon.simulate(pydamon.Trace((pydamon.Phase(10**9),)), [(0, MIB)]) as mon,
        pydamon.apply(mon, scheme, dry_run=True) as applied,
    ):
        yield applied
        yield cast(Displayable, applied[0])
    use = ObjectUse(Buffer("ndarray", (EVIL,), ((0, MIB),)), "hot", 1.0, 1.0, 0)
    report = ObjectReport((use,), 10**9, 10**8, 0, "trace")
    yield report
    yield CellUse(recording, report)


def printed(result: Any, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(result)
    return out.getvalue()


def returned_classes() -> set[type]:
    """The classes that functions of `pydamon.analysis` return."""
    functions = [getattr(analysis, name) for name in dir(analysis)]
    hints = [typing.get_type_hints(f)["return"] for f in functions if inspect.isfunction(f)]
    bounds = [h.__constraints__ if isinstance(h, typing.TypeVar) else (h,) for h in hints]
    return {typing.get_origin(kind) or kind for kinds in bounds for kind in kinds}


def test_every_result_of_analysis_has_a_view() -> None:
    for kind in returned_classes() - set(NO_RESULTS):
        assert issubclass(kind, Displayable), kind
        assert kind.__name__ in VIEWS
    assert {Recording, RecordingFile, analysis.Mappings} < returned_classes()


def test_the_register_names_views_of_those_classes(tmp_path: Path) -> None:
    shown = set()
    for result in results(tmp_path):
        view = view_of(result)
        (first, *_) = dataclasses.fields(view)  # type: ignore[arg-type]
        assert getattr(view, first.name) is result
        shown |= {kind.__name__ for kind in type(result).__mro__ if kind.__name__ in VIEWS}
    assert shown == set(VIEWS)


@pytest.mark.parametrize("width", [20, 80, 200])
def test_every_result_can_be_printed(tmp_path: Path, width: int) -> None:
    for result in results(tmp_path):
        text = printed(result, width)
        assert text.strip(), type(result)
        assert "\x1b" not in text, type(result)


def test_rich_print_shows_a_result_in_full(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(3))
    out = io.StringIO()
    rich.print(analysis.mappings(recording), file=out)
    assert "Mappings, from the most hot bytes to the fewest" in out.getvalue()
    assert "MappingHeat" not in out.getvalue()


def test_notebooks_show_html_and_consoles_text(tmp_path: Path) -> None:
    for result in results(tmp_path):
        bundle = result._repr_mimebundle_()
        assert set(bundle) == {"text/html", "text/plain"}
        assert bundle["text/html"] == result._repr_html_() == html_of(result)
        for tag in ("<b>", "\x1b", "<script"):
            assert tag not in bundle["text/html"], type(result)
        assert "\x1b" not in bundle["text/plain"]
        assert set(mime_bundle(result, ["text/plain"], None)) == {"text/plain"}
        assert set(mime_bundle(result, None, ["text/plain"])) == {"text/html"}


def test_tables_and_pictures_are_elements_of_their_own(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(3))
    assert html_of(analysis.heatmap(recording)).startswith("<img")
    table = html_of(analysis.mappings(recording))
    assert table.count("<tr>") == 1 + len(analysis.mappings(recording))
    assert "<pre" in table, "its title"
    both = html_of(recording)
    assert both.index("<img") < both.index("<pre")


def test_the_command_line_prints_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = record(path := tmp_path / "r.damon", busy(9))
    for report, result in (
        ("idle", analysis.idle(recording)),
        ("wss", analysis.working_set(recording)),
        ("footprint", analysis.footprint(recording)),
        ("mappings", analysis.mappings(recording)),
        ("access", analysis.regions(recording)),
        ("times", analysis.times(recording)),
    ):
        assert main(["report", report, str(path)]) == 0
        expected = [line.rstrip() for line in printed(result).splitlines()]
        assert capsys.readouterr().out.splitlines() == expected


def test_a_recording_without_regions_says_so(tmp_path: Path) -> None:
    whole = record(tmp_path / "r.damon", busy(3))
    text = printed(analysis.where(whole, "size > 1TiB"))
    assert text.strip() == "the recording has no regions"


@given(st.integers(0, 2**50), st.integers(0, 2**50), st.integers(0, 99))
def test_statistics_of_schemes_say_their_numbers(tried: int, applied: int, exceeds: int) -> None:
    stats = pydamon.SchemeStats(sz_tried=tried, sz_applied=applied, qt_exceeds=exceeds)
    text = printed(stats)
    assert pydamon.format_size(tried) in text
    assert pydamon.format_size(applied) in text
    assert f"{exceeds} time" in text
