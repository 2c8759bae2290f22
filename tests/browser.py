"""A headless Chromium, driven over its DevTools protocol, without a network."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from websockets.sync.client import ClientConnection, connect

__all__ = ["CHROMIUM", "Tab", "chromium"]

_NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
"""The browser of Debian's `chromium` or `chromium-headless-shell`; `None` without one."""
_PATIENCE_S = 60


class Tab:
    """A page in the browser; `requests` are the addresses that it has asked for."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.requests: list[str] = []
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(_PATIENCE_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message["method"] == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; of a promise, the value that it settles to."""
        result = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end_s = time.monotonic() + _PATIENCE_S
        while not self.evaluate(expression):
            assert time.monotonic() < end_s, f"it never came true: {expression}"
            time.sleep(0.05)

    def visit(self, url: str, width: int = 1000, height: int = 600) -> None:
        """Open an address of this machine in a window of this size."""
        self.resize(width, height)
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.protocol === 'http:'")

    def open(self, path: Path, width: int = 1000, height: int = 600) -> None:
        """Open a file in a window of this size."""
        self.resize(width, height)
        self.send("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def resize(self, width: int, height: int) -> None:
        """Another size of the window."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Move, press or release the mouse, or turn its wheel."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the left button at one point and release it at another."""
        held: dict[str, Any] = {"button": "left", "buttons": 1, "clickCount": 1}
        self.mouse("mouseMoved", *begin)
        self.mouse("mousePressed", *begin, **held)
        self.mouse("mouseMoved", *end, button="left", buttons=1)
        self.mouse("mouseReleased", *end, **held)

    def key(self, key: str) -> None:
        """Press a key that has a name, such as Backspace."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self) -> Image.Image:
        """The picture on the screen."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """Start it, with a profile of its own, and end it."""
    assert CHROMIUM is not None
    options = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
    )
    with subprocess.Popen(
        [CHROMIUM, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            with connect(_address(profile), max_size=None, proxy=None) as connection:
                yield Tab(connection)
        finally:
            process.terminate()


def _address(profile: Path) -> str:
    """The address of the page's DevTools protocol."""
    port_file = profile / "DevToolsActivePort"
    end_s = time.monotonic() + _PATIENCE_S
    while not (port_file.exists() and port_file.read_text().count("\n")):
        assert time.monotonic() < end_s, "the browser does not start"
        time.sleep(0.05)
    port = port_file.read_text().splitlines()[0]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=_PATIENCE_S) as answer:
            pages = [target for target in json.load(answer) if target["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
