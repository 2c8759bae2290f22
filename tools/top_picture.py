"""Draw the picture of `pydamon top` in docs/how-to/live.md: top_picture.py RECORDING OUT.svg"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from pydamon import read_recording
from pydamon._show.frames import Replay
from pydamon._show.top import TopApp


async def main(recording_path: str, out_path: str) -> None:
    """Draw the end of a recording as in a terminal of 100 columns."""
    app = TopApp(Replay(read_recording(recording_path)))
    app.title = "pydamon top"
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("end", "up")
        await pilot.pause()
        # Textual's picture would load a font from the network.
        svg = re.sub(r"@font-face \{.*?\}", "", app.export_screenshot(), flags=re.DOTALL)
    Path(out_path).write_text(svg)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
