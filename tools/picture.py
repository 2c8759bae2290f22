"""Draw the README's picture from a recording: picture.py RECORDING OUT.svg"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from pydamon import analysis, read_recording


def main(recording_path: str, out_path: str) -> None:
    """Draw the heat map and the working set as in a terminal of 110 columns."""
    recording = read_recording(recording_path)
    with Path("/dev/null").open("w") as nowhere:
        console = Console(
            record=True, width=110, file=nowhere, force_terminal=True, color_system="truecolor"
        )
        console.print(analysis.heatmap(recording, rows=48, columns=84))
        console.print(analysis.working_set(recording))
        # Rich's format would load a font from the network.
        svg_format = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
        svg = console.export_svg(title="pydamon report heatmap, wss", code_format=svg_format)
    Path(out_path).write_text(svg)


if __name__ == "__main__":
    main(*sys.argv[1:])
