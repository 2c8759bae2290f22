"""The program of `pydamon demo`. It runs as a script.

It writes to 256 MiB once. Then it accesses the first quarter all the time, and a window of 16 MiB
that moves through the second half in steps of 2 seconds.
"""

from __future__ import annotations

import mmap
import sys
import time

import numpy as np

__all__ = ["HOT_BYTES", "SIZE_BYTES", "STEP_S", "WINDOW_BYTES", "main"]

SIZE_BYTES = 256 << 20
HOT_BYTES = SIZE_BYTES // 4
WINDOW_BYTES = 16 << 20
STEP_S = 2.0
_PAUSE_S = 0.001


def main(duration_s: float) -> None:
    """Access memory for a number of seconds."""
    memory = mmap.mmap(-1, SIZE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages = np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE]
    pages[:] = 1
    print("ready", flush=True)
    hot = pages[: HOT_BYTES // mmap.PAGESIZE]
    second_half = pages[len(pages) // 2 :]
    per_window = WINDOW_BYTES // mmap.PAGESIZE
    windows = len(second_half) // per_window
    start_s = time.monotonic()
    while (elapsed_s := time.monotonic() - start_s) < duration_s:
        at = int(elapsed_s / STEP_S) % windows * per_window
        hot += 1
        second_half[at : at + per_window] += 1
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
