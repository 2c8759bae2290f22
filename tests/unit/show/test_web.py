"""`pydamon serve`: access needs the token, and the page shows hot memory where it is."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import signal
import threading
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pydamon._cli.main import main
from pydamon._model.snapshot import Snapshot
from pydamon._show.frames import Frame, FrameSource, History, Replay
from pydamon._show.frames.figures import AGE_COLOURS
from pydamon._show.web import Server, application, serve
from pydamon._show.web.encode import Encoder
from pydamon.analysis import OwnerReport, OwnerUse
from tests.browser import CHROMIUM, Tab, chromium
from tests.recordings import MIB, record, snapshot, target
from tests.unit.show import aged_source
from tests.unit.show.test_top import Live

S = 10**9
APP = target(
    7,
    "app",
    (16 * MIB, 24 * MIB, "rw-p", "[heap]"),
    (0x7F00_0000_0000, 0x7F00_0000_0000 + 8 * MIB, "rw-p", "/usr/lib/<b>libexample</b>.so.1"),
)
HELPER = target(9, "helper", (32 * MIB, 36 * MIB, "rw-p", "[stack]"))
LIBRARY = 0x7F00_0000_0000


def moment(number: int) -> Snapshot:
    """The heap is hot in the first 20 s, then the second half of the library is half as much."""
    early = number < 20
    return snapshot(
        [APP, HELPER],
        [
            (0, 16 * MIB, 24 * MIB, 20 if early else 0, 1 if early else number),
            (0, LIBRARY, LIBRARY + 4 * MIB, 0, number),
            (0, LIBRARY + 4 * MIB, LIBRARY + 8 * MIB, 0 if early else 10, 1),
            (1, 32 * MIB, 36 * MIB, 1, 1),
        ],
        number,
        window_ns=S,
    )


def live(seconds: int) -> Live:
    source = Live()
    for number in range(seconds):
        source.history.add(moment(number))
    return source


@contextmanager
def serving(source: FrameSource) -> Iterator[Server]:
    server = Server(source)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


def ask(
    server: Server, path: str = "/", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, text


def cookie(server: Server) -> str:
    _, headers, _ = ask(server, f"/?token={server.token}")
    return headers["set-cookie"].split(";")[0]


# Access.


def test_only_requests_with_the_token_are_answered() -> None:
    with serving(live(1)) as server, serving(live(1)) as other:
        assert server.url == f"http://127.0.0.1:{server.port}/?token={server.token}"
        for path in ("/", "/frames", "/main.js", "/nothing", "/?token=", "/?token=wrong"):
            status, _, text = ask(server, path)
            assert status == 403, path
            assert "the address that pydamon serve has printed" in text
        assert ask(server, Cookie=cookie(other))[0] == 403
        assert ask(server, Cookie=f"pydamon-{server.port}=wrong")[0] == 403
        status, headers, _ = ask(server, f"/?token={server.token}")
        assert (status, headers["location"]) == (303, "/")
        assert "HttpOnly" in headers["set-cookie"]
        assert ask(server, f"//evil.example/?token={server.token}")[1]["location"] == "/"
        status, headers, page = ask(server, Cookie=cookie(server))
        assert status == 200
        assert '<script type="module" src="main.js">' in page
        assert server.token not in page


def test_other_names_are_refused() -> None:
    """A page of another site can let its own name point here, but not an address."""
    with serving(live(1)) as server:
        known = cookie(server)
        for host in ("evil.example", f"evil.example:{server.port}", "localhost.evil.example", ""):
            assert ask(server, Host=host, Cookie=known)[0] == 421, host
        for host in ("localhost", f"localhost:{server.port}", "127.0.0.1:1", "[::1]:80", "[::1]"):
            assert ask(server, Host=host, Cookie=known)[0] == 200, host


def test_requests_can_change_nothing() -> None:
    with serving(live(1)) as server:
        known = cookie(server)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert ask(server, "/frames", method, Cookie=known)[0] == 405
        for path in ("/../encode.py", "/%2e%2e/encode.py", "/..%2fencode.py"):
            assert ask(server, path, Cookie=known)[0] == 404


def test_every_answer_keeps_foreign_code_out() -> None:
    with serving(live(1)) as server:
        for headers in (ask(server)[1], ask(server, Cookie=cookie(server))[1]):
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert "server" not in headers


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = str(tmp_path / "r.damon")
    record(Path(path), [moment(0)])
    with serving(live(1)) as server:
        for argv, words in (
            ((path, "--port", str(server.port)), "Address already in use"),
            ((path, "--port", "70000"), "not a port: 70000"),
            ((path, "--host", "no.such.host.invalid"), "cannot listen"),
            ((), "name processes by pid"),
            (("999999999",), "no process with pid"),
        ):
            assert main(["serve", *argv]) == 1
            error = capsys.readouterr().err
            assert words in error
            assert "Traceback" not in error


def test_ctrl_c_ends_it() -> None:
    def interrupt(url: str) -> None:
        with suppress(urllib.error.HTTPError):  # no cookie; but the server answers
            urllib.request.urlopen(url, timeout=10)
        os.kill(os.getpid(), signal.SIGINT)

    interrupters = []

    def announce(url: str) -> None:
        interrupters.append(threading.Thread(target=interrupt, args=(url,)))
        interrupters[0].start()

    serve(live(1), announce=announce)
    interrupters[0].join()


# The stream.


class Stream:
    """The events of a server, as a browser would get them."""

    def __init__(self, server: Server, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        self._connection.request("GET", "/frames", headers={"Cookie": cookie(server), **headers})
        self._answer = self._connection.getresponse()
        assert self._answer.getheader("content-type", "").startswith("text/event-stream")

    def next(self) -> dict[str, str]:
        """The next event."""
        event: dict[str, str] = {}
        while True:
            line = self._answer.readline().decode()
            assert line, "the stream has ended"
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                event[name] = value
            elif "data" in event:
                return event
            else:
                event = {}

    def close(self) -> None:
        self._connection.close()


def test_a_stream_has_all_frames_and_goes_on() -> None:
    source = live(5)
    with serving(source) as server:
        stream = Stream(server)
        frames = [json.loads(stream.next()["data"]) for _ in range(5)]
        assert [frame["end"] - frame["start"] for frame in frames] == [1000] * 5
        assert frames[0]["targets"] == [
            ["/7/0/app", "app (pid 7)"],
            ["/9/0/helper", "helper (pid 9)"],
        ]
        state = stream.next()
        assert (state["event"], json.loads(state["data"])["live"]) == ("state", True)
        assert json.loads(state["data"])["caveat"] == ""
        source.caveat = "another monitor is at work\x1b"
        assert json.loads(stream.next()["data"])["caveat"] == r"another monitor is at work\x1b"
        source.feed(5, 6)
        event = stream.next()
        assert json.loads(event["data"])["start"] == frames[-1]["end"]
        stream.close()
        source.feed(6, 8)
        again = Stream(server, **{"Last-Event-ID": event["id"]})
        assert json.loads(again.next()["data"])["start"] == frames[-1]["end"] + 1000
        again.close()
        other = Stream(server, **{"Last-Event-ID": "of-another-server-7"})
        assert json.loads(other.next()["data"])["start"] == frames[0]["start"]
        source.ended = "all that was watched has exited"
        assert "exited" in next(
            e["data"]
            for e in iter(other.next, None)
            if e.get("event") == "state" and "exited" in e["data"]
        )
        other.close()


def test_a_frame_is_encoded_once_and_not_kept_for_longer() -> None:
    encoder = Encoder()
    frame: Frame | None = live(1).history.frames()[0]
    assert frame is not None
    first = encoder(frame)
    assert encoder(frame) is first
    spans = json.loads(first)["spans"]
    heap, library, stack = 16 << 8, LIBRARY >> 12, 32 << 8
    assert spans["low"] == [heap, library - heap - (8 << 8), stack - library - (8 << 8)]
    assert spans["pages"] == [8 << 8, 8 << 8, 4 << 8]
    assert spans["rate"] == [1000, 0, 50]
    frame = None
    assert len(encoder._encoded) == 0


def aged(seconds: int) -> Live:
    """A source whose pages have ages."""
    source = Live()
    for number in range(seconds):
        source.history.add(aged_source.moment(number))
    return source


def test_a_stream_has_ages_and_needs() -> None:
    source = aged(60)
    with serving(source) as server:
        stream = Stream(server)
        frames = [json.loads(stream.next()["data"]) for _ in range(60)]
        state = json.loads(stream.next()["data"])
        assert state["ageEdges"] == [1000, 10_000, 60_000, 600_000]
        assert state["ageLabels"][0] == "used within 1 s"
        assert len(state["ageLabels"]) == len(frames[-1]["ages"][0]) == 6
        assert [frames[0]["followed"], frames[-1]["followed"]] == [[0], [1]]
        assert sum(frames[-1]["ages"][0]) == 16 * MIB
        assert frames[58]["ages"] == frames[57]["ages"], "nobody looked in between"
        event = stream.next()
        assert event["event"] == "needs"
        [(target_id, curve)] = json.loads(event["data"]).items()
        assert target_id == frames[-1]["targets"][0][0]
        assert curve["kept"] == sorted(curve["kept"])
        assert curve["back"] == sorted(curve["back"], reverse=True)
        assert len(curve["idle"]) == len(curve["kept"]) == len(curve["back"])
        stream.close()


def test_without_ages_of_pages_nothing_is_said_about_needs() -> None:
    source = live(3)
    with serving(source) as server:
        stream = Stream(server)
        events = [stream.next() for _ in range(4)]
        source.feed(3, 4)
        events.append(stream.next())
        stream.close()
    assert [event.get("event", "frame") for event in events] == [*["frame"] * 3, "state", "frame"]
    assert json.loads(events[0]["data"])["followed"] == [0, 0]


async def read(source: FrameSource, done: asyncio.Event) -> int:
    """Read the stream of an application without a network, and count its bytes."""
    app = application(source, "token")
    total = 0
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/frames",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"cookie", b"pydamon-0=token")],
        "server": ("localhost", 0),
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }

    async def receive() -> dict[str, Any]:
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal total
        total += len(message.get("body", b""))

    await app(scope, receive, send)
    return total


@pytest.mark.long
def test_memory_stays_flat_however_long_it_runs() -> None:
    """The regions of the program change all the time, and a reader reads all along."""
    source = Live()
    source.history = History(recent=30, past=20)

    def busy(number: int) -> Snapshot:
        low = sorted(
            {16 * MIB, *(16 * MIB + (i * i + number) % 128 * MIB // 16 for i in range(40))}
        )
        regions = [
            (0, a, b, (a // 4096 + number) % 21, number % 30)
            for a, b in zip(low, [*low[1:], 24 * MIB], strict=True)
        ]
        app = target(7, "app", (16 * MIB, 24 * MIB, "rw-p", f"/tmp/file-{number // 50}"))
        return snapshot([app], regions, number, window_ns=S)

    async def soak() -> list[int]:
        done = asyncio.Event()
        reader = asyncio.create_task(read(source, done))
        sizes = []
        number = 0
        for _ in range(8):
            for _ in range(10):
                for _ in range(8):
                    source.history.add(busy(number))
                    number += 1
                await asyncio.sleep(0.015)
            sizes.append(tracemalloc.get_traced_memory()[0])
        done.set()
        assert await reader > 100_000
        return sizes

    tracemalloc.start()
    try:
        sizes = asyncio.run(soak())
    finally:
        tracemalloc.stop()
    assert len(source.history.frames()) < 90
    # A leak of 3 KiB a frame would be 1 MiB in the second half; chunks on their way to the reader
    # come and go.
    assert max(sizes[4:]) < max(sizes[:4]) + MIB // 2, sizes


# The page.

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


class Page:
    """The page in a browser, once it has drawn something."""

    def __init__(self, tab: Tab, server: Server) -> None:
        self.tab = tab
        tab.errors.clear()
        tab.requests.clear()
        tab.visit(server.url.replace("127.0.0.1", "localhost"), 1000, 900)
        tab.wait("document.querySelectorAll('#mappings tbody tr').length > 0")

    def text(self, selector: str) -> str:
        return str(self.tab.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height."""
        box = self.tab.evaluate(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()"
        )
        return tuple(box)

    def point(self, selector: str, x: float, y: float) -> tuple[float, float]:
        """A point of an element on the screen, by shares of its width and height."""
        query = f"document.querySelector({json.dumps(selector)})"
        self.tab.evaluate(f"{query}.scrollIntoView({{ block: 'center' }})")
        left, top, width, height = self.box(selector)
        return left + 1 + x * (width - 2), top + 1 + y * (height - 2)

    def pixel(self, x: float, y: float) -> tuple[int, ...]:
        """The colour of the heat map at a point, by shares of its width and height."""
        return tuple(
            self.tab.evaluate(
                "(() => { const c = document.getElementById('heat');"
                f"const at = [{x} * c.width, {y} * c.height, 1, 1];"
                "return [...c.getContext('2d').getImageData(...at).data];"
                "})()"
            )
        )

    def hover(self, x: float, y: float) -> str:
        self.tab.mouse("mouseMoved", *self.point("#heat", x, y))
        self.tab.wait("!document.getElementById('tip').hidden")
        return self.text("#tip")

    def click(self, selector: str) -> None:
        point = self.point(selector, 0.5, 0.5)
        for kind in ("mousePressed", "mouseReleased"):
            self.tab.mouse(kind, *point, button="left", clickCount=1)

    def rows(self) -> list[list[str]]:
        rows: list[list[str]] = self.tab.evaluate(
            "[...document.querySelectorAll('#mappings tbody tr')]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        return rows

    def settle(self) -> None:
        self.tab.evaluate(
            "new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))"
        )


def lightness(colour: tuple[int, ...]) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def theme(tab: Tab, name: str) -> None:
    tab.send(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}]
    )


@needs_chromium
def test_what_is_hot_is_where_the_page_shows_it(tab: Tab) -> None:
    theme(tab, "dark")
    with serving(live(40)) as server:
        page = Page(tab, server)
        page.click("#all")
        page.settle()
        # The heap is in the upper half and hot first; the library below it is warm later.
        hot, warm, idle = page.pixel(0.25, 0.25), page.pixel(0.75, 0.875), page.pixel(0.75, 0.25)
        assert page.pixel(0.25, 0.625) == page.pixel(0.25, 0.875) == page.pixel(0.75, 0.625) == idle
        assert lightness(hot) > lightness(warm) > lightness(idle)
        for x, y in ((0.48, 0.02), (0.48, 0.48), (0.01, 0.02)):
            assert page.pixel(x, y) == hot, (x, y)
        for x, y in ((0.52, 0.77), (0.99, 0.98)):
            assert page.pixel(x, y) == warm, (x, y)
        assert "[heap]: accessed in 100 % of samples" in page.hover(0.25, 0.25)
        assert page.text("tr.pointed td") == "[heap]"
        tip = page.hover(0.75, 0.875)
        # A name is text, whatever characters it has.
        assert "/usr/lib/<b>libexample</b>.so.1: accessed in 50 % of samples" in tip
        assert tip.startswith("7f0000")
        assert "[heap]: accessed in 0 %" in page.hover(0.75, 0.25)
        assert page.text("#addresses span") == "1000000"
        assert page.text("#names span") == "[heap]"
        assert "16 MiB of 16 MiB" in page.text("#range")
        assert page.text("#top") == "100 %"
        assert page.text("#cost").startswith("trace: ")
        assert "window 1 s (100 ms asked)" in page.text("#cost")
        assert not tab.errors


@needs_chromium
def test_brushing_the_time_filters_every_view(tab: Tab) -> None:
    with serving(live(40)) as server:
        page = Page(tab, server)
        page.click("#all")
        assert page.rows()[0][:3] == ["[heap]", "8 MiB", "4 MiB"]
        tab.drag(page.point("#course", 0.6, 0.5), page.point("#course", 1.0, 0.5))
        page.settle()
        name, size, hot, *_ = page.rows()[0]
        assert (name, size, hot) == ("/usr/lib/<b>libexample</b>.so.1", "8 MiB", "4 MiB")
        assert page.pixel(0.05, 0.25) == page.pixel(0.05, 0.625)
        assert page.pixel(0.05, 0.875) == page.pixel(0.95, 0.875) != page.pixel(0.05, 0.25)
        assert page.text("#top") == "50 %"
        assert "4 MiB, from 4 MiB to 4 MiB" in page.text("#working-set")
        assert "(16 s)" in page.text("#range")
        tab.drag(page.point("#course", 0.1, 0.5), page.point("#course", 0.35, 0.5))
        page.settle()
        assert page.rows()[0][:3] == ["[heap]", "8 MiB", "8 MiB"]
        page.click("#all-time")
        page.settle()
        assert "(40 s)" in page.text("#range")
        assert not tab.errors


def heights(tab: Tab) -> list[float]:
    """The height of each area, as a share of the picture."""
    shares: list[float] = tab.evaluate(
        "[...document.querySelectorAll('#course path.age')].map((path) => {"
        "const all = document.getElementById('course').getBoundingClientRect();"
        "return path.getAttribute('d').length ? path.getBBox().height / all.height : 0; })"
    )
    return shares


@needs_chromium
@pytest.mark.parametrize("name", ["light", "dark"])
def test_memory_by_age_is_the_first_picture(tab: Tab, name: str) -> None:
    theme(tab, name)
    with serving(aged(60)) as server:
        page = Page(tab, server)
        figures = tab.evaluate(
            "[...document.querySelectorAll('#figures li')].map((item) => item.innerText)"
        )
        words = [text.replace("\n", " ") for text in figures]
        assert words[0] == "16 MiB resident"
        assert words[1].endswith("used within 10 s")
        assert words[2].endswith("idle for 10 s")
        assert words[3].endswith("needed")
        used, *_, oldest, unknown = heights(tab)
        assert 4 / 16 <= used <= 16 / 16
        assert oldest == unknown == 0
        fill = tab.evaluate("getComputedStyle(document.querySelector('path.age0')).fill")
        colour = AGE_COLOURS[name][0]
        assert fill == f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"
        label = page.text("#course") and tab.evaluate(
            "document.getElementById('course').getAttribute('aria-label')"
        )
        assert "16 MiB resident" in label
        assert tab.evaluate("document.getElementById('needs').getAttribute('role')") == "img"
        assert "It was in use within" in page.text("#needs-words")
        assert tab.evaluate("document.querySelector('#needs path.curve').getBBox().width") > 10
        assert page.text("#basis").startswith("Looks are 2 s apart")
        # The curve and the areas have one scale: memory upwards.
        tops = [page.box(selector)[1] for selector in ("#course", "#needs")]
        assert tops[0] == pytest.approx(tops[1], abs=1)
        assert not tab.errors
        assert {url.split("/")[2] for url in tab.requests} == {f"localhost:{server.port}"}


@needs_chromium
def test_ages_by_regions_say_so(tab: Tab) -> None:
    with serving(live(40)) as server:
        page = Page(tab, server)
        assert page.text("#basis").startswith("By regions")
        assert page.text("#needs-words").startswith("not known")
        # 8 MiB of 16 have been idle for 20 s, 4 MiB for 40 s.
        assert "12 MiB" in page.text("#figures")
        assert not tab.errors


@needs_chromium
def test_the_areas_can_be_read_with_the_keyboard(tab: Tab) -> None:
    with serving(aged(60)) as server:
        page = Page(tab, server)
        tab.evaluate("document.getElementById('course').focus()")
        for _ in range(10):
            tab.key("ArrowLeft")
        page.settle()
        assert page.text("#at").startswith("at ")
        assert "16 MiB resident" in page.text("#spoken")
        tab.evaluate(
            "document.getElementById('course').dispatchEvent("
            "new KeyboardEvent('keydown', { key: 'Home', shiftKey: true }))"
        )
        page.settle()
        assert "(48 s)" in page.text("#range"), "from there to the beginning"
        assert not tab.evaluate("document.getElementById('all-time').hidden")
        tab.key("Escape")
        page.settle()
        assert "(60 s)" in page.text("#range") or "(1 min)" in page.text("#range")
        assert page.text("#at") == ""
        assert not tab.errors


@needs_chromium
def test_the_pictures_are_tables_too(tab: Tab) -> None:
    with serving(aged(60)) as server:
        page = Page(tab, server)
        assert tab.evaluate("document.querySelectorAll('#ages-table td').length") == 0
        page.click("#as-table summary")
        tab.wait("document.querySelectorAll('#ages-table td').length > 0")
        rows: list[list[str]] = tab.evaluate(
            "[...document.querySelectorAll('#ages-table tr')]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        assert rows[0][:3] == ["time", "resident", "used within 1 s"]
        assert {row[1] for row in rows[1:]} == {"16 MiB"}
        assert tab.evaluate("document.querySelectorAll('#needs-table td').length") > 0
        assert not tab.errors


@needs_chromium
def test_zooming_sorting_and_other_processes(tab: Tab) -> None:
    with serving(live(40)) as server:
        page = Page(tab, server)
        page.click("#all")
        tab.drag(page.point("#heat", 0.5, 0.75), page.point("#heat", 0.6, 0.995))
        page.settle()
        assert "3.9 MiB of 16 MiB" in page.text("#range")
        assert "libexample" in page.hover(0.8, 0.1)
        page.click("#hottest")
        page.settle()
        assert "of 16 MiB" in page.text("#range")
        page.click("#mappings th:nth-child(5) button")
        page.settle()
        assert page.rows()[0][0].startswith("/usr/lib"), "more of the library was cold"
        tab.evaluate(
            "(() => { const s = document.getElementById('target'); s.value = '/9/0/helper';"
            "s.dispatchEvent(new Event('change')); })()"
        )
        page.settle()
        assert page.rows() == [
            ["[stack]", "4 MiB", "-", "4 MiB", "-", "-", "-", "-", "5 %"],
        ]
        assert "[stack]: accessed in 5 % of samples" in page.hover(0.5, 0.5)
        assert not tab.errors


@needs_chromium
def test_owners_of_memory_are_a_table(tab: Tab) -> None:
    source = live(20)
    load = OwnerUse(("app", "load <b>"), MIB, MIB, 0, 0, MIB)
    serve = OwnerUse(("app", "serve"), 2 * MIB, 2 * MIB, 2 * MIB, 0, 0)
    with serving(source) as server:
        page = Page(tab, server)
        assert page.box("#owners-section")[3] == 0, "nothing is known yet"
        source.history.owners = OwnerReport((load, serve), (), 0, 10 * S, True, notes=("a note",))
        tab.wait("document.querySelectorAll('#owners tbody tr').length == 2")
        rows = tab.evaluate(
            "[...document.querySelectorAll('#owners tbody tr')]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        assert rows == [
            ["load <b> < app", "1 MiB", "-", "-", "1 MiB", "1 MiB"],
            ["serve < app", "-", "2 MiB", "-", "2 MiB", "2 MiB"],
        ]
        assert page.text("#owners-notes") == "a note"
        page.click("#owners th:nth-child(3) button")
        page.settle()
        assert page.text("#owners tbody td").startswith("serve")
        source.history.owners_by_target = {HELPER.key: OwnerReport((load,), (), 0, 10 * S, True)}
        source.history.owners = OwnerReport((serve,), (), 0, 10 * S, True)
        tab.wait("document.querySelectorAll('#owners tbody tr').length == 1")
        assert page.text("#owners-words").startswith("of all processes")
        tab.evaluate(
            "(() => { const s = document.getElementById('target'); s.value = '/9/0/helper';"
            "s.dispatchEvent(new Event('change')); })()"
        )
        page.settle()
        assert page.text("#owners-words").startswith("of process 9,")
        assert page.text("#owners tbody td").startswith("load")
        assert not tab.errors


@needs_chromium
@pytest.mark.parametrize("name", ["light", "dark"])
def test_light_and_dark(tab: Tab, name: str) -> None:
    """Hotter memory stands out more from the paper."""
    theme(tab, name)
    with serving(live(40)) as server:
        page = Page(tab, server)
        page.click("#all")
        page.settle()
        paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        light = name == "light"
        assert (paper == "rgb(255, 255, 255)") == light
        hot, warm, idle = page.pixel(0.25, 0.25), page.pixel(0.75, 0.875), page.pixel(0.75, 0.25)
        order = [lightness(colour) for colour in (hot, warm, idle)]
        assert order == sorted(order, reverse=not light)
        assert min(abs(a - b) for a, b in itertools.pairwise(order)) > 30


@needs_chromium
def test_it_goes_on_and_stops(tab: Tab) -> None:
    source = live(5)
    with serving(source) as server:
        page = Page(tab, server)
        assert page.text("#caveat") == ""
        source.caveat = "another monitor is at work"
        tab.wait("document.getElementById('caveat').textContent.includes('another monitor')")
        assert page.text("#caveat") == "Figures may be wrong: another monitor is at work"
        source.feed(5, 12)
        tab.wait("document.getElementById('range').textContent.includes('(12 s)')")
        source.ended = "all that was watched has exited"
        tab.wait(
            "document.getElementById('state').textContent.includes('exited: the last picture')"
        )
    tab.evaluate("1")
    assert "exited" in page.text("#state")


@needs_chromium
def test_a_recording_in_the_page(tab: Tab, tmp_path: Path) -> None:
    source = Replay(record(tmp_path / "r.damon", map(moment, range(40))))
    with serving(source) as server:
        page = Page(tab, server)
        page.click("#all")
        page.settle()
        assert "(40 s)" in page.text("#range")
        assert "[heap]: accessed in 100 %" in page.hover(0.25, 0.25)
        tab.wait("document.getElementById('state').textContent === 'the recording ends here'")
        assert not tab.errors
