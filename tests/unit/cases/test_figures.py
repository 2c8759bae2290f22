"""Hot, cold, idle and working set are the same everywhere, to the byte.

One recording goes to every place that shows its figures: the library, every analysis and report,
the live views, the metrics, `stat`, and every format that loses nothing.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pydamon import analysis, read_recording, write_recording
from pydamon._act.policies.stat import Stat
from pydamon._cli.main import main
from pydamon._data.recording import Recording
from pydamon._model.classify import UNKNOWN
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Footprint
from pydamon._show.frames import SUMS, Replay, frame_of
from pydamon._show.metrics import Metrics
from pydamon._show.web.encode import Encoder
from tests.recordings import MIB, aged, record, snapshot
from tests.unit.cases.helpers import GIB, IDLE_NS, JAVA, S, both, java, with_columns

Figures = dict[str, float]
JAVA_AGES = [
    (0, 0, 60 * MIB, 0),
    (0, 40 * S, 3 * MIB, 0),
    (1, 2 * S, 24 * MIB, 0),
    (1, 40 * S, 40 * MIB, 0),
    (2, 2 * S, 32 * MIB, 0),
    (3, 40 * S, 12 * MIB, 0),
]
CLASSES = ("total", "hot", "warm", "cold", "idle", "unobservable", "unseen")


@dataclass(frozen=True)
class Place:
    """Where figures of a recording are shown, and which."""

    figures: Callable[[Recording, Path], Figures]
    shown: tuple[str, ...]


def report(path: Path, *argv: str) -> dict[str, Any]:
    """The output of `pydamon report` on a recording, as JSON."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(["report", *argv, "--json", str(path)]) == 0
    document: dict[str, Any] = json.loads(printed.getvalue())
    return document


def with_working_set(size: Mapping[str, float]) -> Figures:
    """The figures of a breakdown by class, with the working set: its hot and warm bytes."""
    return {name: size[name] for name in CLASSES} | {"working_set": size["hot"] + size["warm"]}


def in_library(recording: Recording, _: Path) -> Figures:
    last = recording.snapshot(-1)
    classes = last.classes.over(len(last.targets))
    figures: Figures = {
        name: int(getattr(classes, name).sum()) for name in CLASSES if name != "idle"
    }
    return figures | {
        "idle": int(classes.idle(IDLE_NS).sum()),
        "working_set": last.working_set(),
    }


def in_summary(recording: Recording, _: Path) -> Figures:
    summary = analysis.summary(recording, IDLE_NS)
    working_set = summary.working_set.total.median
    return with_working_set(dataclasses.asdict(summary.size)) | {"working_set": working_set}


def in_diff(recording: Recording, _: Path) -> Figures:
    return with_working_set(
        dataclasses.asdict(analysis.diff(recording, recording, IDLE_NS).after.size)
    )


def in_working_set(recording: Recording, _: Path) -> Figures:
    total = analysis.working_set(recording).total
    return {"working_set": int(total.size_bytes[-1]), "unseen": int(total.unseen_bytes[-1])}


def in_footprint(recording: Recording, _: Path) -> Figures:
    total = analysis.footprint(recording)[0]
    return {"working_set": int(total.wss_bytes[-1]), "unseen": int(total.unseen_bytes[-1])}


def in_idle(recording: Recording, _: Path) -> Figures:
    idle = analysis.idle(recording, (0, IDLE_NS))
    cold_bytes, idle_bytes = idle.last_bytes.tolist()
    return {
        "total": idle.total_bytes,
        "cold": cold_bytes,
        "idle": idle_bytes,
        "unseen": idle.unseen_bytes,
    }


def in_idle_means(recording: Recording, _: Path) -> Figures:
    idle = analysis.idle(recording, (0, IDLE_NS))
    cold_bytes, idle_bytes = idle.mean_bytes.tolist()
    return {"total": idle.mean_total_bytes, "cold": cold_bytes, "idle": idle_bytes}


def in_distribution(recording: Recording, _: Path) -> Figures:
    idle = analysis.distribution(recording, "idle")
    return {
        "cold": idle.size_bytes[1:].sum() + idle.undated_bytes,
        "working_set": idle.size_bytes[0],
        "idle": idle.size_bytes[idle.low >= IDLE_NS].sum(),
        "unseen": idle.unseen_bytes,
        "unobservable": idle.unobservable_bytes,
    }


def in_filter(recording: Recording, _: Path) -> Figures:
    idle = analysis.where(recording, f"idle >= {IDLE_NS // S}s")
    return {"idle": analysis.summary(idle).size.cold}


def in_mappings(recording: Recording, _: Path) -> Figures:
    sizes = [dataclasses.asdict(each.size) for each in analysis.mappings(recording, IDLE_NS)]
    return with_working_set({name: sum(size[name] for size in sizes) for name in CLASSES})


def in_summary_report(_: Recording, path: Path) -> Figures:
    document = report(path, "summary", "--idle", f"{IDLE_NS // S}s")
    working_set = document["working_set"]["50"]
    return with_working_set(document["bytes"]) | {"working_set": working_set}


def in_mappings_report(_: Recording, path: Path) -> Figures:
    sizes = [
        mapping["bytes"]
        for mapping in report(path, "mappings", "--idle", f"{IDLE_NS // S}s")["mappings"]
    ]
    return with_working_set({name: sum(size[name] for size in sizes) for name in CLASSES})


def in_idle_report(_: Recording, path: Path) -> Figures:
    document = report(path, "idle", "--ages", f"0s,{IDLE_NS // S}s")
    cold_bytes, idle_bytes = document["last_bytes"]
    figures = {"total": document["total_bytes"], "unseen": document["unseen_bytes"]}
    return figures | {"cold": cold_bytes, "idle": idle_bytes}


def in_wss_report(_: Recording, path: Path) -> Figures:
    total = report(path, "wss")["total"]
    return {"working_set": total["bytes"][-1], "unseen": total["unseen_bytes"][-1]}


def in_histogram_report(_: Recording, path: Path) -> Figures:
    document = report(path, "access", "--histogram", "idle")
    return {"working_set": document["bytes"][0], "unseen": document["unseen_bytes"]}


def in_top(recording: Recording, _: Path) -> Figures:
    (frame,) = Replay(recording).history.frames()
    return of_sums(dict(zip(SUMS, frame.sums.sum(axis=0).tolist(), strict=True)))


def in_live_top(recording: Recording, _: Path) -> Figures:
    frame = frame_of(list(recording.snapshots()))
    return of_sums(dict(zip(SUMS, frame.sums.sum(axis=0).tolist(), strict=True)))


def in_serve(recording: Recording, _: Path) -> Figures:
    (frame,) = Replay(recording).history.frames()
    sums = json.loads(Encoder()(frame))["sums"]
    return of_sums({name: sum(sums[name]) for name in SUMS})


def of_sums(sums: Mapping[str, float]) -> Figures:
    """The figures in the sums of a frame, which calls the working set touched."""
    return {name: sums[name] for name in CLASSES} | {"working_set": sums["touched"]}


def in_export(recording: Recording, _: Path) -> Figures:
    metrics, registry = Metrics(), CollectorRegistry()
    metrics.update(recording.snapshot(-1))
    registry.register(metrics)

    def value(name: str, **labels: str) -> float:
        values = [
            registry.get_sample_value(
                f"pydamon_process_{name}", {"pid": str(each.pid), "name": each.name} | labels
            )
            for each in recording.targets
        ]
        return sum(value for value in values if value is not None)

    return {
        "working_set": value("working_set_bytes"),
        "idle": value("idle_bytes", at_least_seconds="10"),
        "unseen": value("unseen_bytes"),
        "unobservable": value("unobservable_bytes"),
    }


def in_stat(recording: Recording, _: Path) -> Figures:
    figures = Stat().figures(recording.snapshot(-1))
    unseen, working_set = figures["unseen_bytes"], figures["working_set_bytes"]
    assert isinstance(unseen, int)
    assert isinstance(working_set, int)
    return {"unseen": unseen, "working_set": working_set}


ALL = (*CLASSES, "working_set")
OF_IDLE = ("total", "cold", "idle", "unseen")
OF_WORKING_SET = ("working_set", "unseen")
IN_TOTAL = {
    "library": Place(in_library, ALL),
    "summary": Place(in_summary, ALL),
    "diff": Place(in_diff, ALL),
    "working set": Place(in_working_set, OF_WORKING_SET),
    "footprint": Place(in_footprint, OF_WORKING_SET),
    "idle": Place(in_idle, OF_IDLE),
    "idle means": Place(in_idle_means, ("total", "cold", "idle")),
    "distribution": Place(
        in_distribution, ("cold", "working_set", "idle", "unseen", "unobservable")
    ),
    "report summary": Place(in_summary_report, ALL),
    "report idle": Place(in_idle_report, OF_IDLE),
    "report wss": Place(in_wss_report, OF_WORKING_SET),
    "report access": Place(in_histogram_report, OF_WORKING_SET),
    "stat": Place(in_stat, OF_WORKING_SET),
}
"""Where the figures of all targets together are shown: memory that they share counts once."""
OF_EACH = {
    "mappings": Place(in_mappings, ALL),
    "filter": Place(in_filter, ("idle",)),
    "report mappings": Place(in_mappings_report, ALL),
    "top": Place(in_top, ALL),
    "live top": Place(in_live_top, ALL),
    "serve": Place(in_serve, ALL),
    "export": Place(in_export, ("working_set", "idle", "unseen", "unobservable")),
}
"""Where the figures of each target are shown: shared memory is in the figures of each."""
PLACES = IN_TOTAL | OF_EACH


def figures_at(place: Place, recording: Recording, path: Path) -> Figures:
    """All figures that a place must show, and no others."""
    figures = place.figures(recording, path)
    assert set(figures) >= set(place.shown)
    return {name: figures[name] for name in place.shown}


@pytest.mark.parametrize("name", PLACES)
def test_figures_of_a_program_are_the_same_everywhere(tmp_path: Path, name: str) -> None:
    recording = record(path := tmp_path / "r.damon", [java()])
    expected = {
        "total": 280 * MIB,
        "hot": 60 * MIB,
        "warm": 16 * MIB,
        "cold": (4 + 48 + 32 + 12) * MIB,
        "idle": 32 * MIB,
        "unobservable": 8 * MIB,
        "unseen": 100 * MIB,
        "working_set": 76 * MIB,
    }
    figures = figures_at(PLACES[name], recording, path)
    assert figures == {figure: expected[figure] for figure in figures}


@pytest.mark.parametrize("name", PLACES)
def test_figures_of_two_programs_that_share_memory_are_the_same(tmp_path: Path, name: str) -> None:
    """40 of the second program's 60 MiB count in the first: 30 that are idle, and 10 more."""
    recording = record(path := tmp_path / "r.damon", [both()])
    own = {"total": 124, "hot": 30, "cold": 94, "idle": 64, "working_set": 30}
    once = {"total": 84, "hot": 20, "cold": 64, "idle": 64, "working_set": 20}
    expected = once if name in IN_TOTAL else own
    figures = figures_at(PLACES[name], recording, path)
    assert figures == {figure: expected.get(figure, 0) * MIB for figure in figures}


@pytest.mark.parametrize("name", PLACES)
def test_idle_pages_are_the_same_everywhere(tmp_path: Path, name: str) -> None:
    """The pages of regions in use are idle, too; those of the third region were in use lately."""
    recording = record(path := tmp_path / "r.damon", [aged(java(), JAVA_AGES)])
    expected = {
        "total": 280 * MIB,
        "hot": 60 * MIB,
        "warm": 16 * MIB,
        "cold": (4 + 48 + 32 + 12) * MIB,
        "idle": (3 + 40 + 12) * MIB,
        "unobservable": 8 * MIB,
        "unseen": 100 * MIB,
        "working_set": 76 * MIB,
    }
    if name == "filter":
        expected["idle"] = 32 * MIB  # filters are about regions
    figures = figures_at(PLACES[name], recording, path)
    assert figures == {figure: expected[figure] for figure in figures}


@pytest.mark.parametrize("name", PLACES)
def test_idle_pages_that_programs_share_count_once(tmp_path: Path, name: str) -> None:
    ages = [(0, 40 * S, 16 * MIB, 0), (1, 0, 30 * MIB, 0), (1, 40 * S, 30 * MIB, 0)]
    recording = record(path := tmp_path / "r.damon", [aged(both(), ages)])
    figures = figures_at(PLACES[name], recording, path)
    expected = (16 if name in IN_TOTAL else 16 + 30) * MIB
    if "idle" in figures and name != "filter":
        assert figures["idle"] == expected


@pytest.mark.parametrize("suffix", ["damon", "parquet", "csv", "ndjson"])
def test_figures_survive_a_conversion(tmp_path: Path, suffix: str) -> None:
    snapshots = [java(0), aged(java(1), JAVA_AGES), java(2)]
    recording = record(path := tmp_path / "r.damon", snapshots)
    copy = tmp_path / f"copy.{suffix}"
    assert write_recording(copy, recording) == ()
    for place in IN_TOTAL.values():
        assert figures_at(place, read_recording(copy), copy) == figures_at(place, recording, path)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_figures_of_any_regions_are_the_same_everywhere(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 6))
    amount = st.integers(0, MIB)

    def amounts() -> list[int]:
        return [data.draw(amount) for _ in range(count)]

    regions = [
        (0, GIB + n * MIB, GIB + (n + 1) * MIB, data.draw(st.integers(0, 20)), 1)
        for n in range(count)
    ]
    one = snapshot((JAVA,), regions, window_ns=S, touched=amounts(), unobservable=amounts())
    one = dataclasses.replace(one, footprints=(Footprint(GIB, data.draw(amount)),))
    resident = [data.draw(st.one_of(st.just(UNKNOWN), amount)) for _ in range(count)]
    one = with_columns(
        one,
        resident_bytes=resident,
        unseen_bytes=amounts(),
        age_ns=[data.draw(st.sampled_from([UNKNOWN, 0, 5 * S, 50 * S])) for _ in range(count)],
    )
    kib = st.integers(0, 2048)
    ages = [
        (n, idle_s * S, 1024 * data.draw(kib), 0)
        for n in range(count)
        for idle_s in data.draw(st.sets(st.sampled_from([0, 3, 11, 50])))
    ]
    if data.draw(st.booleans()):
        one = aged(one, ages)
    path = tmp_path_factory.mktemp("figures") / "r.damon"
    recording = record(path, [one])
    expected = figures_at(PLACES["library"], recording, path)
    assert expected["working_set"] == expected["hot"] + expected["warm"]
    for name, place in PLACES.items():
        if name.startswith("report "):
            continue  # reports print what the analyses return, which takes a second
        if name == "filter" and (UNKNOWN in resident or one.page_ages):
            # The RSS bounds such regions together, and a filter leaves some of them out. And it is
            # about the idle time of regions.
            continue
        try:
            figures = figures_at(place, recording, path)
        except RecordingError:
            assert name in ("distribution", "filter")  # no age is known
            continue
        assert figures == pytest.approx({figure: expected[figure] for figure in figures}), name
