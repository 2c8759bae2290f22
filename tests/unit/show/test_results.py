"""Results in terminals: what people read, however wide the screen is and whatever names hold."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console, RenderableType

from pydamon import analysis
from pydamon._data.recording import Recording
from pydamon._model.snapshot import Snapshot, Target
from pydamon._show.results.heatmap import heatmap_cells
from pydamon._show.results.recording import SummaryView
from pydamon._show.results.regions import region_lines
from tests.recordings import BEGIN_NS, MIB, record, snapshot, target

APP = target(
    7,
    "app",
    (16 * MIB, 24 * MIB, "rw-p", "[heap]"),
    (64 * MIB, 72 * MIB, "rw-p", "/usr/lib/a/long/way/down/libexample.so.1"),
)


def written(count: int = 40) -> list[Snapshot]:
    """The heap is hot in the first half of the time, the library in the second."""
    return [
        snapshot(
            (APP,),
            [
                (0, 16 * MIB, 24 * MIB, 20 if number < count // 2 else 0, number),
                (0, 64 * MIB, 72 * MIB, 0 if number < count // 2 else 20, number),
            ],
            number,
        )
        for number in range(count)
    ]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return record(tmp_path / "r.damon", written())


def console(width: int = 80, colour: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=30,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
        _environ={},
    )


def text(shown: RenderableType, on: Console | None = None) -> str:
    on = on or console()
    with on.capture() as capture:
        on.print(shown)
    return capture.get()


def test_a_heat_map_without_colours_has_digits_axes_and_a_legend(recording: Recording) -> None:
    lines = text(analysis.heatmap(recording, 4, 8, addresses="all")).splitlines()
    assert lines[0] == "app (pid 7): 16 MiB of 16 MiB over 4 s"
    assert lines[1] == "      1000000 │9999....│ [heap]"
    assert lines[2] == "              │9999....│"
    assert lines[3] == "      4000000 │....9999│ libexample.so.1"
    assert lines[5] == "              └┴───────"
    assert lines[6].strip() == "0 s"
    assert "1 to 9 up to 100 %" in lines[7]
    assert len(lines) == 8


def test_the_time_axis_has_round_numbers(recording: Recording) -> None:
    lines = text(analysis.heatmap(recording, 2, 40)).splitlines()
    assert lines[3][15:] == "┴───────────────────┴───────────────────"
    assert lines[4].split() == ["0", "s", "2", "s"]
    assert lines[4].index("2 s") == 35


def test_no_colour_means_no_escapes(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor")
    shown = text(analysis.heatmap(recording, 4, 8), plain)
    assert "9999" in shown
    assert "\x1b[38" not in shown


def test_in_colour_a_character_is_two_rows(recording: Recording) -> None:
    colourful = console(colour=True)
    heatmap = analysis.heatmap(recording, 2, 2, addresses="all")
    shown = text(heatmap, colourful).splitlines()
    pale, dark = "252;253;170", "16;10;46"
    assert f"\x1b[38;2;{pale};48;2;{dark}m▀" in shown[1]
    assert f"\x1b[38;2;{dark};48;2;{pale}m▀" in shown[1]
    assert heatmap_cells(colourful, 20, 10) == (20, 20)
    assert heatmap_cells(console(), 20, 10) == (10, 20)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("colour", [False, True])
def test_a_heat_map_fills_the_terminal_and_no_more(
    recording: Recording, width: int, colour: bool
) -> None:
    on = console(width, colour)
    rows, columns = heatmap_cells(on)
    heatmap = analysis.heatmap(recording, rows, columns)
    lines = [line for line in on.render_lines(heatmap, pad=False) if line]
    longest = max(sum(segment.cell_length for segment in line) for line in lines)
    assert longest <= width
    assert longest >= width - 22


def test_a_terminal_without_unicode_gets_ascii(recording: Recording) -> None:
    on = Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"), width=80, _environ={})
    for view in (
        analysis.heatmap(recording, 4, 20),
        analysis.working_set(recording),
    ):
        assert text(view, on).isascii()


def test_a_heat_map_that_is_too_wide_gets_narrower(recording: Recording) -> None:
    heatmap = analysis.heatmap(recording, 4, 200, addresses="all")
    lines = text(heatmap, console(60)).splitlines()
    assert lines[1] == "      1000000 │" + "9" * 11 + "5" + "." * 11 + "│ [heap]"
    assert lines[3] == "      4000000 │" + "." * 11 + "5" + "9" * 11 + "│ libexample.so.1"
    assert max(map(len, lines)) <= 60


def test_nothing_accessed_is_said_in_words(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", [snapshot((APP,), [(0, 0, MIB, 0, 0)])])
    assert "nothing was accessed" in text(analysis.heatmap(recording, 2, 20))


def test_the_working_set_is_shown_as_percentiles_and_course(tmp_path: Path) -> None:
    steps = [
        snapshot((APP,), [(0, 0, 8 * MIB, 1, 0)], number, touched=[number * MIB])
        for number in range(9)
    ]
    working_set = analysis.working_set(record(tmp_path / "r.damon", steps), (50, 100))
    lines = text(working_set).splitlines()
    assert lines[0] == "app (pid 7): working set in 9 snapshots"
    assert lines[1].split()[:4] == ["50", "%", "4", "MiB"]
    assert lines[1].count("█") * 2 == lines[2].count("█") == 50
    assert lines[3] == "over time  ▁▂▃▄▅▆▇█"


def test_regions_have_temperatures_and_names(recording: Recording) -> None:
    shown = text(analysis.regions(recording)).splitlines()
    headings = "temp. size rate per second for address perms mapping"
    assert " ".join(shown[1].split()) == headings
    assert shown[2].split()[1:5] == ["8", "MiB", "100", "%"]
    assert shown[2].rstrip().endswith("4000000  rw-p   libexample.so.1")
    assert shown[3].rstrip().endswith("1000000  rw-p   [heap]")
    assert shown[3].split()[0].startswith("-")


def test_of_many_regions_the_middle_is_left_out(tmp_path: Path) -> None:
    many = [(0, 2 * i * MIB, (2 * i + 1) * MIB, i % 21, 0) for i in range(100)]
    recording = record(tmp_path / "r.damon", [snapshot((APP,), many)])
    shown = text(analysis.regions(recording)).splitlines()
    assert len(shown) == 2 + 31
    assert "70 regions in between" in shown[22]


def test_the_summary_names_what_is_hot(recording: Recording) -> None:
    shown = text(SummaryView(analysis.summary(recording), recording.info), console(120))
    lines = {line[:15].strip(): line[15:] for line in shown.splitlines()}
    assert "app (pid 7)" in lines["Target"]
    assert "40 snapshots, probe trace" in lines["Recorded"]
    assert "8 MiB in the median, 8 MiB at most" in lines["Working set"]
    assert "50 %" in lines["Hot"]
    assert "[heap] 4 MiB" in lines["Hot memory in"]
    assert "a sample every 5 ms" in lines["Monitoring"]
    assert "Not observable" not in lines


def test_mappings_are_listed_with_their_heat(recording: Recording) -> None:
    shown = text(analysis.mappings(recording)).splitlines()
    assert " ".join(shown[2].split()).startswith("8 MiB 4 MiB - 4 MiB")
    assert [line.split()[-1] for line in shown[2:4]] == ["[heap]", APP.mappings.mappings[1].name]


def test_names_cannot_command_the_terminal(tmp_path: Path) -> None:
    evil = target(7, "\x1b[2Jevil[red]", (0, MIB, "rw-p", "/tmp/\x1b]0;x\x07[bold]"))
    recording = record(tmp_path / "r.damon", [snapshot((evil,), [(0, 0, MIB, 1, 0)])])
    views: list[RenderableType] = [
        analysis.heatmap(recording, 2, 20),
        analysis.working_set(recording),
        analysis.regions(recording),
        analysis.mappings(recording),
        SummaryView(analysis.summary(recording), recording.info),
    ]
    shown = "".join(map(text, views)) + "\n".join(region_lines(recording.snapshot(0), BEGIN_NS))
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert r"\x1b[2Jevil[red]" in shown


def test_rates_below_a_sample_a_window_are_shown_with_their_error() -> None:
    rare = dataclasses.replace(
        snapshot((APP,), [(0, 16 * MIB, 17 * MIB, 0, 2)]),
        access_share=np.array([0.0105]),
        access_share_error=np.array([0.0025]),
    )
    assert "2.1Hz ±0.5" in text(rare)
    assert "2.1Hz ±0.5" in text(analysis.regions_of(rare))
    assert " 0/20   2.1Hz +-0.5 " in list(region_lines(rare, BEGIN_NS))[2]


def test_lines_of_regions_say_what_is_mapped() -> None:
    regions = [(0, 16 * MIB, 17 * MIB, 3, 2), (1, 0, MIB, 0, 0)]
    lines = list(region_lines(snapshot((APP, Target(0)), regions, 3), BEGIN_NS))
    assert lines[0] == "app (pid 7): after 300 ms, in 100 ms, 1 regions"
    assert " ".join(lines[2].split()) == "1000000-1100000 1 MiB 3/20 30Hz 200 ms 1 MiB [heap] rw-p"
    assert lines[3].startswith("memory: after")
    assert lines[5].endswith("(not mapped)")
