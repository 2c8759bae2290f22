"""Take the pictures of `pydamon serve` in docs/how-to/live.md, from the project's root:

python -m tools.serve_picture RECORDING OUT.png [light|dark]
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

from tests.browser import chromium

from pydamon import read_recording
from pydamon._show.frames import Replay
from pydamon._show.web import Server


def main(recording_path: str, out_path: str, theme: str = "dark") -> None:
    """Take the picture of a recording's page, in a window of 1100 by 900."""
    server = Server(Replay(read_recording(recording_path)))
    threading.Thread(target=server.run).start()
    try:
        with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as tab:
            feature = {"name": "prefers-color-scheme", "value": theme}
            tab.send("Emulation.setEmulatedMedia", features=[feature])
            tab.visit(server.url.replace("127.0.0.1", "localhost"), 1100, 900)
            tab.wait("document.querySelectorAll('#mappings tbody tr').length > 0")
            tab.mouse("mouseMoved", 500, 720)
            tab.wait("!document.getElementById('tip').hidden")
            tab.picture().quantize(128).save(out_path, optimize=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
