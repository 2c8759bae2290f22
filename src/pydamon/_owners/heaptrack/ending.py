"""End a program that runs under heaptrack, so that heaptrack's file is complete."""

from __future__ import annotations

from contextlib import suppress

import psutil

__all__ = ["end_profiled"]

_VARIABLE = "DUMP_HEAPTRACK_OUTPUT"
"""heaptrack sets it for the program, and not for what compresses the file."""
_PATIENCE_S = 5.0


def end_profiled(pid: int) -> bool:
    """End the program below a running `heaptrack`, and wait for heaptrack's own end.

    A signal to heaptrack itself would end what compresses its file as well, and leave that empty.
    Returns whether there was such a program.
    """
    ended = False
    with suppress(psutil.Error):
        heaptrack = psutil.Process(pid)
        for process in heaptrack.children(recursive=True):
            with suppress(psutil.Error):
                if _VARIABLE in process.environ():
                    process.terminate()
                    ended = True
        if ended:
            heaptrack.wait(_PATIENCE_S)
    return ended
