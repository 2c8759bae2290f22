"""`pydamon demo`: a first look, with nothing to prepare."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from pydamon.cli.record import record_to
from pydamon.engine import monitor
from pydamon.workloads import DEMO

__all__ = ["Demo"]


class Demo:
    """Start a program, watch it for a few seconds, and show what was seen.

    Of the program's 256 MiB the first quarter is always in use; a window of 16 MiB walks through
    the second half; the rest lies idle.
    """

    name = "demo"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add how long, and where to keep the recording."""
        parser.add_argument(
            "-d", "--duration", default="12s", metavar="D", help="how long (default: %(default)s)"
        )
        parser.add_argument("-o", "--out", type=Path, help="keep the recording in this file")

    def run(self, args: argparse.Namespace) -> int:
        """Record the program, then show the reports that one would look at first."""
        from pydamon.cli.main import main  # noqa: PLC0415  (which lists this command)

        program = [sys.executable, str(DEMO), "600"]
        with tempfile.TemporaryDirectory() as directory:
            path = args.out or Path(directory) / "demo.damon"
            with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
                try:
                    assert process.stdout is not None
                    process.stdout.readline()
                    with monitor(process.pid) as mon:
                        record_to(mon, path, args.duration, force=False, command=program)
                finally:
                    process.kill()
            for report in ("summary", "heatmap"):
                print(flush=True)
                if code := main(["report", report, str(path)]):
                    return code
        return 0
