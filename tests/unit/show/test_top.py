"""`pydamon top`, driven by its keys: the map shows hot memory where the workload has it."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from textual.pilot import Pilot

from pydamon import Access, Phase, Trace, simulate
from pydamon._cli.main import main
from pydamon._model.attrs import Attrs
from pydamon._model.errors import PydamonError
from pydamon._model.snapshot import Snapshot
from pydamon._show.frames import History, Replay
from pydamon._show.top import TopApp
from pydamon.analysis import OwnerReport, OwnerUse
from tests.recordings import BEGIN_NS, MIB, record, snapshot, target
from tests.unit.show import aged_source

S = 10**9
APP = target(
    7,
    "app",
    (16 * MIB, 24 * MIB, "rw-p", "[heap]"),
    (64 * MIB, 72 * MIB, "rw-p", "/usr/lib/libexample.so.1"),
)
SMALL = target(9, "helper", (32 * MIB, 36 * MIB, "rw-p", "[stack]"))

Driven: TypeAlias = Callable[[Pilot[None], "Screen"], Awaitable[None]]


class Live:
    """A source whose snapshots come when the test feeds them."""

    live = True
    attrs = Attrs()
    probe_name = "trace"

    def __init__(self) -> None:
        self.history = History()
        self.ended = self.caveat = ""
        self.error: PydamonError | None = None

    def feed(self, first: int, beyond: int, exited: tuple[int, ...] = ()) -> None:
        """Second *first* to *beyond*: the heap is hot in the first 20 s, then the library."""
        for number in range(first, beyond):
            self.history.add(moment(number, exited))
        self.history.flush()


def moment(number: int, exited: tuple[int, ...] = ()) -> Snapshot:
    early = number < 20
    regions = [
        (0, 16 * MIB, 24 * MIB, 20 if early else 0, 1 if early else number),
        (0, 64 * MIB, 68 * MIB, 0, number),
        (0, 68 * MIB, 72 * MIB, 0 if early else 10, 1),
        (1, 32 * MIB, 36 * MIB, 1, 1),
    ]
    targets = [APP, SMALL]
    if 9 in exited:
        targets, regions = targets[:1], regions[:3]
    return snapshot(targets, regions, number, window_ns=S)


class Screen:
    """The lines that are on the screen."""

    def __init__(self, app: TopApp) -> None:
        self._app = app

    @property
    def lines(self) -> list[str]:
        return [strip.text.rstrip() for strip in self._app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def status(self) -> str:
        return "\n".join(self.lines[:4])

    @property
    def memory(self) -> list[str]:
        """The lines of the areas."""
        region = self._app.query_one("#memory").region
        return self.lines[region.y : region.bottom]

    @property
    def heat(self) -> list[str]:
        """The lines of the heat map."""
        lines = self.lines[self._app.query_one("#heat").region.y :]
        return lines[: next(i for i, line in enumerate(lines) if "└" in line)]

    @property
    def map(self) -> list[str]:
        """What stands between the uprights of the heat map."""
        return [line.split("│")[1] for line in self.heat]

    @property
    def table(self) -> list[str]:
        lines = self.lines
        return lines[next(i for i, line in enumerate(lines) if line.startswith("mapping")) :]

    def coloured(self) -> bool:
        return any(
            segment.style is not None
            and any(
                c is not None and not c.is_default
                for c in (segment.style.color, segment.style.bgcolor)
            )
            for strip in self._app.screen._compositor.render_strips()
            for segment in strip
        )


def drive(
    source: Live | Replay, driven: Driven, *, size: tuple[int, int] = (80, 24), colour: bool = False
) -> None:
    """Run the application on a screen of so many columns and lines, while *driven* drives it."""

    async def run() -> None:
        app = TopApp(source, colour=colour)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await driven(pilot, Screen(app))

    asyncio.run(run())


async def shown(pilot: Pilot[None]) -> None:
    """Wait until the screen shows what is new."""
    await pilot.pause(0.3)


def test_what_is_hot_is_where_the_map_shows_it() -> None:
    source = Live()
    source.feed(0, 30)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        await pilot.press("a")
        assert len(screen.lines) == 24
        assert max(map(len, screen.lines)) <= 80
        rows = screen.map
        columns = len(rows[0])
        for number, row in enumerate(rows):
            at = number / len(rows)  # 16 MiB: the heap, then the library, whose second half is hot
            early, late = row[columns - 30 : columns - 10], row[columns - 10 :]
            assert row[: columns - 30].strip() == "", "nothing was monitored then"
            assert early == ("9" if at < 0.5 else ".") * 20, number
            middle = at + 0.5 / len(rows)
            if abs(middle - 0.75) > 0.5 / len(rows):
                assert late == ("5" if middle > 0.75 else ".") * 10, number
        assert "1000000│" in screen.heat[0]
        assert screen.heat[0].endswith("[heap]")
        assert any(line.endswith("libexample.so.1") for line in screen.heat[1:])
        assert "1 to 9 up to 100 %" in screen.text
        assert "-20s" in screen.text
        assert "working set 4 MiB" in screen.status
        assert "window 1 s (100 ms asked)" in screen.status
        assert not screen.coloured()

    drive(source, driven)


def test_a_simulated_monitor_shows_its_hot_part() -> None:
    """Of 64 MiB the third quarter is in use; the monitor has to find it."""
    source = Live()
    trace = Trace((Phase(S, (Access(32 * MIB, 48 * MIB, rate_hz=1000),)),))
    for taken in simulate(trace, [(0, 64 * MIB)]).run("20s"):
        source.history.add(taken)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        await pilot.press("a")
        rows = [row[-1] for row in screen.map]
        for number, cell in enumerate(rows):
            begin, end = number / len(rows), (number + 1) / len(rows)
            if begin >= 0.5 and end <= 0.75:
                assert cell in "89", rows
            elif end <= 0.5 or begin >= 0.75:
                assert cell == ".", rows

    drive(source, driven)


def test_in_colour_a_line_is_two_rows() -> None:
    source = Live()
    source.feed(0, 30)

    async def driven(_: Pilot[None], screen: Screen) -> None:
        assert screen.coloured()
        assert set("".join(screen.map)) == {"▀", " "}

    drive(source, driven, colour=True)


@pytest.mark.parametrize("colour", [False, True])
def test_every_size_and_resizing(colour: bool) -> None:
    source = Live()
    source.feed(0, 30)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        for width, height in ((80, 24), (20, 8), (200, 60), (40, 12), (80, 24)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            await pilot.pause()
            lines = screen.lines
            assert len(lines) == height
            assert max(map(len, lines)) <= width
            assert len(set(map(len, screen.map))) == 1
            if height >= 24:
                assert "quit" in lines[-1]
                assert any(line.startswith("[heap]") for line in screen.table)

    drive(source, driven, colour=colour)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_memory_by_age_is_the_first_picture(size: tuple[int, int], colour: bool) -> None:
    source = Live()
    for number in range(120):
        source.history.add(aged_source.moment(number))

    async def driven(_: Pilot[None], screen: Screen) -> None:
        assert max(map(len, screen.lines)) <= size[0]
        assert len(screen.lines) == size[1]
        assert screen.lines[0] == (
            "16 MiB resident, 4 MiB used within 10 s, 12 MiB idle for 10 s; needs 5 MiB"
        )
        *areas, base = screen.memory
        assert areas[0].startswith("       16 MiB│")
        assert base.startswith("            0├──")
        legend = [line.split("│")[-1].split() for line in areas]
        assert [words[1:] for words in legend[:5]] == [
            ["≥10min", "0", "B"],
            ["≥1min", "11", "MiB"],
            ["≥10s", "1", "MiB"],
            ["≥1s", "0", "B"],
            ["<1s", "4", "MiB"],
        ]
        assert any("need 5 MiB" in line for line in areas)
        if size[1] > 24:
            assert any("kept, come back /s" in line for line in areas)
            assert any("looks 2 s" in line for line in areas)
        if not colour:
            column = [line.split("│")[1][-1] for line in areas]
            assert column[0] == "░"
            assert column[-1] == "█"
            assert column.count("█") == round(len(areas) / 4)
            assert not screen.coloured()

    drive(source, driven, size=size, colour=colour)


def test_ages_by_regions_say_so() -> None:
    source = Live()
    source.feed(0, 30)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        assert any("by regions" in line for line in screen.memory)
        assert screen.lines[0].startswith("16 MiB resident, ")
        assert "needs" not in screen.lines[0]
        await pilot.resize_terminal(80, 12)
        await pilot.pause()
        assert "by regions" not in screen.text, "there is no room for the areas"
        assert screen.lines[0].startswith("16 MiB resident, ")

    drive(source, driven)


def test_mappings_are_ranked_by_every_column() -> None:
    source = Live()
    source.feed(0, 30)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        first_by_column = {}
        for _ in range(5):
            header, first, *_ = screen.table
            key = header.replace("▲", "▼").split("▼")[0].split()[-1]
            first_by_column[key] = first.split()[0]
            await pilot.press("s")
        assert first_by_column == {
            "hot": "/usr/lib/libexample.so.1",
            "cold": "[heap]",
            "10s": "[heap]",
            "size": "/usr/lib/libexample.so.1",
            "mapping": "/usr/lib/libexample.so.1",
        }
        heap = next(line for line in screen.table if line.startswith("[heap]"))
        assert heap.split()[1:] == ["8", "MiB", "-", "8", "MiB", "8", "MiB", "0", "%"]

    drive(source, driven)


def owned(*uses: OwnerUse) -> OwnerReport:
    return OwnerReport(uses, (), BEGIN_NS, 10 * S, True)


@pytest.mark.parametrize("width", [20, 80, 120])
def test_owners_in_the_place_of_mappings(width: int) -> None:
    source = Live()
    source.feed(0, 30)
    load = OwnerUse(("app", "load (a.py:3)"), MIB, MIB, 0, 0, MIB)
    serve = OwnerUse(("app", "serve (a.py:9)"), 2 * MIB, 2 * MIB, 2 * MIB, 0, 0)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        await pilot.press("o")
        await shown(pilot)
        assert "nothing is known of" in screen.text
        source.history.owners = owned(load, serve)
        source.feed(30, 31)
        await shown(pilot)
        first = next(line for line in screen.lines if line.startswith("load"))
        assert first.endswith("1 MiB")
        if width >= 80:
            assert first.startswith("load (a.py:3) < app")
            assert "o owners" in screen.lines[-1]
            await pilot.press("s")
            hot_first = screen.text.index("serve (a.py:9)"), screen.text.index("load (a.py:3)")
            assert hot_first == tuple(sorted(hot_first))
        await pilot.press("o")
        assert screen.table

    drive(source, driven, size=(width, 24))


def test_owners_are_those_of_the_chosen_target() -> None:
    source = Live()
    source.feed(0, 30)
    app, helper = source.history.frames()[-1].targets[:2]
    uses = [OwnerUse((name,), MIB, MIB, 0, 0, MIB) for name in ("of_all", "of_app", "of_helper")]
    reports = [owned(use) for use in uses]
    source.history.owners = reports[0]
    source.history.owners_by_target = {app.key: reports[1], helper.key: reports[2]}

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        await pilot.press("o")
        await shown(pilot)
        seen = []
        for _ in range(2):
            seen.append(next(name for name in ("of_app", "of_helper") if name in screen.text))
            pid = {"of_app": app.pid, "of_helper": helper.pid}[seen[-1]]
            assert f"owner, of process {pid}" in screen.text
            assert "of_all" not in screen.text
            await pilot.press("t")
            await shown(pilot)
        assert len(set(seen)) == 2

    drive(source, driven)


def test_pause_stops_the_picture_and_end_goes_on() -> None:
    source = Live()
    source.feed(0, 10)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        for stop, go_on in (("space", "space"), ("left", "end")):
            await pilot.press(stop)
            before = screen.map
            assert "paused" in screen.status
            source.feed(source.history.version, source.history.version + 5)
            await shown(pilot)
            assert screen.map == before
            await pilot.press(go_on)
            assert "paused" not in screen.status
            assert screen.map != before

    drive(source, driven)


def test_steps_through_time() -> None:
    source = Live()
    source.feed(0, 30)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        await pilot.press("a")
        now = screen.map
        await pilot.press("left", "left", "left")
        assert [row[:-3] for row in now] == [row[3:] for row in screen.map]
        await pilot.press("right", "right", "right")
        assert screen.map == now
        await pilot.press("home")
        assert {row[:-1].strip() for row in screen.map} == {""}
        assert screen.map[0][-1] == "9"
        assert "working set 8 MiB" in screen.status
        await pilot.press("left", "pagedown")
        await pilot.press("end")
        assert screen.map == now

    drive(source, driven)


def test_picks_a_row_and_zooms_into_it() -> None:
    source = Live()
    source.feed(0, 30)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        await pilot.press("a", "up")
        assert "libexample.so.1: accessed in 50 % of samples" in screen.status
        assert screen.status.splitlines()[3].startswith("4")
        await pilot.press("plus")
        assert {row[-1] for row in screen.map} == {"9", "."}
        assert "1 to 9 up to 50 %" in screen.text
        hot = [row[-1] == "9" for row in screen.map]
        assert hot == sorted(hot)
        assert sum(hot) >= len(hot) // 2 - 1
        await pilot.press("plus", "plus")
        for _ in range(10):
            await pilot.press("plus")
        assert "libexample.so.1: accessed in 50 % of samples" in screen.status
        await pilot.press("down", "down", "up", "minus", "minus")
        assert "zoomed" in screen.status
        await pilot.press("f")
        assert "hottest" in screen.status
        await pilot.press("minus")
        assert "all, 16 MiB of 16 MiB" in screen.status
        await pilot.click("#heat", offset=(30, 0))
        assert "[heap]: accessed in 0 %" in screen.status

    drive(source, driven)


def test_shift_moves_the_zoomed_addresses() -> None:
    source = Live()
    source.feed(0, 30)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        def hot() -> str:
            return "".join(row[-1] for row in screen.map)

        await pilot.press("a", "up", "plus", "plus")
        assert set(hot()) == {".", "9"}, "4 MiB around the start of the hot half of the library"
        await pilot.press("shift+up", "shift+up")
        assert set(hot()) == {"."}
        assert "libexample" in screen.status
        await pilot.press(*["shift+up"] * 4)
        assert "[heap]" in screen.status
        assert screen.heat[0].startswith("      1000000│"), "there is nothing below"
        await pilot.press(*["shift+down"] * 7)
        assert set(hot()) == {"9"}
        # Picking a row beyond the edge moves the addresses, too.
        await pilot.press(*["up"] * 2 * len(screen.map))
        assert set(hot()) == {"."}
        await pilot.press("minus")
        assert "zoomed, 8 MiB of 16 MiB" in screen.status

    drive(source, driven)


def test_the_other_target() -> None:
    source = Live()
    source.feed(0, 10)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        assert "app (pid 7)" in screen.status
        assert "1 more target: t" in screen.status
        await pilot.press("t")
        assert "helper (pid 9)" in screen.status
        assert screen.table[1].startswith("[stack]")
        source.feed(10, 13, exited=(9,))
        await shown(pilot)
        assert "helper (pid 9)" in screen.status
        assert screen.map[0][-3:] == "   "
        assert screen.map[0][-4] != " "
        await pilot.press("t")
        assert "app (pid 7)" in screen.status

    drive(source, driven)


def test_the_last_picture_stays() -> None:
    source = Live()
    source.feed(0, 10)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        before = screen.map
        source.ended = "all that was watched has exited"
        await shown(pilot)
        assert screen.map == before
        assert "has exited; the last picture; q quits" in screen.status
        await pilot.press("left")
        assert screen.map != before

    drive(source, driven)


def test_nothing_to_see() -> None:
    source = Live()

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        for key in ("space", "left", "home", "end", "s", "up", "plus", "minus", "f", "a", "t"):
            await pilot.press(key)
        assert "no window has ended yet" in screen.status
        source.ended = "all that was watched has exited"
        await shown(pilot)
        assert "nothing was seen" in screen.status

    drive(source, driven)


def test_a_caveat_stands_on_the_screen_while_it_holds() -> None:
    source = Live()
    source.feed(0, 10)

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        assert "figures may be wrong" not in screen.text
        source.caveat = "another monitor clears accessed bits, too: memory in use may look idle"
        await shown(pilot)
        assert "figures may be wrong: another monitor clears" in screen.lines[4]
        assert screen.lines[5] == "may look idle"
        assert any(line.startswith("[heap]") for line in screen.table)
        source.caveat = ""
        await shown(pilot)
        assert "│" in screen.lines[4]

    drive(source, driven)


def test_a_recording_plays(tmp_path: Path) -> None:
    source = Replay(record(tmp_path / "r.damon", map(moment, range(3))))

    async def driven(pilot: Pilot[None], screen: Screen) -> None:
        early = screen.map
        assert early[0][-1] == "9"
        await pilot.press("space")
        before = screen.map
        await shown(pilot)
        assert screen.map == before
        await pilot.press("space")
        for _ in range(100):
            await pilot.pause(0.1)
            if "the recording ends here" in screen.status:
                break
        assert screen.map[0].endswith("999")
        await pilot.press("home")
        assert screen.map[0].endswith(" 9")

    drive(source, driven)


class Teletype(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("0",), "no process with pid 0"),
        (("nothing-there",), "no recording nothing-there"),
        (("1", "r.damon"), "not r.damon as well"),
        ((), "name processes by pid"),
    ],
)
def test_errors_are_one_line(
    argv: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, Teletype())
    assert main(["top", *argv]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_without_a_terminal_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "1"]) == 1
    assert capsys.readouterr().err.startswith("pydamon: top draws on a terminal")
