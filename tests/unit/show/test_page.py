"""The HTML heat map, in a browser: it shows hot memory hot, where and when it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pydamon import analysis
from pydamon._model.snapshot import Snapshot
from pydamon._show.frames.figures import AGE_COLOURS
from pydamon._show.pictures.page import recording_page
from tests.browser import CHROMIUM, Tab, chromium
from tests.recordings import MIB, record, snapshot, target
from tests.unit.show.aged_source import moment

HEAP, LIB = 0x55D0_C000_0000, 0x7F3A_1000_0000
EVIL = "/tmp/</script><img src=x onerror=alert(1)>"
APP = target(
    7, "app", (HEAP, HEAP + 16 * MIB, "rw-p", "[heap]"), (LIB, LIB + 16 * MIB, "r-xp", EVIL)
)
OTHER = target(8, "other", (0, MIB, "rw-p", "[anon]"))
SNAPSHOTS = 40
PALE, DARK = (252, 253, 170), (16, 10, 46)


def workload(number: int) -> Snapshot:
    """A quarter of the heap is hot for 2 s, then the last 4 MiB of the library are."""
    first = number < SNAPSHOTS // 2
    return snapshot(
        (APP, OTHER),
        [
            (0, HEAP, HEAP + 4 * MIB, 20 if first else 0, number % 20),
            (0, HEAP + 4 * MIB, HEAP + 16 * MIB, 0, number),
            (0, LIB, LIB + 12 * MIB, 0, number),
            (0, LIB + 12 * MIB, LIB + 16 * MIB, 0 if first else 20, number % 20),
            (1, 0, MIB, 1, number),
        ],
        number,
    )


@dataclass(frozen=True)
class Screen:
    """The page; the axis is 16 MiB of heap, then 16 MiB of library, over 4 s."""

    tab: Tab

    def point(self, position_mib: float, time_s: float) -> tuple[float, float]:
        """The place on the screen of a position and a time, by the view of the page."""
        self.tab.evaluate("page.painter.canvas.scrollIntoView({ block: 'center' })")
        x, y, width, height, low, high, begin, end = self.tab.evaluate(
            "(() => { const { canvas, field: f } = page.painter, v = page.view;"
            "const r = canvas.getBoundingClientRect();"
            "return [r.left + MARGIN.left, r.top + MARGIN.top, f.width, f.height,"
            " v.low, v.high, v.begin, v.end]; })()"
        )
        right = (time_s * 1e9 - begin) / (end - begin) * width
        down = (position_mib * MIB - low) / (high - low) * height
        return x + right, y + down

    def colour(self, position_mib: float, time_s: float) -> tuple[int, ...]:
        x, y = self.point(position_mib, time_s)
        colour = self.tab.picture().getpixel((round(x), round(y)))
        assert isinstance(colour, tuple)
        return colour

    def hover(self, position_mib: float, time_s: float) -> dict[str, str]:
        self.tab.mouse("mouseMoved", *self.point(position_mib, time_s))
        assert self.tab.evaluate("!document.getElementById('tip').hidden")
        lines: dict[str, str] = self.tab.evaluate(
            "Object.fromEntries([...document.querySelectorAll('#tip dt')]"
            ".map((dt) => [dt.textContent, dt.nextElementSibling.textContent]))"
        )
        return lines

    def shown(self) -> str:
        return str(self.tab.evaluate("document.getElementById('shown').textContent"))

    def click(self, name: str) -> None:
        self.tab.evaluate(f"document.getElementById('{name}').click()")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def opened(tab: Tab, file: Path) -> Screen:
    tab.requests.clear()
    tab.errors.clear()
    tab.open(file)
    tab.wait("document.body.dataset.ready === 'yes'")
    return Screen(tab)


def shown_in(tab: Tab, directory: Path, snapshots: int) -> Screen:
    file = directory / "heat.html"
    file.write_text(recording_page(record(directory / "r.damon", map(workload, range(snapshots)))))
    return opened(tab, file)


@pytest.fixture
def screen(tab: Tab, tmp_path: Path) -> Screen:
    screen = shown_in(tab, tmp_path, SNAPSHOTS)
    screen.click("all")
    return screen


def test_hot_and_cold_are_where_the_workload_put_them(screen: Screen) -> None:
    assert screen.shown() == "32 MiB of 32 MiB, 4 s of 4 s"
    assert screen.colour(2, 1) == PALE
    assert screen.colour(2, 3) == DARK
    assert screen.colour(10, 1) == DARK
    assert screen.colour(22, 3) == DARK
    assert screen.colour(30, 1) == DARK
    assert screen.colour(30, 3) == PALE
    # To within a cell of two pixels.
    assert screen.colour(3.85, 1.95) == PALE
    assert screen.colour(4.15, 1.95) == DARK
    assert screen.colour(3.85, 2.05) == DARK


def test_the_tooltip_tells_the_region_under_the_mouse(screen: Screen) -> None:
    hot = screen.hover(2, 1.05)
    assert hot["mapping"] == "[heap]"
    assert hot["region"] == f"{HEAP:x}-{HEAP + 4 * MIB:x} (4 MiB)"
    assert hot["rate"] == "100 % of samples, 200 Hz"
    assert hot["age"] == "1 s"
    assert hot["time"].startswith("1.05 s after the start")
    cold = screen.hover(20, 1.05)
    assert cold["mapping"] == EVIL
    assert cold["region"].startswith(f"{LIB:x}-{LIB + 12 * MIB:x}")
    assert cold["rate"] == "0 % of samples, 0 Hz"


def test_zooming_with_a_box_the_wheel_and_the_keys(screen: Screen) -> None:
    screen.tab.drag(screen.point(24, 2), screen.point(32, 4))
    assert screen.shown() == "8 MiB of 32 MiB, 2 s of 4 s"
    assert screen.colour(29, 2.5) == PALE
    assert screen.colour(27, 2.5) == DARK
    assert screen.colour(28.1, 2.05) == PALE
    assert screen.colour(27.9, 2.05) == DARK
    assert screen.hover(28.01, 3.95)["region"].startswith(f"{LIB + 12 * MIB:x}-")

    x, y = screen.point(28, 3)
    screen.tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    assert screen.shown() == "4 MiB of 32 MiB, 1 s of 4 s"
    assert screen.point(28, 3) == pytest.approx((x, y), abs=1)
    screen.tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=200, modifiers=8)
    assert screen.shown() == "4 MiB of 32 MiB, 2 s of 4 s"

    screen.tab.evaluate("page.painter.canvas.focus()")
    for _ in range(2):
        screen.tab.key("Backspace")
    assert screen.shown() == "8 MiB of 32 MiB, 2 s of 4 s"
    screen.tab.key("ArrowUp")
    assert screen.hover(22.5, 3)["mapping"] == EVIL
    screen.click("all")
    assert screen.shown() == "32 MiB of 32 MiB, 4 s of 4 s"


def test_it_opens_at_the_hottest_addresses(tab: Tab, tmp_path: Path) -> None:
    screen = shown_in(tab, tmp_path, SNAPSHOTS // 2)
    assert screen.shown() == "4.3 MiB of 32 MiB, 2 s of 2 s"
    assert screen.colour(3, 1) == PALE
    assert screen.colour(4.2, 1) == DARK
    screen.click("all")
    screen.click("hottest")
    assert screen.shown() == "4.3 MiB of 32 MiB, 2 s of 2 s"


def test_every_target_can_be_looked_at(screen: Screen) -> None:
    screen.tab.evaluate(
        "(() => { const s = document.getElementById('target');"
        "s.value = '1'; s.dispatchEvent(new Event('change')); })()"
    )
    assert screen.shown().startswith("1 MiB of 1 MiB")
    assert screen.hover(0.5, 2)["rate"] == "5 % of samples, 10 Hz"


def test_nothing_is_fetched_and_nothing_else_runs(screen: Screen) -> None:
    screen.hover(20, 1)
    assert screen.tab.requests
    assert all(url.startswith("file://") for url in screen.tab.requests)
    assert len(screen.tab.requests) == 1
    assert screen.tab.errors == []
    assert screen.tab.evaluate("document.querySelectorAll('img').length") == 0
    refused = "fetch('http://127.0.0.1:1/').then(() => 'fetched', () => 'refused')"
    assert screen.tab.evaluate(refused) == "refused"
    assert screen.tab.evaluate(
        "new Promise((yes) => {"
        "addEventListener('securitypolicyviolation', (e) => yes(e.blockedURI));"
        "const s = document.createElement('script'); s.textContent = 'globalThis.ran = 1';"
        "document.body.append(s); })"
    )
    assert screen.tab.evaluate("globalThis.ran") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_light_or_dark_as_the_reader_likes(screen: Screen, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    screen.tab.send("Emulation.setEmulatedMedia", features=[feature])
    paper = screen.tab.picture().getpixel((2, 2))
    assert paper == ((255, 255, 255) if scheme == "light" else (24, 24, 24))
    assert screen.colour(2, 1) == PALE


def test_a_narrow_window_has_room_for_the_map(screen: Screen) -> None:
    screen.tab.resize(420, 500)
    screen.tab.wait("page.painter.canvas.clientWidth < 420")
    screen.tab.wait("page.painter.canvas.width === page.painter.canvas.clientWidth")
    assert screen.tab.evaluate("document.documentElement.scrollWidth") <= 420
    assert screen.colour(2, 1) == PALE
    assert screen.colour(30, 1) == DARK


def test_a_saved_heat_map_shows_its_cells(tab: Tab, tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", map(workload, range(SNAPSHOTS)))
    analysis.heatmap(recording, 32, 40, pid=7, addresses="all").save(tmp_path / "heat.html")
    screen = opened(tab, tmp_path / "heat.html")
    assert screen.shown() == "32 MiB of 32 MiB, 4 s of 4 s"
    assert screen.colour(2, 1) == screen.colour(30, 3) == PALE
    assert screen.colour(2, 3) == screen.colour(10, 1) == screen.colour(30, 1) == DARK
    tip = screen.hover(2.5, 1.05)
    assert tip["mapping"] == "[heap]"
    assert tip["addresses"] == f"{HEAP + 2 * MIB:x}-{HEAP + 3 * MIB:x} (1 MiB)"
    assert tip["mean rate"] == "100 %"
    assert "age" not in tip
    assert screen.tab.errors == []


def test_targets_without_regions_are_left_out(tmp_path: Path) -> None:
    whole = record(tmp_path / "r.damon", map(workload, range(4)))
    page = recording_page(analysis.where(whole, "pid = 7"))
    assert "<title>Memory of app (pid 7)</title>" in page
    assert "other (pid 8)" not in page
    assert "hottest of" not in page


def test_of_very_many_targets_the_hottest_are_drawn(tmp_path: Path) -> None:
    many = [target(100 + i, f"p{i}", (0, MIB, "rw-p", "[heap]")) for i in range(120)]
    regions = [(i, 0, MIB, 20 if i == 110 else i % 5, 0) for i in range(120)]
    page = recording_page(record(tmp_path / "r.damon", [snapshot(many, regions)]))
    assert "the 100 hottest of 120 targets" in page
    assert "<title>Memory of p110 (pid 210)" in page
    assert page.count('"label"') == 100


def test_memory_by_age_is_the_first_picture(tmp_path: Path) -> None:
    page = recording_page(record(tmp_path / "r.damon", map(moment, range(120))))
    picture, table = page.index('<svg id="areas" role="img"'), page.index("<table>")
    assert picture < table < page.index('<canvas id="map"')
    assert "<strong>16 MiB</strong>resident" in page
    assert 'aria-label="Resident memory by time since its last use, at the end: 16 MiB' in page
    assert 'aria-label="Memory kept, against pages a second that come back:' in page
    assert page.count('class="age age') == 4, "no memory is of unknown age, or 10 min old"
    assert "It was in use within" in page
    for words in ('<th scope="col">idle 10 s to 1 min</th>', "Memory needed</caption>"):
        assert words in page
    assert "by regions" not in page
    assert "looks are 2 s apart" in page
    assert page.count("<script") == 3, "the areas need none"


def test_without_ages_of_pages_it_says_by_regions(tmp_path: Path) -> None:
    page = recording_page(record(tmp_path / "r.damon", map(workload, range(4))))
    assert "by regions: a region counts as used where any page of it is" in page
    assert "not known: nobody looked at single pages" in page


def test_the_areas_are_as_high_as_the_memory(tab: Tab, tmp_path: Path) -> None:
    light = {"name": "prefers-color-scheme", "value": "light"}
    tab.send("Emulation.setEmulatedMedia", features=[light])
    file = tmp_path / "memory.html"
    file.write_text(recording_page(record(tmp_path / "r.damon", map(moment, range(120)))))
    opened(tab, file)
    picture = tab.picture()
    left, top, width, height = tab.evaluate(
        "(() => { const r = document.getElementById('areas').getBoundingClientRect();"
        "return [r.x, r.y, r.width, r.height]; })()"
    )
    for share, colour in ((0.1, 0), (0.9, 3)):
        at = left + 0.99 * width, top + (1 - share) * height
        wanted = AGE_COLOURS["light"][colour]
        channels = tuple(int(wanted[i : i + 2], 16) for i in (1, 3, 5))
        assert picture.getpixel((round(at[0]), round(at[1]))) == channels
