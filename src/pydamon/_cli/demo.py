"""`pydamon demo`: monitor a sample program and show the result."""

from __future__ import annotations

from pathlib import Path

from pydamon._cli.command import Args, NewFile, command, option

__all__ = ["demo"]


@command("demo")
@option("-d", "--duration", default="12s", metavar="D", help="monitor for this time (default: 12s)")
@option(
    "-o",
    "--out",
    type=NewFile(),
    metavar="FILE",
    help="keep the recording in this file",
)
def demo(args: Args) -> int:
    """Monitor a sample program for a few seconds, and show its heat map.

    The program has 256 MiB. It always uses the first quarter; a window of 16 MiB moves through
    the second half; the rest stays idle.
    """
    import subprocess
    import sys
    import tempfile

    from pydamon._cli.main import main
    from pydamon._cli.record import record_to
    from pydamon._observe.start import monitor
    from pydamon._workloads import DEMO

    program = [sys.executable, str(DEMO), "600"]
    with tempfile.TemporaryDirectory() as directory:
        path = args.out or Path(directory) / "demo.damon"
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                with monitor(process.pid, engine="sampling") as mon:
                    record_to(mon, path, args.duration, force=False, command=program)
            finally:
                process.kill()
        for report in ("summary", "heatmap"):
            print(flush=True)
            if code := main(["report", report, str(path)]):
                return code
    return 0
